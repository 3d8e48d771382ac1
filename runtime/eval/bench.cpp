#include "runtime/eval/bench.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "quant/error.h"
#include "runtime/eval/report.h"
#include "runtime/offload/hybrid.h"
#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<Token> random_tokens(int64_t n, int64_t vocab_size) {
  std::mt19937 random(1);
  std::uniform_int_distribution<Token> any(0, Token(vocab_size - 1));
  std::vector<Token> tokens(static_cast<size_t>(n));
  for (Token& token : tokens) token = any(random);
  return tokens;
}

class Runner {
 public:
  Runner(Model& model, const BenchOptions& options)
      : model_(model),
        options_(options),
        cache_(model.new_cache()),
        tokens_(random_tokens(std::max({options.prefill, options.decode, options.depth}), model.config().vocab_size)),
        logits_(static_cast<size_t>(model.config().vocab_size)) {}

  void fill_to_depth() {
    if (options_.depth > 0) run(first(options_.depth), {});
  }

  double prefill_rate() {
    cache_.truncate(options_.depth);
    const auto start = Clock::now();
    run(first(options_.prefill), logits_);
    return double(options_.prefill) / seconds_since(start);
  }

  double decode_rate() {
    cache_.truncate(options_.depth);
    const auto start = Clock::now();
    for (int64_t i = 0; i < options_.decode; ++i) run(std::span(tokens_).subspan(size_t(i), 1), logits_);
    return double(options_.decode) / seconds_since(start);
  }

  // Of the first token after the depth, once more.
  Timeline timed_token() {
    Device& device = *model_.options().device;
    cache_.truncate(options_.depth);
    device.time_next_step();
    run(first(1), logits_);
    return timeline(device.timed_step());
  }

 private:
  std::span<const Token> first(int64_t n) const { return std::span(tokens_).first(size_t(n)); }
  void run(std::span<const Token> tokens, std::span<float> logits) {
    const auto go_on = [&](const RunProgress&) { return !options_.stop_now || !options_.stop_now(); };
    require(model_.run(tokens, cache_, logits, false, go_on), ErrorKind::interrupted, "interrupted");
  }

  Model& model_;
  const BenchOptions& options_;
  KvCache cache_;
  std::vector<Token> tokens_;
  std::vector<float> logits_;
};

void check(const Model& model, const BenchOptions& options) {
  require(options.prefill >= 0 && options.decode >= 0 && options.depth >= 0 && options.prefill + options.decode > 0,
          ErrorKind::usage, "bench: expected something to measure, found prefill {}, decode {}, depth {}",
          options.prefill, options.decode, options.depth);
  require(options.repetitions >= 1, ErrorKind::usage, "bench: repetitions: expected at least 1, found {}",
          options.repetitions);
  const int64_t needed = options.depth + std::max(options.prefill, options.decode);
  require(needed <= model.options().n_ctx, ErrorKind::usage, "bench: {} tokens do not fit the context of {}", needed,
          model.options().n_ctx);
}

}  // namespace

double Samples::median() const {
  if (values.empty()) return 0;
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
double Samples::min() const {
  return values.empty() ? 0 : *std::ranges::min_element(values);
}
double Samples::max() const {
  return values.empty() ? 0 : *std::ranges::max_element(values);
}

BenchResult bench(Model& model, const BenchOptions& options) {
  check(model, options);
  const auto tell = [&](std::string_view what, int done) {
    require(!options.progress || options.progress(what, done, options.repetitions), ErrorKind::interrupted,
            "interrupted");
  };
  Runner runner(model, options);
  BenchResult result;

  tell("warming up", 0);
  runner.fill_to_depth();
  if (options.prefill > 0) runner.prefill_rate();
  for (int i = 0; options.prefill > 0 && i < options.repetitions; ++i) {
    tell("prefill", i);
    result.prefill.values.push_back(runner.prefill_rate());
  }
  if (options.decode == 0) return result;

  std::function<double()> bandwidth;
  result.hybrid = model.hybrid() != nullptr;
  if (runs_on_gpu(model) && !result.hybrid) {
    bandwidth = [copies = std::make_shared<CopyBandwidth>(*model.options().device)] { return copies->measure(); };
  } else {
    bandwidth = [reads = std::make_shared<ReadBandwidth>(model.options().n_threads)] { return reads->measure(); };
  }
  tell("warming up", 0);
  if (options.prefill == 0) runner.decode_rate();
  const uint64_t read_before = result.hybrid ? model.hybrid()->counts().host_bytes : 0;
  for (int i = 0; i < options.repetitions; ++i) {
    tell("decode", i);
    const double before = bandwidth();
    result.decode.values.push_back(runner.decode_rate());
    result.read_bandwidth.values.push_back((before + bandwidth()) / 2);
  }

  result.active_bytes = model.active_bytes();
  result.cache_bytes = uint64_t(options.depth + options.decode / 2) *
                       format_of(model.options().cache_format).bytes(model.config().cache_width()) *
                       uint64_t(model.config().n_layers);
  if (result.hybrid) {
    const uint64_t n_tokens = uint64_t(options.decode) * uint64_t(options.repetitions);
    result.active_bytes = (model.hybrid()->counts().host_bytes - read_before) / n_tokens;
    result.cache_bytes = 0;
    result.timeline = runner.timed_token();
  }
  const double bytes = double(result.active_bytes + result.cache_bytes);
  if (bytes == 0) return result;
  result.decode_floor = result.read_bandwidth.median() / bytes;
  result.decode_share = result.decode.median() / result.decode_floor;
  result.decode_bytes_per_s = result.decode.median() * bytes;
  return result;
}

}  // namespace hearth
