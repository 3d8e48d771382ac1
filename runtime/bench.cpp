#include "runtime/bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <random>
#include <thread>

#include "quant/error.h"
#include "runtime/report.h"

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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
    if (options_.depth > 0) model_.run(first(options_.depth), cache_, {});
  }

  double prefill_rate() {
    cache_.truncate(options_.depth);
    const auto start = Clock::now();
    model_.run(first(options_.prefill), cache_, logits_);
    return double(options_.prefill) / seconds_since(start);
  }

  double decode_rate() {
    cache_.truncate(options_.depth);
    const auto start = Clock::now();
    for (int64_t i = 0; i < options_.decode; ++i) model_.run(std::span(tokens_).subspan(size_t(i), 1), cache_, logits_);
    return double(options_.decode) / seconds_since(start);
  }

 private:
  std::span<const Token> first(int64_t n) const { return std::span(tokens_).first(size_t(n)); }

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

ReadBandwidth::ReadBandwidth(int n_threads, size_t bytes) : n_threads_(n_threads) {
  try {
    buffer_.assign(bytes / sizeof(uint64_t), 1);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::resource, "out of memory: measuring the read bandwidth needs {} bytes", bytes);
  }
}

// Each thread sums its own part over and over for the same stretch of time; the rates of all are added.
double ReadBandwidth::measure() const {
  constexpr double kSeconds = 0.12;
  constexpr size_t kLanes = 32, kPiece = 1 << 15;  // independent sums; values between two looks at the clock
  const size_t part = buffer_.size() / size_t(n_threads_) / kPiece * kPiece;
  std::atomic<int> ready = 0;
  std::vector<double> rates(static_cast<size_t>(n_threads_));
  std::atomic<uint64_t> total = 0;  // wanted by nobody, but the compiler cannot know
  const auto read = [&](int thread) {
    const uint64_t* begin = buffer_.data() + size_t(thread) * part;
    uint64_t sums[kLanes] = {};
    ++ready;
    while (ready < n_threads_) std::this_thread::yield();
    const auto start = Clock::now();
    size_t n_read = 0;
    while (seconds_since(start) < kSeconds) {
      const uint64_t* piece = begin + n_read % part;
      for (size_t i = 0; i < kPiece; i += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += piece[i + lane];
      }
      n_read += kPiece;
    }
    rates[size_t(thread)] = double(n_read * sizeof(uint64_t)) / seconds_since(start);
    for (const uint64_t sum : sums) total += sum;
  };
  {
    std::vector<std::jthread> threads;
    for (int thread = 1; thread < n_threads_; ++thread) threads.emplace_back(read, thread);
    read(0);
  }
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

CopyBandwidth::CopyBandwidth(const Ops& ops, size_t bytes)
    : ops_(ops), from_(ops, bytes, "measuring bandwidth"), to_(ops, bytes, "measuring bandwidth") {}

double CopyBandwidth::measure() const {
  constexpr int kCopies = 8;
  const Exec exec{.stream = ops_.stream};
  const auto copy = [&](int n) {
    for (int i = 0; i < n; ++i) ops_.move(exec, from_.data(), to_.data(), from_.bytes());
    const std::string failure = ops_.finish(exec);
    require(failure.empty(), ErrorKind::resource, "{}: {}", ops_.name, failure);
  };
  copy(1);
  const auto start = Clock::now();
  copy(kCopies);
  return 2.0 * kCopies * double(from_.bytes()) / seconds_since(start);
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
  if (runs_on_gpu(model)) {
    bandwidth = [copies = std::make_shared<CopyBandwidth>(*model.options().ops)] { return copies->measure(); };
  } else {
    bandwidth = [reads = std::make_shared<ReadBandwidth>(model.options().n_threads)] { return reads->measure(); };
  }
  tell("warming up", 0);
  if (options.prefill == 0) runner.decode_rate();
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
  const double bytes = double(result.active_bytes + result.cache_bytes);
  result.decode_floor = result.read_bandwidth.median() / bytes;
  result.decode_share = result.decode.median() / result.decode_floor;
  result.decode_bytes_per_s = result.decode.median() * bytes;
  return result;
}

}  // namespace hearth
