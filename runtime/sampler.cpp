#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/error.h"

namespace hearth {

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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
    if (size_t(token) < logits_.size()) logits_[size_t(token)] = kNan;
  penalise(recent);

  float best = -std::numeric_limits<float>::infinity();
  for (const float logit : logits_) best = logit > best ? logit : best;
  require(best > -std::numeric_limits<float>::infinity(), ErrorKind::model,
          "no token can be chosen: all {} logits are NaN, -inf or of forbidden tokens", logits.size());
  if (options_.temperature == 0 || std::isinf(best))
    return Token(std::find(logits_.begin(), logits_.end(), best) - logits_.begin());

  candidates_.clear();
  for (size_t i = 0; i < logits_.size(); ++i) {
    const float relative = (logits_[i] - best) / options_.temperature;
    if (relative > kNegligible) candidates_.push_back({Token(i), logits_[i], std::exp(relative)});
  }
  if (options_.top_k > 0) keep_best(size_t(options_.top_k));
  if (options_.top_p < 1) keep_share(options_.top_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });  // the best one's is 1
  return draw();
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

bool Sampler::better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

void Sampler::drop_worse_than(const Candidate& last) {
  std::erase_if(candidates_, [&](const Candidate& c) { return better(last, c); });
}

void Sampler::keep_best(size_t count) {
  if (candidates_.size() <= count) return;
  sorted_ = candidates_;
  const auto last = sorted_.begin() + ptrdiff_t(count - 1);
  std::nth_element(sorted_.begin(), last, sorted_.end(), better);
  drop_worse_than(*last);
}

// Looks for the last candidate of the share by halving, sorting no more than the halves' borders: O(V).
void Sampler::keep_share(float share) {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  // Candidates below this hold less than 1 - share together, so the share is reached without them.
  const double floor = (1.0 - share) * total / double(candidates_.size());
  sorted_.clear();
  for (const Candidate& c : candidates_)
    if (c.weight >= floor) sorted_.push_back(c);

  size_t begin = 0, end = sorted_.size();  // where the last one is
  double before = 0;                       // weight of those before `begin`
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    const auto at = [&](size_t i) { return sorted_.begin() + ptrdiff_t(i); };
    std::nth_element(at(begin), at(middle), at(end), better);
    double weight = 0;
    for (size_t i = begin; i <= middle; ++i) weight += sorted_[i].weight;
    if (before + weight >= share * total) {
      end = middle;
    } else {
      before += weight;
      begin = middle + 1;
    }
  }
  if (end < sorted_.size()) drop_worse_than(sorted_[end]);
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
