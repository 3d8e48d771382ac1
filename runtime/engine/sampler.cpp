#include "runtime/engine/sampler.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "quant/error.h"
#include "runtime/engine/exponential.h"

namespace hearth {

namespace {

template <class T>
void check(bool ok, const char* option, T value, const char* accepted) {
  require(ok, ErrorKind::usage, "{} is {}: expected {}", option, value, accepted);
}

bool penalises_repetition(const SamplerOptions& o) {
  return o.repetition_penalty != 1 && o.repetition_window > 0;
}

bool penalises_generated(const SamplerOptions& o) {
  return o.frequency_penalty != 0 || o.presence_penalty != 0;
}

void require_choice(bool some, size_t n_logits) {
  require(some, ErrorKind::model, "no token can be chosen: all {} logits are -inf or of forbidden tokens", n_logits);
}

std::span<const Token> last(std::span<const Token> tokens, size_t count) {
  return tokens.last(std::min(tokens.size(), count));
}

}  // namespace

int64_t enough_logits(const SamplerOptions& options) {
  // A token that others are pushed below, or that is lifted above them, may be none of the best.
  if (penalises_repetition(options) || penalises_generated(options) || !options.logit_bias.empty()) return 0;
  return options.temperature == 0 ? 1 : options.top_k;
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  const SamplerOptions& o = options_;  // comparisons are written so that NaN fails them
  check(o.temperature >= 0 && o.temperature <= 100, "temperature", o.temperature, "0 (greedy) to 100");
  check(o.top_k >= 0, "top-k", o.top_k, "0 (all) or more");
  check(o.top_p > 0 && o.top_p <= 1, "top-p", o.top_p, "more than 0, at most 1 (off)");
  check(o.min_p >= 0 && o.min_p <= 1, "min-p", o.min_p, "0 (off) to 1");
  check(o.repetition_penalty > 0 && o.repetition_penalty <= 100, "repetition penalty", o.repetition_penalty,
        "more than 0, at most 100 (1: off)");
  check(o.repetition_window >= 0, "repetition window", o.repetition_window, "0 (off) or more tokens");
  check(std::abs(o.frequency_penalty) <= 2, "frequency penalty", o.frequency_penalty, "-2 to 2 (0: off)");
  check(std::abs(o.presence_penalty) <= 2, "presence penalty", o.presence_penalty, "-2 to 2 (0: off)");
  for (const TokenBias& b : o.logit_bias)
    check(std::abs(b.bias) <= 100, fmt::format("logit bias of token {}", b.token).c_str(), b.bias, "-100 to 100");
}

void Sampler::forbid(std::vector<Token> tokens) {
  forbidden_ = std::move(tokens);
}

Token Sampler::sample(std::span<const float> logits, const Past& past, std::span<const uint64_t> allowed) {
  row_.read(logits, forbidden_, allowed);
  penalise(past);
  const float best = row_.best();
  require_choice(best > kImpossible, logits.size());
  if (options_.temperature == 0 || std::isinf(best)) return row_.first(best);

  if (options_.top_k > 0) {
    candidates_.clear();
    for (const TokenLogit& logit : row_.best_from(least_logit(best, 0), size_t(options_.top_k)))
      candidates_.push_back({logit, 0});
    return choose(best, weigh(best));
  }
  if (options_.top_p == 1 && options_.min_p == 0)
    return row_.reaching(uniform() * row_.weigh(best, options_.temperature));
  if (options_.top_p == 1) return choose(best, collect(best, options_.min_p));

  const double total = row_.weigh(best, options_.temperature), share = options_.top_p * total;
  // All tokens of less than this weigh less than what top-p leaves out. Mostly far fewer hold the share too.
  const double needless = (1 - double(options_.top_p)) * total / double(logits.size());
  if (collect(best, 8 * needless) < share) collect(best, needless);
  return choose(best, total);
}

Token Sampler::sample_best(std::span<const TokenLogit> best) {
  assert(enough_logits(options_) > 0);
  for (const TokenLogit& logit : best) require_number(logit);
  require_choice(!best.empty() && best[0].logit > kImpossible, best.size());
  if (options_.temperature == 0) return best[0].token;
  const float first = best[0].logit, least = least_logit(first, 0);
  candidates_.clear();
  for (const TokenLogit& logit : best.first(std::min(best.size(), size_t(options_.top_k))))
    if (logit.logit >= least) candidates_.push_back({logit, 0});
  std::ranges::sort(candidates_, {}, &Candidate::token);
  return choose(first, weigh(first));
}

template <class F>
void Sampler::for_each_distinct(std::span<const Token> tokens, F&& f) {
  counts_.resize(row_.size());
  for (const Token token : tokens)
    if (row_.has(token)) ++counts_[size_t(token)];
  for (const Token token : tokens)
    if (row_.has(token) && counts_[size_t(token)] > 0) f(token, std::exchange(counts_[size_t(token)], 0));
}

void Sampler::penalise(const Past& past) {
  const SamplerOptions& o = options_;
  if (penalises_repetition(o)) {
    for_each_distinct(last(past.tokens, size_t(o.repetition_window)), [&](Token token, uint32_t) {
      const float logit = row_[token];
      row_.set(token, logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty);
    });
  }
  if (penalises_generated(o)) {
    for_each_distinct(last(past.tokens, past.n_generated), [&](Token token, uint32_t count) {
      row_.set(token, row_[token] - (float(count) * o.frequency_penalty + o.presence_penalty));
    });
  }
  for (const TokenBias& b : o.logit_bias)
    if (row_.has(b.token)) row_.set(b.token, row_[b.token] + b.bias);
}

// The logit of a token that weighs so much, or a little less; of a negligible one if that is more.
float Sampler::least_logit(float best, double weight) const {
  const double logit = best + options_.temperature * std::max(std::log(weight / 2), double(kNegligible));
  return float(std::max(logit, double(std::numeric_limits<float>::lowest())));
}

// Makes candidates of all tokens of that weight or more, and perhaps some of a little less. Returns what they weigh.
double Sampler::collect(float best, double weight) {
  candidates_.clear();
  row_.each_from(least_logit(best, weight), [&](TokenLogit logit) { candidates_.push_back({logit, 0}); });
  return weigh(best);
}

// Gives candidates their weights (negligible ones have none) and returns the sum.
double Sampler::weigh(float best) {
  for (size_t i = 0; i < candidates_.size(); i += kLanes) {
    const size_t n = std::min(kLanes, candidates_.size() - i);
    Lanes logits = {};
    for (size_t lane = 0; lane < n; ++lane) logits[lane] = candidates_[i + lane].logit;
    const Lanes weights = exponential((logits - best) / options_.temperature);
    for (size_t lane = 0; lane < n; ++lane) candidates_[i + lane].weight = weights[lane];
  }
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  return total;
}

// The total is of what candidates were taken from.
Token Sampler::choose(float best, double total) {
  if (options_.top_p < 1) keep_share(best, options_.top_p * total);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight == 0 || c.weight < options_.min_p; });
  double left = 0;
  for (const Candidate& c : candidates_) left += c.weight;
  left *= uniform();
  for (const Candidate& c : candidates_) {
    left -= c.weight;
    if (left < 0) return c.token;
  }
  return candidates_.back().token;  // rounding
}

// Keeps the fewest that weigh so much. Sums weights by how far candidates are from the best, so that only those near
// the end of the share are sorted.
void Sampler::keep_share(float best, double weight) {
  std::array<double, 1024> weights{};
  float lowest = best;
  for (const Candidate& c : candidates_) lowest = std::min(lowest, c.logit);
  const float scale = float(weights.size() - 1) / std::max(best - lowest, 1e-30f);
  const auto bucket = [&](const Candidate& c) { return size_t((best - c.logit) * scale); };
  for (const Candidate& c : candidates_) weights[bucket(c)] += c.weight;
  double left = weight;
  size_t last = 0;
  while (last < weights.size() && left > weights[last]) left -= weights[last++];

  sorted_.clear();
  for (const Candidate& c : candidates_)
    if (bucket(c) == last) sorted_.push_back(c);
  std::sort(sorted_.begin(), sorted_.end(), BetterLogit());
  size_t kept = 0;
  while (kept + 1 < sorted_.size() && left > sorted_[kept].weight) left -= sorted_[kept++].weight;
  if (sorted_.empty()) return;  // by rounding
  std::erase_if(candidates_, [&](const Candidate& c) { return BetterLogit()(sorted_[kept], c); });
}

// In [0, 1). Not std::uniform_real_distribution: every library makes other numbers of the same seed.
double Sampler::uniform() {
  return double(random_() >> 11) * 0x1p-53;
}

}  // namespace hearth
