#include "runtime/engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "quant/error.h"

namespace hearth {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Tokens less likely than this (a logarithm) against the best one are left out at once. All of a vocabulary of 2^18 of
// them weighs 1e-12 of the best token: no draw of 53 bits ever meets one.
constexpr float kNegligible = -40.0f;

template <class T>
void check(bool ok, const char* option, T value, const char* accepted) {
  require(ok, ErrorKind::usage, "{} is {}: expected {}", option, value, accepted);
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  const SamplerOptions& o = options_;  // comparisons are written so that NaN fails them
  check(o.temperature >= 0 && o.temperature <= 100, "temperature", o.temperature, "0 (greedy) to 100");
  check(o.top_k >= 0, "top-k", o.top_k, "0 (all) or more");
  check(o.top_p > 0 && o.top_p <= 1, "top-p", o.top_p, "more than 0, at most 1 (off)");
  check(o.min_p >= 0 && o.min_p <= 1, "min-p", o.min_p, "0 (off) to 1");
  check(o.repetition_penalty > 0 && o.repetition_penalty <= 100, "repetition penalty", o.repetition_penalty,
        "more than 0, at most 100 (1: off)");
  check(o.repetition_window >= 0, "repetition window", o.repetition_window, "0 (off) or more tokens");
}

void Sampler::forbid(std::vector<Token> tokens) {
  forbidden_ = std::move(tokens);
}

Token Sampler::sample(std::span<const float> logits, std::span<const Token> recent) {
  logits_.assign(logits.begin(), logits.end());
  for (const Token token : forbidden_)
    if (size_t(token) < logits_.size()) logits_[size_t(token)] = -kInfinity;
  require_numbers();
  penalise(recent);

  float best = -kInfinity;
  for (const float logit : logits_) best = logit > best ? logit : best;
  require(best > -kInfinity, ErrorKind::model, "no token can be chosen: all {} logits are -inf or of forbidden tokens",
          logits.size());
  if (options_.temperature == 0 || std::isinf(best))
    return Token(std::find(logits_.begin(), logits_.end(), best) - logits_.begin());

  candidates_.clear();
  for (size_t i = 0; i < logits_.size(); ++i) {
    const float relative = (logits_[i] - best) / options_.temperature;
    if (relative > kNegligible) candidates_.push_back({Token(i), relative, std::exp(relative)});
  }
  if (options_.top_k > 0) keep_best(size_t(options_.top_k));
  if (options_.top_p < 1) keep_share(options_.top_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });  // the best one's is 1
  return draw();
}

void Sampler::require_numbers() const {
  bool numbers = true;  // looked at whole, so that it vectorises
  for (const float logit : logits_) numbers &= logit < kInfinity;
  if (numbers) return;
  const auto bad = std::ranges::find_if(logits_, [](float logit) { return !(logit < kInfinity); });
  fail(ErrorKind::model,
       "the model's output is not a number: the logit of token {} is {}; `hearth verify` tells whether the file is "
       "damaged",
       bad - logits_.begin(), std::isnan(*bad) ? "nan" : "inf");
}

void Sampler::penalise(std::span<const Token> recent) {
  if (options_.repetition_penalty == 1.0f) return;
  std::vector<Token> tokens(recent.end() - std::min(recent.size(), size_t(options_.repetition_window)), recent.end());
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const Token token : tokens) {
    if (size_t(token) >= logits_.size()) continue;
    float& logit = logits_[size_t(token)];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }
}

void Sampler::drop_worse_than(const Candidate& last) {
  std::erase_if(candidates_, [&](const Candidate& c) { return Better()(last, c); });
}

// Collects candidates that beat the last of the best so far, and drops the worse ones now and then: most candidates
// cost one comparison.
void Sampler::keep_best(size_t count) {
  if (candidates_.size() <= count) return;
  sorted_.clear();
  const auto shrink = [&] {
    std::nth_element(sorted_.begin(), sorted_.begin() + ptrdiff_t(count - 1), sorted_.end(), Better());
    sorted_.resize(count);
  };
  for (const Candidate& c : candidates_) {
    if (sorted_.size() >= count && !Better()(c, sorted_[count - 1])) continue;
    sorted_.push_back(c);
    if (sorted_.size() == count || sorted_.size() == 2 * count + 64) shrink();
  }
  shrink();
  drop_worse_than(sorted_.back());
}

// Sums weights by how far candidates are from the best, so that only those near the end of the share are sorted.
void Sampler::keep_share(float share) {
  std::array<double, 1024> weights{};
  float lowest = -1e-6f;
  for (const Candidate& c : candidates_) lowest = std::min(lowest, c.relative);
  const float scale = float(weights.size() - 1) / lowest;
  const auto bucket = [&](const Candidate& c) { return size_t(c.relative * scale); };
  for (const Candidate& c : candidates_) weights[bucket(c)] += c.weight;
  double left = share * std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t last = 0;
  while (last < weights.size() && left > weights[last]) left -= weights[last++];

  sorted_.clear();
  for (const Candidate& c : candidates_)
    if (bucket(c) == last) sorted_.push_back(c);
  std::sort(sorted_.begin(), sorted_.end(), Better());
  for (const Candidate& c : sorted_) {
    left -= c.weight;
    if (left > 0) continue;
    drop_worse_than(c);
    return;
  }
  if (!sorted_.empty()) drop_worse_than(sorted_.back());  // rounding
}

Token Sampler::draw() {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  // Not std::uniform_real_distribution: every library makes other numbers of the same seed.
  double left = double(random_() >> 11) * 0x1p-53 * total;
  for (const Candidate& c : candidates_) {
    left -= c.weight;
    if (left < 0) return c.token;
  }
  return candidates_.back().token;  // rounding
}

}  // namespace hearth
