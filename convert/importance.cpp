#include "convert/importance.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <numeric>
#include <set>

#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {
namespace {

// "blk.3." and "ffn_down_exps.weight"; the first is empty where the tensor is of no layer.
struct NameParts {
  std::string_view layer, role;
};

NameParts parts_of(std::string_view name) {
  if (!name.starts_with("blk.")) return {"", name};
  const size_t dot = name.find('.', 4);
  return dot == std::string_view::npos ? NameParts{"", name} : NameParts{name.substr(0, dot + 1), name.substr(dot + 1)};
}

int64_t layer_of(const NameParts& name) {
  int64_t layer = -1;
  if (!name.layer.empty()) std::from_chars(name.layer.data() + 4, name.layer.data() + name.layer.size(), layer);
  return layer;
}

// Other names under which what enters a matrix may be listed.
std::vector<const char*> others_of(std::string_view role) {
  if (role == name::kAttnVB) return {name::kAttnKvB};
  if (role == name::kAttnKvB) return {name::kAttnVB};
  if (role == name::kFfnGateExps) return {name::kFfnGateUpExps, name::kFfnUpExps};
  if (role == name::kFfnUpExps) return {name::kFfnGateUpExps, name::kFfnGateExps};
  if (role == name::kFfnGateUpExps) return {name::kFfnGateExps, name::kFfnUpExps};
  return {};
}

bool is_experts(std::string_view role) {
  return role.ends_with("_exps.weight");
}

int64_t matrices_of(const GgufTensorPlan& tensor) {
  return tensor.shape.rank == 3 ? tensor.shape.dim[0] : 1;
}

// Errors in formats without blocks are not weighed.
bool is_quantized(const GgufTensorPlan& tensor) {
  return tensor.format->block_elems > 1;
}

float mean(std::span<const float> x) {
  return float(std::accumulate(x.begin(), x.end(), 0.0) / double(x.size()));
}

// Sums over the tokens that an expert saw, with kFewTokens more that are like `prior`.
void mix(std::span<float> sums, float count, std::span<const float> prior) {
  for (size_t c = 0; c < sums.size(); ++c) sums[c] = (sums[c] + kFewTokens * prior[c]) / (count + kFewTokens);
}

// The mean square of a column over the tokens of all experts.
std::vector<float> mean_of_experts(std::span<const float> sums, std::span<const float> counts) {
  const size_t cols = sums.size() / counts.size();
  std::vector<double> total(cols);
  for (size_t i = 0; i < sums.size(); ++i) total[i % cols] += sums[i];
  const double tokens = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<float> out(cols);
  for (size_t c = 0; c < cols; ++c) out[c] = tokens > 0 ? float(total[c] / tokens) : 1;
  return out;
}

// Numbers of tokens for a file that has none, and `sums` for these numbers.
std::vector<float> assumed_counts(std::span<float> sums, int64_t matrices) {
  constexpr float kEnough = 1 << 20;
  const size_t cols = sums.size() / size_t(matrices);
  std::vector<float> counts;
  for (size_t i = 0; i < size_t(matrices); ++i) {
    const std::span<float> own = sums.subspan(i * cols, cols);
    const bool seen = std::ranges::any_of(own, [&](float x) { return x != own[0]; });
    for (float& x : own) x *= seen ? kEnough : 0;
    counts.push_back(seen ? kEnough : 0);
  }
  return counts;
}

void mix_experts(std::span<float> sums, std::span<const float> counts, bool same_input) {
  const size_t cols = sums.size() / counts.size();
  std::vector<float> prior = mean_of_experts(sums, counts);
  for (size_t i = 0; i < counts.size(); ++i) {
    const std::span<float> own = sums.subspan(i * cols, cols);
    if (!same_input) std::ranges::fill(prior, counts[i] > 0 ? mean(own) / counts[i] : 1);
    mix(own, counts[i], prior);
  }
}

void raise_to_floor(std::span<float> weights) {
  const float all = mean(weights);
  for (float& w : weights) w = all > 0 ? std::max(w, all * Importance::kFloor) : 1;
}

}  // namespace

Importance::Importance(const std::string& path, const std::vector<GgufTensorPlan>& tensors)
    : file_(ImportanceFile::open(path)) {
  require_names(tensors);
  for (const GgufTensorPlan& tensor : tensors) {
    if (const Source source = find(tensor.name); source.entry) {
      require_fits(tensor, source);
    } else if (is_quantized(tensor) && !tensor.appendix && tensor.name != name::kTokenEmbd) {
      missing_.push_back(tensor.name);
    }
  }
}

Importance::Source Importance::find(const std::string& tensor) const {
  const auto [layer, role] = parts_of(tensor);
  const auto look_up = [&](const std::string& name) {
    const auto found = file_.entries.find(name);
    return Source{found == file_.entries.end() ? nullptr : &found->second, name};
  };
  Source source = look_up(tensor);
  for (const char* other : others_of(role)) {
    if (source.entry) break;
    source = look_up(std::string(layer) + other);
    source.mean_of_heads = role == name::kAttnKvB;
  }
  return source;
}

// As many matrices as the tensor has. Heads may lie in one axis with their rows, whatever their number then; attn_kv_b
// has one matrix for all of them.
void Importance::require_fits(const GgufTensorPlan& tensor, const Source& source) const {
  const int64_t cols = tensor.shape.cols(), n = source.entry->n_values;
  const size_t counts = source.entry->counts.size();
  const std::string_view role = parts_of(source.name).role;
  const bool heads = role == name::kAttnKB || role == name::kAttnVB;
  const bool any = heads && tensor.shape.rank < 3 && n % cols == 0 && tensor.shape.rows() % (n / cols) == 0;
  const int64_t matrices = any ? n / cols : role == name::kAttnKvB ? 1 : matrices_of(tensor);
  require(n == matrices * cols && (counts <= 1 || int64_t(counts) == matrices), ErrorKind::model,
          "{}: is importance of another model: {}: expected {} x {} values, found {}", file_.path(), source.name,
          matrices, cols, counts > 1 ? fmt::format("{} x {}", counts, n / int64_t(counts)) : std::to_string(n));
}

// Entries for tensors that the file will not have are for another layout of the same model, for its layers of
// multi-token prediction, or for another model.
void Importance::require_names(const std::vector<GgufTensorPlan>& tensors) const {
  std::set<std::string_view> names;
  int64_t last = 0;  // layer of the model itself
  for (const GgufTensorPlan& tensor : tensors) {
    names.insert(tensor.name);
    if (!tensor.appendix) last = std::max(last, layer_of(parts_of(tensor.name)));
  }
  std::vector<std::string_view> foreign;
  for (const auto& [name, entry] : file_.entries) {
    const NameParts parts = parts_of(name);
    const auto in_file = [&](const char* role) { return names.contains(std::string(parts.layer) + role); };
    std::vector<const char*> others = others_of(parts.role);
    if (parts.role == name::kAttnKB) others = {name::kAttnKvB};
    const bool known = names.contains(name) || std::ranges::any_of(others, in_file) || name == name::kOutput ||
                       layer_of(parts) == last + 1;
    if (!known) foreign.push_back(name);
  }
  require(foreign.empty(), ErrorKind::model,
          "{}: is importance of another model: expected tensors of layers 0 to {} like {}, found {}{}", file_.path(),
          last, tensors.empty() ? "" : tensors.back().name, foreign.empty() ? "" : foreign.front(),
          foreign.size() > 1 ? fmt::format(" and {} others", foreign.size() - 1) : "");
}

ColumnWeights Importance::of(const GgufTensorPlan& tensor) const {
  const Source source = find(tensor.name);
  if (!source.entry || !is_quantized(tensor)) return {};
  const std::string_view role = parts_of(tensor.name).role;
  const size_t cols = size_t(tensor.shape.cols());
  std::vector<float> sums = file_.values(source.name);
  if (source.mean_of_heads) {  // each head saw all tokens
    for (size_t i = cols; i < sums.size(); ++i) sums[i % cols] += sums[i];
    sums.resize(cols);
  }
  if (const int64_t matrices = int64_t(sums.size() / cols); is_experts(role) && matrices > 1) {
    std::vector<float> counts = source.entry->counts;
    if (counts.empty()) counts = assumed_counts(sums, matrices);
    if (counts.size() == 1) counts.assign(size_t(matrices), counts[0]);
    mix_experts(sums, counts, role != name::kFfnDownExps);
  }
  for (size_t i = 0; i < sums.size(); i += cols) raise_to_floor(std::span(sums).subspan(i, cols));
  return {std::move(sums), tensor.shape};
}

void Importance::set_keys(GgufMetadata& metadata) const {
  metadata.set(key::kQuantizeImatrixFile, GgufValue::of_string(file_.path()));
  if (!file_.datasets.empty()) {
    metadata.set(key::kQuantizeImatrixDataset, GgufValue::of_string(file_.datasets.front()));
  }
  metadata.set(key::kQuantizeImatrixEntries, GgufValue::of_u32(uint32_t(file_.entries.size())));
  if (file_.n_chunks > 0) metadata.set(key::kQuantizeImatrixChunks, GgufValue::of_u32(uint32_t(file_.n_chunks)));
}

std::vector<std::string> Importance::notes() const {
  std::vector<std::string> notes;
  if (!missing_.empty()) {
    const size_t shown = std::min<size_t>(missing_.size(), 3);
    notes.push_back(fmt::format("{}: {} tensor{} not in it, so all of their columns count alike: {}{}", file_.path(),
                                missing_.size(), missing_.size() == 1 ? " is" : "s are",
                                fmt::join(missing_.begin(), missing_.begin() + ptrdiff_t(shown), ", "),
                                missing_.size() > shown ? ", ..." : ""));
  }
  if (const std::string few = experts_seen(file_).text(); !few.empty()) {
    notes.push_back(fmt::format("{}: {}: the layer's others, and all columns alike, count for them as for {} tokens",
                                file_.path(), few, kFewTokens));
  }
  return notes;
}

std::string Importance::settings() const {
  return "importance " + checksum_text(checksum(file_.bytes()));
}

ColumnWeights weights_of(const std::optional<Importance>& importance, const GgufTensorPlan& tensor) {
  return importance ? importance->of(tensor) : ColumnWeights();
}

std::optional<Importance> open_importance(const std::string& path, const std::vector<GgufTensorPlan>& tensors,
                                          GgufMetadata& metadata, std::vector<std::string>& notes) {
  if (path.empty()) return std::nullopt;
  for (const char* key : kImportanceKeys) metadata.erase(key);
  std::optional<Importance> importance(std::in_place, path, tensors);
  importance->set_keys(metadata);
  for (std::string& note : importance->notes()) notes.push_back(std::move(note));
  return importance;
}

}  // namespace hearth
