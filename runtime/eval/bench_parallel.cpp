#include "runtime/eval/bench_parallel.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "quant/error.h"
#include "runtime/eval/bandwidth.h"
#include "runtime/eval/bench.h"
#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;

class Streams {
 public:
  Streams(Model& model, const ParallelOptions& options, int64_t n)
      : model_(model), options_(options), n_(n), V_(size_t(model.config().vocab_size)), logits_(size_t(n) * V_) {
    std::mt19937 random(1);
    for (int64_t i = 0; i < n * (options.prompt + options.decode); ++i) tokens_.push_back(Token(random() % V_));
  }

  // Seconds until each stream's prompt is read, one after another.
  Samples read_prompts() {
    caches_.clear();
    Samples samples;
    const auto start = Clock::now();
    for (int64_t i = 0; i < n_; ++i) {
      caches_.push_back(model_.new_cache());
      const auto go_on = [&](const RunProgress&) { return !options_.stop_now || !options_.stop_now(); };
      const auto prompt = std::span(tokens_).subspan(size_t(i * length()), size_t(options_.prompt));
      require(model_.run(prompt, caches_.back(), logits(i), false, go_on), ErrorKind::interrupted, "interrupted");
      samples.values.push_back(seconds_since(start));
    }
    return samples;
  }

  // tok/s of all.
  double decode() {
    for (KvCache& cache : caches_) cache.truncate(options_.prompt);
    const auto start = Clock::now();
    for (int64_t t = 0; t < options_.decode; ++t) {
      std::vector<NextTokens> step;
      for (int64_t i = 0; i < n_; ++i) {
        const size_t at = size_t(i * length() + options_.prompt + t);
        step.push_back({std::span(tokens_).subspan(at, 1), &caches_[size_t(i)], logits(i)});
      }
      const auto go_on = [&](const RunProgress&) { return !options_.stop_now || !options_.stop_now(); };
      require(model_.step(step, go_on), ErrorKind::interrupted, "interrupted");
    }
    return double(n_ * options_.decode) / seconds_since(start);
  }

 private:
  int64_t length() const { return options_.prompt + options_.decode; }
  std::span<float> logits(int64_t i) { return std::span(logits_).subspan(size_t(i) * V_, V_); }

  Model& model_;
  const ParallelOptions& options_;
  int64_t n_;
  size_t V_;
  std::vector<Token> tokens_;
  std::vector<KvCache> caches_;
  std::vector<float> logits_;
};

double prefill_rate(Model& model, const ParallelOptions& options) {
  std::mt19937 random(2);
  std::vector<Token> tokens;
  for (int64_t i = 0; i < options.prefill; ++i) tokens.push_back(Token(random() % uint64_t(model.config().vocab_size)));
  Samples rates;
  for (int i = 0; i <= options.repetitions; ++i) {  // the first one warms up
    KvCache cache = model.new_cache();
    const auto start = Clock::now();
    const auto go_on = [&](const RunProgress&) { return !options.stop_now || !options.stop_now(); };
    require(model.run(tokens, cache, {}, false, go_on), ErrorKind::interrupted, "interrupted");
    if (i > 0) rates.values.push_back(double(options.prefill) / seconds_since(start));
  }
  return rates.median();
}

void check(const Model& model, const ParallelOptions& options) {
  require(!options.streams.empty() && std::ranges::min(options.streams) >= 1 &&
              std::ranges::max(options.streams) <= model.options().n_sequences,
          ErrorKind::usage, "bench: streams: expected 1 to {} at once", model.options().n_sequences);
  require(options.prompt >= 1 && options.decode >= 1 && options.prefill >= 1 && options.repetitions >= 1,
          ErrorKind::usage, "bench: with several streams prompts, prefill and decode are measured: expected 1 or more");
  const int64_t needed = std::max(options.prompt + options.decode, options.prefill);
  require(needed <= model.options().n_ctx, ErrorKind::usage, "bench: {} tokens do not fit the context of {}", needed,
          model.options().n_ctx);
}

}  // namespace

ParallelResult bench_parallel(Model& model, const ParallelOptions& options) {
  check(model, options);
  ParallelResult result;
  result.prefill_rate = prefill_rate(model, options);
  const ReadBandwidth bandwidth(model.options().n_threads);
  Samples bandwidths;
  const double cache_bytes = double(options.prompt + options.decode / 2) *
                             double(format_of(model.options().cache_format).bytes(model.config().cache_width())) *
                             double(model.config().n_layers);
  for (const int64_t n : options.streams) {
    ParallelRow& row = result.rows.emplace_back();
    row.n_streams = n;
    Streams streams(model, options, n);
    row.first_token_seconds = streams.read_prompts().median();
    streams.decode();  // warms up
    Samples rates;
    const uint64_t before = model.read_expert_bytes();
    for (int i = 0; i < options.repetitions; ++i) {
      bandwidths.values.push_back(bandwidth.measure());
      rates.values.push_back(streams.decode());
    }
    row.rate = rates.median();
    const double steps = double(options.decode * options.repetitions);
    const double experts = double(model.read_expert_bytes() - before) / steps;
    if (experts > 0) row.step_bytes = double(model.step_bytes()) + experts + double(n) * cache_bytes;
  }
  result.bandwidth = bandwidths.median();
  const bool on_host = !runs_on_gpu(model);
  for (ParallelRow& row : result.rows) {
    if (row.step_bytes == 0 || !on_host) continue;
    const double seconds = std::max(row.step_bytes / result.bandwidth, double(row.n_streams) / result.prefill_rate);
    row.floor = double(row.n_streams) / seconds;
    row.share = row.rate / row.floor;
  }
  return result;
}

}  // namespace hearth
