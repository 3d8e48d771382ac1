// The routing rules, through each table's `route`. The router's matrix is the identity in most cases, so that the
// logits are exactly what the test says.
#include "tests/kernels/routing.h"

using namespace hearth;
using namespace hearth::test;

namespace {

Choice route(const Ops& ops, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
             int n_threads = 2) {
  Bed bed(ops, route_limits(rule, x.rows, x.cols), n_threads);
  Choice choice{std::vector<int32_t>(size_t(x.rows) * rule.n_activated, -1),
                std::vector<float>(size_t(x.rows) * rule.n_activated, NAN)};
  ops.route(bed.exec(), rule, gate_inp, bias, x, choice.ids.data(), choice.weights.data());
  CHECK(bed.scratch_kept());
  return choice;
}

Choice route_logits(const Ops& ops, const Routing& rule, const std::vector<float>& logits,
                    const float* bias = nullptr) {
  const int64_t E = rule.n_experts;
  return route(ops, rule, identity(E).view, bias, {logits.data(), int64_t(logits.size()) / E, E});
}

// The seven steps of docs/model.md, with sorts, in double.
Choice reference(const Routing& rule, const float* logits, const float* bias) {
  const int E = rule.n_experts;
  std::vector<double> p(E), s(E);
  double total = 0;
  for (int e = 0; e < E; ++e) total += std::exp(double(logits[e]));
  for (int e = 0; e < E; ++e) {
    p[e] = rule.score == Routing::Score::softmax ? std::exp(double(logits[e])) / total : 1 / (1 + std::exp(-logits[e]));
    s[e] = p[e] + (bias ? bias[e] : 0);
  }
  if (rule.n_groups > 1) {
    const int size = E / rule.n_groups;
    std::vector<std::pair<double, int>> groups;
    for (int g = 0; g < rule.n_groups; ++g) {
      std::vector<double> members(s.begin() + g * size, s.begin() + (g + 1) * size);
      std::sort(members.rbegin(), members.rend());
      groups.push_back({rule.group_score == Routing::GroupScore::maximum ? -members[0] : -members[0] - members[1], g});
    }
    std::sort(groups.begin(), groups.end());
    for (int i = rule.n_limited_groups; i < rule.n_groups; ++i) {
      std::fill_n(s.begin() + groups[i].second * size, size, -INFINITY);
    }
  }
  std::vector<std::pair<double, int>> order;
  for (int e = 0; e < E; ++e) order.push_back({-s[e], e});
  std::sort(order.begin(), order.end());
  Choice choice;
  double sum = 1e-20;
  for (int k = 0; k < rule.n_activated; ++k) {
    choice.ids.push_back(order[k].second);
    sum += p[order[k].second];
  }
  for (const int32_t id : choice.ids) choice.weights.push_back(float(p[id] / (rule.normalize ? sum : 1) * rule.scale));
  return choice;
}

}  // namespace

TEST_CASE("route: the three published rules on random logits") {
  for (const Ops* ops : available_tables()) {
    for (const Routing& rule : {lite(), v2(), v3()}) {
      CAPTURE(name_of(ops));
      CAPTURE(rule.n_experts);
      Rng rng(1);
      const int T = 9, E = rule.n_experts, K = rule.n_activated;
      std::vector<float> logits(T * E), bias(E);
      for (float& x : logits) x = 2 * normal(rng);
      for (float& x : bias) x = 0.3f * normal(rng);
      const float* b = rule.score == Routing::Score::sigmoid ? bias.data() : nullptr;
      const Choice found = route_logits(*ops, rule, logits, b);
      for (int t = 0; t < T; ++t) {
        const Choice expected = reference(rule, logits.data() + t * E, b);
        for (int k = 0; k < K; ++k) {
          CHECK(found.ids[t * K + k] == expected.ids[k]);
          CHECK(found.weights[t * K + k] == doctest::Approx(expected.weights[k]).epsilon(1e-6));
        }
      }
    }
  }
}

TEST_CASE("route: the router's product is float32, for any shape, and the same for any number of threads") {
  for (const Ops* ops : available_tables()) {
    for (const int64_t d : {8, 37, 512}) {
      CAPTURE(name_of(ops));
      CAPTURE(d);
      Rng rng(2);
      const Routing rule = plain(21, 4);
      const TestWeight gate_inp = TestWeight::gaussian(rng, format_of(FormatId::f32), 1, 21, d, 0.2f);
      const Rows x = Rows::random(rng, 13, d);
      const Choice found = route(*ops, rule, gate_inp.view, nullptr, x.view(), 1);
      for (int t = 0; t < 13; ++t) {
        float logits[21];
        for (int e = 0; e < 21; ++e) logits[e] = float(dot(gate_inp.row(0, e), x[t], d).value);
        const Choice expected = reference(rule, logits, nullptr);
        for (int k = 0; k < 4; ++k) {
          CHECK(found.ids[t * 4 + k] == expected.ids[k]);
          CHECK(found.weights[t * 4 + k] == doctest::Approx(expected.weights[k]).epsilon(1e-5));
        }
      }
      for (const int threads : {2, 3}) {
        const Choice other = route(*ops, rule, gate_inp.view, nullptr, x.view(), threads);
        CHECK(other.ids == found.ids);
        CHECK(other.weights == found.weights);
      }
    }
  }
}

TEST_CASE("route: ties, groups, bias and normalisation") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    for (const RouteCase& c : route_cases()) {
      CAPTURE(c.what);
      check_choice(route_logits(*ops, c.rule, c.logits, c.bias.empty() ? nullptr : c.bias.data()), c);
    }
  }
}

TEST_CASE("route: NaN and infinite logits still give distinct experts that exist") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    for (const Routing& rule : {lite(), v2(), v3(), plain(4, 4)}) {
      CAPTURE(rule.n_experts);
      for (const auto& logits : strange_logits(rule.n_experts)) check_distinct(route_logits(*ops, rule, logits), rule);
    }
  }
}
