// Routing rules, and what they must choose: the same for every table of the CPU and for the GPU.
#pragma once

#include <set>

#include "tests/kernels/fixture.h"

namespace hearth::test {

struct Choice {
  std::vector<int32_t> ids;    // [T, K]
  std::vector<float> weights;  // [T, K]
};

inline Routing plain(int n_experts, int n_activated) {
  Routing rule;
  rule.n_experts = n_experts;
  rule.n_activated = n_activated;
  return rule;
}
inline Routing grouped(int n_experts, int n_activated, int n_groups, int n_limited_groups) {
  Routing rule = plain(n_experts, n_activated);
  rule.n_groups = n_groups;
  rule.n_limited_groups = n_limited_groups;
  return rule;
}
inline Routing with_sigmoid(Routing rule, Routing::GroupScore group_score = Routing::GroupScore::maximum) {
  rule.score = Routing::Score::sigmoid;
  rule.group_score = group_score;
  return rule;
}
inline Routing normalized(Routing rule, float scale = 1) {
  rule.normalize = true;
  rule.scale = scale;
  return rule;
}

// The three published ones.
inline Routing lite() {
  return plain(64, 6);
}
inline Routing v2() {
  Routing rule = grouped(160, 6, 8, 3);
  rule.scale = 16.0f;
  return rule;
}
inline Routing v3() {
  return normalized(with_sigmoid(grouped(256, 8, 8, 4), Routing::GroupScore::top2_sum), 2.5f);
}

inline ScratchLimits route_limits(const Routing& rule, int64_t max_tokens, int64_t dim) {
  ScratchLimits limits;
  limits.max_tokens = max_tokens;
  limits.dim = limits.max_width = dim;
  limits.n_experts = rule.n_experts;
  limits.n_activated = rule.n_activated;
  return limits;
}

// A router's matrix whose products are exactly the first E values of x.
inline TestWeight identity(int64_t E) {
  std::vector<float> values(size_t(E * E));
  for (int64_t e = 0; e < E; ++e) values[size_t(e * E + e)] = 1;
  const auto bytes = std::as_bytes(std::span(values));
  return TestWeight::of_bytes(format_of(FormatId::f32), E, E, {bytes.begin(), bytes.end()});
}

// One token's logits under that matrix, and what must come of them.
struct RouteCase {
  const char* what;
  Routing rule;
  std::vector<float> logits, bias;  // bias empty: none
  std::vector<int32_t> ids;
  std::vector<double> weights = {};  // empty: any
};

inline std::vector<RouteCase> route_cases() {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double both = sigmoid(-1) + sigmoid(2);
  const Routing one_group_of_2 = grouped(6, 2, 2, 1), one_group_of_3 = grouped(6, 2, 3, 1);
  constexpr auto kTop2 = Routing::GroupScore::top2_sum;
  // Group 0 holds the single best expert, group 1 the two next ones.
  const std::vector<float> best_or_next = {3.0f, -2.0f, -2.0f, 2.0f, 1.9f, -2.0f};
  return {
      {"of equal scores the lower index wins", plain(5, 3), {1, 2, 1, 2, 1}, {}, {1, 3, 0}},
      {"and of equal groups", one_group_of_3, {0, 0, 1, 1, 1, 1}, {}, {2, 3}},
      {"by either score", with_sigmoid(one_group_of_3, kTop2), {0, 0, 1, 1, 1, 1}, {}, {2, 3}},
      {"groups by their largest score", with_sigmoid(one_group_of_2), best_or_next, {}, {0, 1}},
      {"groups by the sum of two", with_sigmoid(one_group_of_2, kTop2), best_or_next, {}, {3, 4}},
      {"groups left out are -inf: scores below zero, as all are here, still win",
       with_sigmoid(grouped(6, 3, 2, 1), kTop2),
       {0, 0.1f, -1, -1, -1, -1},
       {-3, -3, -3, -4, -4, -4},
       {1, 0, 2}},
      {"the bias chooses and does not weigh",
       with_sigmoid(plain(4, 2)),
       {2, 1, 0, -1},
       {0, 0, 0, 5},
       {3, 0},
       {sigmoid(-1), sigmoid(2)}},
      {"weights are normalised, then scaled",
       normalized(with_sigmoid(plain(4, 2)), 2.5f),
       {2, 1, 0, -1},
       {0, 0, 0, 5},
       {3, 0},
       {2.5 * sigmoid(-1) / both, 2.5 * sigmoid(2) / both}},
      {"a sum that underflows divides by no zero",
       normalized(with_sigmoid(plain(3, 2))),
       {-800, -800, -800},
       {},
       {0, 1},
       {0, 0}},
  };
}

inline void check_choice(const Choice& found, const RouteCase& expected) {
  CHECK(found.ids == expected.ids);
  for (size_t k = 0; k < expected.weights.size(); ++k) {
    CHECK(found.weights[k] == doctest::Approx(expected.weights[k]).epsilon(1e-6));
  }
}

// Each token's experts are different ones that exist.
inline void check_distinct(const Choice& found, const Routing& rule) {
  const auto K = std::ptrdiff_t(rule.n_activated);
  for (auto first = found.ids.begin(); first != found.ids.end(); first += K) {
    const std::set<int32_t> ids(first, first + K);
    CHECK(ids.size() == size_t(K));
    CHECK(*ids.begin() >= 0);
    CHECK(*ids.rbegin() < rule.n_experts);
  }
}

// Logits that no router should give: all of one value that is no number, or every third.
inline std::vector<std::vector<float>> strange_logits(int n_experts) {
  std::vector<std::vector<float>> all;
  for (const float strange : {NAN, INFINITY, -INFINITY}) {
    for (const size_t step : {1, 3}) {
      all.emplace_back(size_t(n_experts), 0.5f);
      for (size_t e = 0; e < all.back().size(); e += step) all.back()[e] = strange;
    }
  }
  return all;
}

}  // namespace hearth::test
