#include "runtime/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "quant/checksum.h"
#include "runtime/eval/baseline.h"
#include "runtime/eval/windows.h"
#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

constexpr size_t kWindowBytes = size_t(128) << 20;  // logits held at once

// Mean and standard error of what was added.
class Mean {
 public:
  void add(double value) {
    ++n_;
    sum_ += value;
    squares_ += value * value;
  }
  double mean() const { return n_ ? sum_ / double(n_) : 0; }
  double error() const {
    if (n_ < 2) return 0;
    return std::sqrt(std::max(squares_ / double(n_) - mean() * mean(), 0.0) / double(n_ - 1));
  }

 private:
  int64_t n_ = 0;
  double sum_ = 0, squares_ = 0;
};

void log_softmax(std::span<float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - largest);
  const double shift = largest + std::log(sum);
  for (float& x : logits) x = float(double(x) - shift);
}

size_t most_likely(std::span<const float> row) {
  return size_t(std::ranges::max_element(row) - row.begin());
}

// KL(p || q) from log-probabilities.
double divergence_of(std::span<const float> p, std::span<const float> q) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(double(p[i])) * (double(p[i]) - double(q[i]));
  return sum;
}

// Everything that is counted at a scored position.
class Scores {
 public:
  Scores(const BaselineHeader& header, const PerplexityOptions& options) {
    require(options.baseline.empty() || options.save_baseline.empty(), ErrorKind::usage,
            "a baseline is either compared with or saved, not both");
    if (!options.baseline.empty()) {
      reader_.emplace(options.baseline);
      reader_->require_same(header);
      baseline_row_.resize(size_t(header.vocab_size));
    }
    if (!options.save_baseline.empty()) writer_.emplace(options.save_baseline, header);
  }

  void add(std::span<float> logits, Token next) {
    require(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }), ErrorKind::model,
            "the model's logits are not finite");
    log_softmax(logits);
    nll_.add(-double(logits[size_t(next)]));
    ++n_;
    if (writer_) writer_->add(logits, next);
    if (!reader_) return;
    baseline_nll_.add(-double(reader_->next(baseline_row_)));
    const double kl = divergence_of(baseline_row_, logits);
    kl_.add(kl);
    all_kl_.push_back(kl);
    n_agree_ += most_likely(baseline_row_) == most_likely(logits);
  }

  double ppl() const { return std::exp(nll_.mean()); }

  void finish(PerplexityResult& result) {
    if (writer_) writer_->finish();
    result.n_scored = n_;
    result.ppl = ppl();
    result.ppl_error = result.ppl * nll_.error();
    if (!reader_) return;
    std::ranges::sort(all_kl_);
    const auto quantile = [&](double share) { return all_kl_[size_t(share * double(all_kl_.size() - 1))]; };
    result.divergence = Divergence{.baseline_name = reader_->header().model_name,
                                   .baseline_ppl = std::exp(baseline_nll_.mean()),
                                   .mean_kl = kl_.mean(),
                                   .mean_kl_error = kl_.error(),
                                   .median_kl = quantile(0.5),
                                   .p99_kl = quantile(0.99),
                                   .max_kl = all_kl_.back(),
                                   .top1_agreement = double(n_agree_) / double(n_)};
  }

 private:
  std::optional<BaselineReader> reader_;
  std::optional<BaselineWriter> writer_;
  std::vector<float> baseline_row_;
  Mean nll_, baseline_nll_, kl_;
  std::vector<double> all_kl_;
  int64_t n_ = 0, n_agree_ = 0;
};

}  // namespace

PerplexityResult measure_perplexity(Model& model, std::span<const Token> tokens, const PerplexityOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t V = model.config().vocab_size;
  PerplexityResult result;
  const Windows windows = cut_windows(tokens, options.n_ctx, options.max_windows, options.bos);
  const int64_t window = result.window = windows.size, n_windows = windows.count();
  KvCache cache = model.new_cache();
  require(window <= cache.capacity(), ErrorKind::usage, "a window of {} tokens does not fit the context of {}", window,
          cache.capacity());

  Scores scores({V, window, n_windows, checksum(std::as_bytes(std::span(windows.tokens))), model.config().name},
                options);
  const int64_t at_once = std::clamp<int64_t>(int64_t(kWindowBytes / (size_t(V) * sizeof(float))), 1, window);
  std::vector<float> logits(size_t(at_once * V));

  const auto run = [&](std::span<const Token> some, std::span<float> rows) {
    const auto go_on = [&](const RunProgress&) { return !options.stop_now || !options.stop_now(); };
    require(model.run(some, cache, rows, true, go_on), ErrorKind::interrupted, "interrupted after {} of {} windows",
            result.n_windows, n_windows);
  };
  for (int64_t i = 0; i < n_windows; ++i) {
    const std::span<const Token> w = windows.window(i);
    cache.truncate(0);
    run(w.first(size_t(window / 2)), {});
    for (int64_t t = window / 2; t < window - 1; t += at_once) {
      const int64_t n = std::min(at_once, window - 1 - t);
      const std::span<float> rows = std::span(logits).first(size_t(n * V));
      run(w.subspan(size_t(t), size_t(n)), rows);
      for (int64_t j = 0; j < n; ++j) scores.add(rows.subspan(size_t(j * V), size_t(V)), w[size_t(t + j + 1)]);
    }
    result.tokens_run += window - 1;
    ++result.n_windows;
    require(!options.progress || options.progress(i + 1, n_windows, scores.ppl()), ErrorKind::interrupted,
            "interrupted after {} of {} windows", i + 1, n_windows);
  }
  scores.finish(result);
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace hearth
