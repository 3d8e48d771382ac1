// What a sampler is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "runtime/engine/sampler.h"

namespace hearth::test {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What a sampler is to do, in the plainest way: all is sorted, with doubles. There must be a choice.
class PlainSampler {
 public:
  PlainSampler(SamplerOptions options, std::vector<Token> forbidden)
      : o_(std::move(options)), forbidden_(std::move(forbidden)), random_(o_.seed) {}

  Token sample(std::vector<float> logits, const Past& past) {
    for (const Token token : forbidden_)
      if (size_t(token) < logits.size()) logits[size_t(token)] = -kInfinity;
    penalise(logits, past);
    std::vector<size_t> order;
    for (size_t i = 0; i < logits.size(); ++i)
      if (logits[i] > -kInfinity) order.push_back(i);
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    if (o_.temperature == 0) return Token(order[0]);

    if (o_.top_k > 0) order.resize(std::min(order.size(), size_t(o_.top_k)));
    const auto weight = [&](size_t i) {
      return std::exp((double(logits[i]) - logits[order[0]]) / double(o_.temperature));
    };
    const auto sum = [&](size_t n) {
      double total = 0;
      for (size_t i = 0; i < n; ++i) total += weight(order[i]);
      return total;
    };
    if (o_.top_p < 1) {
      const double share = o_.top_p * sum(order.size());
      size_t n = 0;
      for (double reached = 0; n < order.size() && reached < share; ++n) reached += weight(order[n]);
      order.resize(n);
    }
    while (weight(order.back()) < o_.min_p) order.pop_back();
    double left = double(random_() >> 11) * 0x1p-53 * sum(order.size());
    const size_t best = order[0];
    std::ranges::sort(order);
    for (const size_t i : order) {
      left -= std::exp((double(logits[i]) - logits[best]) / double(o_.temperature));
      if (left < 0) return Token(i);
    }
    return Token(order.back());
  }

 private:
  void penalise(std::vector<float>& logits, const Past& past) const {
    std::map<Token, int> recent, generated;
    const auto count = [&](std::map<Token, int>& counts, size_t last) {
      for (const Token token : past.tokens.last(std::min(last, past.tokens.size())))
        if (size_t(token) < logits.size()) ++counts[token];
    };
    count(recent, size_t(o_.repetition_window));
    count(generated, past.n_generated);
    for (const auto& [token, n] : recent) {
      float& logit = logits[size_t(token)];
      logit = logit > 0 ? logit / o_.repetition_penalty : logit * o_.repetition_penalty;
    }
    for (const auto& [token, n] : generated)
      logits[size_t(token)] -= float(n) * o_.frequency_penalty + o_.presence_penalty;
    for (const TokenBias& b : o_.logit_bias)
      if (size_t(b.token) < logits.size()) logits[size_t(b.token)] += b.bias;
  }

  SamplerOptions o_;
  std::vector<Token> forbidden_;
  std::mt19937_64 random_;
};

// Rows and options of all kinds.
class Cases {
 public:
  explicit Cases(uint32_t seed) : random_(seed) {}

  template <class T>
  T one_of(std::initializer_list<T> of) {
    return of.begin()[random_() % of.size()];
  }
  bool one_in(uint32_t n) { return random_() % n == 0; }
  Token token(size_t n_vocab) { return Token(random_() % (n_vocab + 6)) - 3; }  // a few are outside

  std::vector<float> row(size_t n_vocab) {
    std::normal_distribution<float> normal(0, one_of({0.1f, 1.0f, 3.0f, 10.0f}));
    std::vector<float> logits(n_vocab);
    for (float& l : logits) l = normal(random_);
    if (one_in(3))
      for (float& l : logits) l = std::round(l * 4) / 4;  // many ties
    if (one_in(2))
      for (int i = 0; i < 20; ++i) logits[random_() % n_vocab] = 10 + 0.01f * float(random_() % 1000);  // few likely
    if (one_in(4))
      for (size_t i = 0; i < n_vocab / 3; ++i) logits[random_() % n_vocab] = -kInfinity;
    logits[random_() % n_vocab] = 1;
    return logits;
  }

  SamplerOptions options() {
    SamplerOptions o;
    o.temperature = one_of({0.0f, 0.1f, 0.3f, 0.7f, 1.0f, 2.0f, 100.0f});
    o.top_k = one_of({0, 0, 1, 2, 40, 1000, 100000});
    o.top_p = one_of({1.0f, 0.95f, 0.5f, 0.999f, 0.01f, 0.999999f});
    o.min_p = one_of({0.0f, 0.0f, 0.05f, 0.4f, 1.0f});
    o.seed = random_();
    return o;
  }
  void add_penalties(SamplerOptions& o, size_t n_vocab) {
    if (one_in(2)) o.repetition_penalty = one_of({1.3f, 0.7f}), o.repetition_window = one_of({0, 5, 64});
    if (one_in(2)) o.frequency_penalty = one_of({0.5f, -0.25f, 2.0f});
    if (one_in(2)) o.presence_penalty = one_of({0.5f, -0.25f, 2.0f});
    while (!one_in(2)) o.logit_bias.push_back({token(n_vocab), one_of({-100.0f, 2.5f, -0.5f, 100.0f})});
  }
  std::vector<Token> tokens(size_t n, size_t n_vocab) {
    std::vector<Token> tokens(n);
    for (Token& t : tokens) t = token(n_vocab);
    return tokens;
  }

 private:
  std::mt19937 random_;
};

// The `count` best, as a device would find them: fewer where there are fewer.
inline std::vector<TokenLogit> best_of(const std::vector<float>& logits, const std::vector<Token>& forbidden,
                                       size_t count) {
  std::vector<TokenLogit> all;
  for (size_t i = 0; i < logits.size(); ++i)
    if (std::ranges::find(forbidden, Token(i)) == forbidden.end()) all.push_back({Token(i), logits[i]});
  std::ranges::sort(all, BetterLogit());
  all.resize(std::min(all.size(), count));
  return all;
}

}  // namespace hearth::test
