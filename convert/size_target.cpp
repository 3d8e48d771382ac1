#include "convert/size_target.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <queue>
#include <thread>

#include "convert/format_plan.h"
#include "quant/error.h"

namespace hearth {
namespace {

using enum FormatId;

// From small to large. Routed experts may have any of them; what every token passes through, no less than four bits;
// latent matrices are small and shape every key and value (recipe.cpp).
constexpr FormatId kExpertFormats[] = {iq1_s,  iq1_m,  iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s,
                                       iq4_xs, iq4_nl, q4_k,    q5_k,   q5_0,  q6_k,    q8_0};
constexpr FormatId kOtherFormats[] = {iq4_xs, iq4_nl, q4_k, q5_k, q5_0, q6_k, q8_0};
constexpr FormatId kLatentFormats[] = {q8_0};

std::vector<const Format*> candidates(const OpenTensor& tensor) {
  const bool expert = tensor.tensor->role == Role::expert_in || tensor.tensor->role == Role::expert_down;
  const std::span<const FormatId> ids = expert ? std::span(kExpertFormats)
                                        : tensor.tensor->role == Role::latent
                                            ? std::span<const FormatId>(kLatentFormats)
                                            : std::span(kOtherFormats);
  std::vector<const Format*> fitting;
  for (const FormatId id : ids) {
    if (format_of(id).fits(tensor.tensor->shape.cols())) fitting.push_back(&format_of(id));
  }
  if (fitting.empty()) fitting.push_back(&format_of(f16));
  return fitting;
}

// Rows that are encoded to learn what formats cost a matrix: so many, from all over it.
constexpr int64_t kSampledRows = 16;

// The share of error in what the matrix gives, for each format.
std::vector<double> measure_losses(const OpenTensor& tensor, const std::vector<const Format*>& formats) {
  const int64_t cols = tensor.tensor->shape.cols(), rows = tensor.tensor->shape.rows();
  const std::unique_ptr<RowMaker> maker = tensor.rows(format_of(f32));
  const int64_t unit = maker->unit(), n_units = rows / unit,
                n = std::min<int64_t>(n_units, std::max<int64_t>(1, kSampledRows / unit));
  RowMaker::Scratch scratch;
  std::vector<float> exact(size_t(unit * cols)), decoded(static_cast<size_t>(cols));
  std::vector<std::byte> encoded;
  double energy = 0;
  std::vector<double> errors(formats.size());
  for (int64_t i = 0; i < n; ++i) {
    const int64_t first = (2 * i + 1) * n_units / (2 * n) * unit;
    maker->encode(first, unit, scratch, reinterpret_cast<std::byte*>(exact.data()));
    for (int64_t row = 0; row < unit; row += std::max<int64_t>(1, unit / kSampledRows)) {
      const float* const x = exact.data() + row * cols;
      const float* const importance = tensor.importance.of_row(first + row);
      const auto weight = [&](int64_t c) { return importance ? double(importance[c]) : 1.0; };
      for (int64_t c = 0; c < cols; ++c) energy += weight(c) * x[c] * x[c];
      for (size_t f = 0; f < formats.size(); ++f) {
        encoded.resize(formats[f]->bytes(cols));
        formats[f]->encode(x, importance, encoded.data(), cols);
        formats[f]->decode(encoded.data(), decoded.data(), cols);
        for (int64_t c = 0; c < cols; ++c) {
          const double error = double(decoded[size_t(c)]) - x[c];
          errors[f] += weight(c) * error * error;
        }
      }
    }
  }
  for (double& error : errors) error = energy > 0 ? error / energy : 0;
  return errors;
}

// Of the logits' error, how much a matrix's own is.
double share_of_logits(const OpenTensor& tensor, int64_t n_layers) {
  return tensor.tensor->role == Role::head ? 1.0 : 1.0 / double(2 * n_layers);
}

std::vector<FormatOption> measure_options(const OpenTensor& tensor, int64_t n_layers) {
  const std::vector<const Format*> formats = candidates(tensor);
  const std::vector<double> losses = measure_losses(tensor, formats);
  std::vector<FormatOption> options;
  for (size_t f = 0; f < formats.size(); ++f) {
    const uint64_t bytes = uint64_t(tensor.tensor->shape.rows()) * formats[f]->bytes(tensor.tensor->shape.cols());
    options.push_back({formats[f], bytes, share_of_logits(tensor, n_layers) * losses[f]});
  }
  return options;
}

// Tensors that get the same format: gate and up of a layer.
std::vector<std::vector<size_t>> units_of(const std::vector<OpenTensor>& tensors) {
  std::vector<std::vector<size_t>> units;
  std::map<std::pair<int64_t, Role>, size_t> pairs;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const OpenTensor& tensor = tensors[i];
    const bool in = tensor.tensor->role == Role::dense_in || tensor.tensor->role == Role::expert_in ||
                    tensor.tensor->role == Role::shared_in;
    const auto known = pairs.find({tensor.tensor->layer, tensor.tensor->role});
    if (in && known != pairs.end() && tensor.tensor->shape == tensors[units[known->second].front()].tensor->shape) {
      units[known->second].push_back(i);
      continue;
    }
    if (in) pairs[{tensor.tensor->layer, tensor.tensor->role}] = units.size();
    units.push_back({i});
  }
  return units;
}

// From small to large, without those that a smaller one beats and those above the line between their neighbours: each
// step gains less for its bytes than the one before.
std::vector<size_t> worth_having(const std::vector<FormatOption>& options) {
  std::vector<size_t> order(options.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, [&](size_t a, size_t b) {
    return std::pair(options[a].bytes, options[a].loss) < std::pair(options[b].bytes, options[b].loss);
  });
  const auto gain = [&](size_t from, size_t to) {
    return (options[from].loss - options[to].loss) / double(options[to].bytes - options[from].bytes);
  };
  std::vector<size_t> kept;
  for (const size_t i : order) {
    if (!kept.empty() && options[i].loss >= options[kept.back()].loss) continue;
    if (!kept.empty() && options[i].bytes == options[kept.back()].bytes) continue;
    while (kept.size() >= 2 && gain(kept.back(), i) >= gain(kept[kept.size() - 2], kept.back())) kept.pop_back();
    kept.push_back(i);
  }
  return kept;
}

}  // namespace

std::vector<size_t> choose_within(const std::vector<std::vector<FormatOption>>& units, uint64_t bytes,
                                  uint64_t reserved) {
  struct Step {
    double gain;  // loss that it saves, for each byte
    size_t unit, to;
    bool operator<(const Step& other) const {
      return gain != other.gain ? gain < other.gain : unit > other.unit;  // ties: the first unit
    }
  };
  std::vector<std::vector<size_t>> ladders;
  std::vector<size_t> rung(units.size());
  std::priority_queue<Step> steps;
  uint64_t least = reserved;
  const auto offer = [&](size_t u) {
    if (rung[u] + 1 >= ladders[u].size()) return;
    const FormatOption &from = units[u][ladders[u][rung[u]]], &to = units[u][ladders[u][rung[u] + 1]];
    steps.push({(from.loss - to.loss) / double(to.bytes - from.bytes), u, rung[u] + 1});
  };
  for (size_t u = 0; u < units.size(); ++u) {
    ladders.push_back(worth_having(units[u]));
    least += units[u][ladders[u].front()].bytes;
    offer(u);
  }
  require(least <= bytes, ErrorKind::usage, "expected a size of at least {} bytes, the least possible, found {}", least,
          bytes);
  for (uint64_t used = least; !steps.empty();) {
    const Step step = steps.top();
    steps.pop();
    const auto& ladder = ladders[step.unit];
    const uint64_t more = units[step.unit][ladder[step.to]].bytes - units[step.unit][ladder[step.to - 1]].bytes;
    if (used + more > bytes) continue;  // smaller units may still have room
    used += more;
    rung[step.unit] = step.to;
    offer(step.unit);
  }
  std::vector<size_t> chosen;
  for (size_t u = 0; u < units.size(); ++u) chosen.push_back(ladders[u][rung[u]]);
  return chosen;
}

SizeTarget fit_formats(const std::vector<OpenTensor>& tensors, int64_t n_layers, uint64_t bytes, uint64_t reserved,
                       int n_threads) {
  std::vector<std::vector<FormatOption>> options(tensors.size());
  std::vector<std::exception_ptr> errors(tensors.size());
  std::atomic<size_t> next = 0;
  const auto measure = [&] {
    for (size_t i = next++; i < tensors.size(); i = next++) {
      try {
        options[i] = measure_options(tensors[i], n_layers);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < n_threads; ++i) threads.emplace_back(measure);
    measure();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }

  const std::vector<std::vector<size_t>> units = units_of(tensors);
  std::vector<std::vector<FormatOption>> together;
  for (const std::vector<size_t>& unit : units) {
    std::vector<FormatOption> sum = options[unit.front()];
    for (size_t i = 1; i < unit.size(); ++i) {
      for (size_t f = 0; f < sum.size(); ++f) {
        sum[f].bytes += options[unit[i]][f].bytes;
        sum[f].loss += options[unit[i]][f].loss;
      }
    }
    together.push_back(std::move(sum));
  }
  const std::vector<size_t> chosen = choose_within(together, bytes, reserved);
  SizeTarget target{std::vector<const Format*>(tensors.size()), 0};
  for (size_t u = 0; u < units.size(); ++u) {
    for (const size_t i : units[u]) target.formats[i] = together[u][chosen[u]].format;
    target.loss += together[u][chosen[u]].loss;
  }
  return target;
}

std::map<std::string, const Format*> fit_to_size(
    const MakingOptions& options, GgufMetadata metadata, const std::vector<OutputTensor>& tensors,
    const std::function<std::unique_ptr<RowMaker>(size_t, const Format&)>& rows, int64_t n_layers,
    std::vector<std::string>& notes) {
  // As if by the base recipe; what is open is taken out again.
  FormatPlan plan(options.base_recipe(), options.tensor_rules, n_layers);
  for (const OutputTensor& tensor : tensors) plan.add(tensor, plan.choose(tensor));
  std::vector<std::string> later;  // said when the formats are known
  const std::optional<Importance> importance = open_importance(options.imatrix, plan.tensors(), metadata, later);
  constexpr uint64_t kPadding = 32;  // between tensors, at most
  uint64_t reserved = gguf_file_bytes(metadata, plan.tensors()) + kPadding * tensors.size();

  std::vector<OpenTensor> open;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].role == Role::vector || plan.ruled(tensors[i].name)) continue;
    reserved -= plan.tensors()[i].bytes();
    open.push_back({&tensors[i], [&rows, i](const Format& format) { return rows(i, format); },
                    weights_of(importance, plan.tensors()[i])});
  }
  const SizeTarget target = fit_formats(open, n_layers, *options.target_bytes, reserved, options.n_threads);
  std::map<std::string, const Format*> formats;
  for (size_t i = 0; i < open.size(); ++i) formats[open[i].tensor->name] = target.formats[i];
  notes.push_back(
      fmt::format("formats fitted to {} bytes, by the error that {} rows of each matrix show{}: logits are "
                  "expected to be off by {:.2g} of their size",
                  *options.target_bytes, kSampledRows, importance ? "" : ", all columns alike (--imatrix weighs them)",
                  std::sqrt(target.loss)));
  return formats;
}

}  // namespace hearth
