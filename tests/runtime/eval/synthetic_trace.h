// Routing as it might be, made up: which experts each of many tokens uses in each layer. Fixed seeds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace hearth::test {

struct SyntheticRouting {
  int64_t n_layers = 6, n_experts = 64, n_activated = 6, n_tokens = 3000;
  uint32_t seed = 1;
};

using Routed = std::vector<std::vector<int32_t>>;  // [T][n_layers * K]

// Every expert is as likely as every other, whatever came before.
enum class Kind { no_skew, zipf, locality, drifting_topics };
inline const char* kind_name(Kind kind) {
  const char* const names[] = {"no skew", "Zipf", "temporal locality", "drifting topics"};
  return names[int(kind)];
}

// K different experts, each with a chance in proportion to its weight.
inline void draw(std::vector<double> weight, int64_t k, std::mt19937& random, std::vector<int32_t>& out) {
  for (int64_t i = 0; i < k; ++i) {
    std::discrete_distribution<int32_t> pick(weight.begin(), weight.end());
    const int32_t e = pick(random);
    weight[size_t(e)] = 0;
    out.push_back(e);
  }
}

inline std::vector<double> zipf_weights(int64_t n, double exponent, std::mt19937& random) {
  std::vector<double> w(static_cast<size_t>(n));
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::pow(double(i + 1), -exponent);
  std::ranges::shuffle(w, random);
  return w;
}

// no_skew: every expert as likely as every other, whatever came before. zipf: a few experts are always the busiest.
// locality: a token takes each of its experts from those recently used (of a list in order of last use, the i-th with
// a chance falling as 1/i), so nothing is hot for ever. drifting_topics: Zipf whose busy experts are others every 200
// tokens, of four topics that come back.
inline Routed synthetic_routing(Kind kind, const SyntheticRouting& s = {}) {
  std::mt19937 random(s.seed);
  const size_t E = size_t(s.n_experts);
  std::vector<std::vector<double>> weights;  // [topic * n_layers]
  std::vector<std::vector<int32_t>> recent(size_t(s.n_layers), std::vector<int32_t>(E));
  for (auto& list : recent) {
    std::iota(list.begin(), list.end(), 0);
    std::ranges::shuffle(list, random);
  }
  for (int64_t i = 0; i < 4 * s.n_layers; ++i)
    weights.push_back(kind == Kind::no_skew ? std::vector<double>(E, 1.0) : zipf_weights(s.n_experts, 1.0, random));
  const std::vector<double> by_recency = [&] {
    std::vector<double> w(E);
    for (size_t i = 0; i < E; ++i) w[i] = 1.0 / double(i + 1);
    return w;
  }();
  Routed tokens;
  size_t topic = 0;
  for (int64_t t = 0; t < s.n_tokens; ++t) {
    if (kind == Kind::drifting_topics && t % 200 == 0) topic = random() % 4;
    std::vector<int32_t> ids;
    for (size_t layer = 0; layer < size_t(s.n_layers); ++layer) {
      std::vector<int32_t> chosen;
      if (kind == Kind::locality) {
        auto& list = recent[layer];
        draw(by_recency, s.n_activated, random, chosen);
        for (int32_t& rank : chosen) rank = list[size_t(rank)];
        for (const int32_t e : chosen) {
          std::erase(list, e);
          list.insert(list.begin(), e);
        }
      } else {
        draw(weights[topic * size_t(s.n_layers) + layer], s.n_activated, random, chosen);
      }
      ids.insert(ids.end(), chosen.begin(), chosen.end());
    }
    tokens.push_back(std::move(ids));
  }
  return tokens;
}

}  // namespace hearth::test
