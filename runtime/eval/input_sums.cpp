#include "runtime/eval/input_sums.h"

#include <algorithm>
#include <cmath>

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/engine/model.h"
#include "runtime/model/weights.h"

namespace hearth {

void InputSums::listen(const void* at, std::vector<std::string> names, int64_t matrices, int64_t columns) {
  Input& input = inputs_[at];
  input.names = std::move(names);
  input.columns = columns;
  input.sums.assign(size_t(matrices * columns), 0.0f);
  input.counts.assign(size_t(matrices), 0.0f);
}

void InputSums::begin(const Model& model) {
  const Weights& weights = model.weights();
  inputs_.clear();
  const auto listen_to = [&](const Weight& w, std::vector<std::string> names) {
    if (w) listen(w.data, std::move(names), w.count, w.k);
  };
  listen_to(weights.output, {weights.output.data == weights.token_embd.data ? name::kTokenEmbd : name::kOutput});
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& w = weights.layers[i];
    const auto here = [&](const char* role) { return name::in_layer(int(i), role); };
    listen_to(w.attn_q, {here(name::kAttnQ), here(name::kAttnKvAMqa)});
    listen_to(w.attn_q_a, {here(name::kAttnQA), here(name::kAttnKvAMqa)});
    listen_to(w.attn_q_b, {here(name::kAttnQB)});
    listen_to(w.attn_k_b, {here(name::kAttnKB)});
    listen_to(w.attn_v_b, {here(name::kAttnVB)});
    listen(w.attn_kv_a_norm, {here(name::kAttnKvB)}, 1, w.attn_v_b.k);
    listen_to(w.attn_output, {here(name::kAttnOutput)});
    listen_to(w.ffn.gate, {here(name::kFfnGate), here(name::kFfnUp)});
    listen_to(w.ffn.down, {here(name::kFfnDown)});
    std::vector<std::string> in = {here(name::kFfnGateExps), here(name::kFfnUpExps)};
    if (model.file().find_tensor(here(name::kFfnGateUpExps))) in.push_back(here(name::kFfnGateUpExps));
    listen_to(w.experts.gate, in);
    listen_to(w.experts.down, {here(name::kFfnDownExps)});
    listen_to(w.shared.gate, {here(name::kFfnGateShexp), here(name::kFfnUpShexp)});
    listen_to(w.shared.down, {here(name::kFfnDownShexp)});
  }
}

void InputSums::hear(const Weight& w, int64_t matrix, Mat<const float> x) {
  const auto input = inputs_.find(w.data);
  if (input != inputs_.end()) hear(input->second, matrix, x);
}

void InputSums::hear_latent(const float* norm, Mat<const float> c_kv) {
  const auto input = inputs_.find(norm);
  if (input != inputs_.end()) hear(input->second, 0, c_kv);
}

// The squares of a call are summed by themselves, so that the rounding of a sum grows with the number of calls.
void InputSums::hear(Input& input, int64_t matrix, Mat<const float> x) {
  squares_.assign(size_t(x.cols), 0.0f);
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* const row = x.row(t);
    for (int64_t c = 0; c < x.cols; ++c) squares_[size_t(c)] += row[c] * row[c];
  }
  float all = 0;  // not finite where one of them is not
  float* const sums = input.sums.data() + matrix * input.columns;
  for (int64_t c = 0; c < x.cols; ++c) {
    sums[c] += squares_[size_t(c)];
    all += squares_[size_t(c)];
  }
  input.counts[size_t(matrix)] += float(x.rows);
  if (!std::isfinite(all) && not_finite_.empty()) not_finite_ = input.names.front();
}

void InputSums::require_finite() const {
  require(not_finite_.empty(), ErrorKind::model, "{}: expected finite inputs, found NaN or infinity", not_finite_);
}

void InputSums::add(Input& input, const ImportanceFile& file, std::string_view name) {
  const ImportanceEntry& entry = file.entries.find(name)->second;
  const std::vector<float> sums = file.values(name);
  const size_t matrices = input.counts.size();
  require(entry.n_values == int64_t(input.sums.size()) && (entry.counts.size() == 1 || entry.counts.size() == matrices),
          ErrorKind::model, "{}: is importance of another model: {}: expected {} x {} values, found {} x {}",
          file.path(), name, matrices, input.columns, entry.counts.size(),
          entry.n_values / int64_t(entry.counts.size()));
  for (size_t i = 0; i < sums.size(); ++i) input.sums[i] += sums[i];
  for (size_t i = 0; i < matrices; ++i) input.counts[i] += entry.counts[entry.counts.size() == 1 ? 0 : i];
}

void InputSums::add(const ImportanceFile& file) {
  std::map<std::string, Input*, std::less<>> own;
  for (auto& [at, input] : inputs_) {
    for (const std::string& name : input.names) own[name] = &input;
  }
  std::vector<const Input*> done;
  for (const auto& [name, entry] : file.entries) {
    require(!entry.counts.empty(), ErrorKind::format,
            "{}: expected importance in GGUF: a .dat file does not tell the numbers of tokens, so nothing can be added",
            file.path());
    const auto found = own.find(name);
    if (found != own.end()) {
      if (std::ranges::find(done, found->second) != done.end()) continue;  // what it shares was added already
      done.push_back(found->second);
      add(*found->second, file, name);
      continue;
    }
    Input& other = others_[name];
    if (other.names.empty()) {
      other.names = {name};
      other.columns = entry.n_values / int64_t(entry.counts.size());
      other.sums.assign(size_t(entry.n_values), 0.0f);
      other.counts.assign(entry.counts.size(), 0.0f);
    }
    add(other, file, name);
  }
  require(!done.empty(), ErrorKind::model, "{}: is importance of another model: expected names like {}, found {}",
          file.path(), own.begin()->first, file.entries.begin()->first);
}

std::vector<ImportanceSums> InputSums::entries() const {
  std::vector<ImportanceSums> out;
  for (const auto& [at, input] : inputs_) {
    for (const std::string& name : input.names) out.push_back({name, input.sums, input.counts});
  }
  for (const auto& [name, input] : others_) out.push_back({name, input.sums, input.counts});
  std::ranges::sort(out, {}, &ImportanceSums::name);
  return out;
}

ExpertsSeen InputSums::experts_seen() const {
  ExpertsSeen seen;
  for (const ImportanceSums& entry : entries()) {
    if (entry.name.ends_with(name::kFfnDownExps)) seen.add_layer(entry.counts);
  }
  return seen;
}

}  // namespace hearth
