#include "runtime/offload/expert_use.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace hearth {
namespace {

// In tokens; the last mean is that of all tokens seen.
constexpr double kHalfLives[] = {4, 16, 64, 256};
constexpr float kRecencyTokens[] = {1, 12, 128};
constexpr double kForget = 4096;        // tokens after which an observation counts half
constexpr float kPayBack = 256;         // tokens: a copy must spare one reading in as many, net, to be worth it
constexpr int64_t kLearnExperts = 320;  // looked at per step: layers take turns
constexpr int64_t kBlock = 512;         // experts
constexpr int64_t kSolveEvery = 16;     // steps
constexpr double kRidge = 1e-3, kShortRidge = 5e-2;
constexpr float kNeverDenormal = 1e-30f;  // denormal numbers would make an idle expert cost a hundred times as much

}  // namespace

std::string_view policy_name(ExpertPolicy policy) {
  switch (policy) {
    case ExpertPolicy::fixed:
      return "static";
    case ExpertPolicy::lru:
      return "LRU";
    case ExpertPolicy::lfu:
      return "LFU";
    case ExpertPolicy::adaptive:
      break;
  }
  return "adaptive";
}

ExpertUse::ExpertUse(ExpertPolicy policy, int64_t n_layers, int64_t n_experts)
    : policy_(policy), n_layers_(n_layers), n_experts_(n_experts), n_(n_layers * n_experts) {
  if (policy == ExpertPolicy::adaptive) margin_ = 1.0f / kPayBack;
  use_.assign(size_t(n_), 0);
  values_.assign(size_t(n_), 0);
  for (auto& feature : features_) feature.assign(size_t(n_), 0);
  last_.assign(size_t(n_), 0);
  // Until something is learned all half-lives count alike.
  for (int i = 0; i < kFeatures; ++i) {
    gram_[size_t(i)][size_t(i)] = 1;
    if (i < kMeans) moment_[size_t(i)] = weights_[size_t(i)] = 1.0 / kMeans;
  }
}

void ExpertUse::load(std::span<const float> counts, double tokens) {
  assert(int64_t(counts.size()) == n_ && step_ == 0);
  tokens_ = std::clamp(tokens, 1.0, kMemoryTokens);
  for (int k = 0; k < kMeans; ++k) {
    for (size_t i = 0; i < counts.size(); ++i) features_[k][i] = float(counts[i] / std::max(tokens, 1.0));
  }
  values_ = features_[kMeans - 1];
  if (policy_ == ExpertPolicy::lru) std::ranges::fill(values_, 0.0f);
}

std::vector<float> ExpertUse::counts() const {
  std::vector<float> counts(features_[kMeans - 1]);
  for (float& count : counts) count *= float(tokens_);
  return counts;
}

void ExpertUse::note(int64_t layer, std::span<const int32_t> ids, int64_t n_tokens, bool decodes) {
  if (fresh_) {
    for (const int32_t i : touched_) use_[size_t(i)] = 0;
    touched_.clear();
    fresh_ = false;
  }
  step_tokens_ = n_tokens;
  step_decodes_ = decodes;
  const float share = 1.0f / float(n_tokens);
  for (const int32_t id : ids) {
    if (id < 0 || id >= n_experts_) continue;
    const int32_t at = int32_t(layer * n_experts_) + id;
    if (use_[size_t(at)] == 0) touched_.push_back(at);
    use_[size_t(at)] += share;
  }
}

void ExpertUse::end_step() {
  if (fresh_) return;
  fresh_ = true;
  step_ += 1;
  const double tokens = double(std::min(step_tokens_, kSliceTokens));
  if (policy_ == ExpertPolicy::adaptive && step_decodes_) learn();
  for (const int32_t i : touched_) last_[size_t(i)] = float(step_);
  fold(tokens);
  tokens_ = std::min(tokens_ + tokens, kMemoryTokens);
  if (policy_ == ExpertPolicy::lru) {  // of those of one slice, the busier ones
    for (const int32_t i : touched_) values_[size_t(i)] = float(step_ + 0.5 * double(use_[size_t(i)]));
  } else if (policy_ == ExpertPolicy::lfu) {
    values_ = features_[kMeans - 1];
  }
}

// Means: x <- a^T x + (1 - a^T) use, where a token leaves a of what was; the longest mean is that of all tokens. In
// blocks that stay in the first cache.
void ExpertUse::fold(double tokens) {
  const bool adaptive = policy_ == ExpertPolicy::adaptive;
  double keep[kMeans];
  for (int k = 0; k < kMeans; ++k) {
    keep[k] = k == kMeans - 1 ? tokens_ / (tokens_ + tokens) : std::exp2(-tokens / kHalfLives[k]);
  }
  const int first = adaptive ? 0 : kMeans - 1;
  for (int64_t at = 0; at < n_; at += kBlock) {
    const int64_t n = std::min(kBlock, n_ - at);
    float* const value = values_.data() + at;
    for (int k = first; k < kMeans; ++k) {
      float* const mean = features_[k].data() + at;
      const float* const use = use_.data() + at;
      const float old_share = float(keep[k]), new_share = float(1 - keep[k]);
      for (int64_t i = 0; i < n; ++i) mean[i] = mean[i] * old_share + (use[i] * new_share + kNeverDenormal);
    }
    if (!adaptive) continue;
    for (int k = 0; k < kRecencies; ++k) {
      float* const recency = features_[kMeans + k].data() + at;
      const float* const last = last_.data() + at;
      const float h = kRecencyTokens[k], now = float(step_) + h;
      for (int64_t i = 0; i < n; ++i) recency[i] = h / (now - last[i]);
    }
    std::fill_n(value, n, 0.0f);
    for (int k = 0; k < kFeatures; ++k) {
      const float* const feature = features_[k].data() + at;
      const float w = float(weights_[size_t(k)]);
      for (int64_t i = 0; i < n; ++i) value[i] += w * feature[i];
    }
  }
}

// How well did the features, as they were before this step, predict what it used? Both are taken relative to their
// average over the experts of a layer: only which expert is above it matters.
void ExpertUse::learn() {
  const double forget = std::exp2(-1.0 / kForget);
  for (int i = 0; i < kFeatures; ++i) {
    moment_[size_t(i)] *= forget;
    for (int j = 0; j < kFeatures; ++j) gram_[size_t(i)][size_t(j)] *= forget;
  }
  const int64_t n_learned = std::clamp<int64_t>(kLearnExperts / n_experts_, 1, n_layers_);
  for (int64_t turn = 0; turn < n_learned; ++turn) {
    const size_t first = size_t(next_layer_ * n_experts_), n = size_t(n_experts_);
    next_layer_ = (next_layer_ + 1) % n_layers_;
    // As outer products, which compilers know to do four at a time; a layer's sums are short enough for float.
    float products[kFeatures][kFeatures] = {}, with_use[kFeatures] = {}, sum[kFeatures] = {}, used = 0;
    for (size_t e = first; e < first + n; ++e) {
      float x[kFeatures];
      for (int k = 0; k < kFeatures; ++k) x[k] = features_[k][e];
      for (int i = 0; i < kFeatures; ++i) {
        for (int j = 0; j < kFeatures; ++j) products[i][j] += x[i] * x[j];
      }
      for (int k = 0; k < kFeatures; ++k) with_use[k] += x[k] * use_[e];
      for (int k = 0; k < kFeatures; ++k) sum[k] += x[k];
      used += use_[e];
    }
    for (int i = 0; i < kFeatures; ++i) {
      moment_[size_t(i)] += double(with_use[i]) - double(sum[i]) * double(used) / double(n);
      for (int j = 0; j < kFeatures; ++j)
        gram_[size_t(i)][size_t(j)] += double(products[i][j]) - double(sum[i]) * double(sum[j]) / double(n);
    }
  }
  if (--until_solve_ > 0) return;
  until_solve_ = kSolveEvery;
  solve();
}

// Least squares by Cholesky's decomposition, G w = m. A ridge keeps nearly equal features from cancelling each other; a
// larger one on all but the longest mean leaves it alone where nothing else helps clearly.
void ExpertUse::solve() {
  std::array<Weights, kFeatures> l{};
  Weights w = moment_;
  for (size_t i = 0; i < kFeatures; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = gram_[j][i];
      if (i == j) sum = sum * (1 + (i == kMeans - 1 ? kRidge : kShortRidge)) + 1e-9;
      for (size_t k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
      l[i][j] = i == j ? std::sqrt(std::max(sum, 1e-12)) : sum / l[j][j];
    }
  }
  for (size_t i = 0; i < kFeatures; ++i) {
    for (size_t k = 0; k < i; ++k) w[i] -= l[i][k] * w[k];
    w[i] /= l[i][i];
  }
  for (size_t i = kFeatures; i-- > 0;) {
    for (size_t k = i + 1; k < kFeatures; ++k) w[i] -= l[k][i] * w[k];
    w[i] /= l[i][i];
  }
  weights_ = w;
}

}  // namespace hearth
