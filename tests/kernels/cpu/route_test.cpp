// The routing rules, through each table's `route`. The router's matrix is the identity in most cases, so that the
// logits are exactly what the test says.
#include <set>

#include "tests/kernels/fixture.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Choice {
  std::vector<int32_t> ids;    // [T, K]
  std::vector<float> weights;  // [T, K]
};

Choice route(const Ops& ops, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
             int n_threads = 2) {
  ScratchLimits limits;
  limits.max_tokens = x.rows;
  limits.dim = limits.max_width = x.cols;
  limits.n_experts = rule.n_experts;
  limits.n_activated = rule.n_activated;
  Bed bed(ops, limits, n_threads);
  Choice choice{std::vector<int32_t>(size_t(x.rows) * rule.n_activated, -1),
                std::vector<float>(size_t(x.rows) * rule.n_activated, NAN)};
  ops.route(bed.exec(), rule, gate_inp, bias, x, choice.ids.data(), choice.weights.data());
  CHECK(bed.scratch_kept());
  return choice;
}

Choice route_logits(const Ops& ops, const Routing& rule, const std::vector<float>& logits,
                    const float* bias = nullptr) {
  const int64_t E = rule.n_experts;
  std::vector<float> identity(E * E, 0.0f);
  for (int64_t e = 0; e < E; ++e) identity[e * E + e] = 1.0f;
  const Weight gate_inp{
      &format_of(FormatId::f32), reinterpret_cast<const std::byte*>(identity.data()), 1, E, E, size_t(E) * 4,
      size_t(E * E) * 4};
  return route(ops, rule, gate_inp, bias, {logits.data(), int64_t(logits.size()) / E, E});
}

Routing plain(int n_experts, int n_activated) {
  Routing rule;
  rule.n_experts = n_experts;
  rule.n_activated = n_activated;
  return rule;
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

Routing lite() {
  return plain(64, 6);
}
Routing v2() {
  Routing rule = plain(160, 6);
  rule.n_groups = 8;
  rule.n_limited_groups = 3;
  rule.scale = 16.0f;
  return rule;
}
Routing v3() {
  Routing rule = plain(256, 8);
  rule.score = Routing::Score::sigmoid;
  rule.group_score = Routing::GroupScore::top2_sum;
  rule.n_groups = 8;
  rule.n_limited_groups = 4;
  rule.normalize = true;
  rule.scale = 2.5f;
  return rule;
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

TEST_CASE("route: groups by maximum and by top-2 sum choose differently") {
  // Group 0 holds the single best expert, group 1 the two next ones.
  const std::vector<float> logits = {3.0f, -2.0f, -2.0f, 2.0f, 1.9f, -2.0f};
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Routing rule = plain(6, 2);
    rule.score = Routing::Score::sigmoid;
    rule.n_groups = 2;
    rule.n_limited_groups = 1;
    rule.group_score = Routing::GroupScore::maximum;
    CHECK(route_logits(*ops, rule, logits).ids == std::vector<int32_t>{0, 1});
    rule.group_score = Routing::GroupScore::top2_sum;
    CHECK(route_logits(*ops, rule, logits).ids == std::vector<int32_t>{3, 4});
  }
}

TEST_CASE("route: groups left out are -inf, so that negative biased scores still win") {
  const std::vector<float> logits = {0.0f, 0.1f, -1.0f, -1.0f, -1.0f, -1.0f};
  const std::vector<float> bias = {-3.0f, -3.0f, -3.0f, -4.0f, -4.0f, -4.0f};  // every score is below zero
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Routing rule = plain(6, 3);
    rule.score = Routing::Score::sigmoid;
    rule.group_score = Routing::GroupScore::top2_sum;
    rule.n_groups = 2;
    rule.n_limited_groups = 1;
    CHECK(route_logits(*ops, rule, logits, bias.data()).ids == std::vector<int32_t>{1, 0, 2});
  }
}

TEST_CASE("route: of equal scores the lower index wins, for experts and for groups") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    CHECK(route_logits(*ops, plain(5, 3), {1, 2, 1, 2, 1}).ids == std::vector<int32_t>{1, 3, 0});
    Routing rule = plain(6, 2);
    rule.n_groups = 3;
    rule.n_limited_groups = 1;
    for (const auto score : {Routing::GroupScore::maximum, Routing::GroupScore::top2_sum}) {
      rule.group_score = score;
      CHECK(route_logits(*ops, rule, {0, 0, 1, 1, 1, 1}).ids == std::vector<int32_t>{2, 3});
    }
  }
}

TEST_CASE("route: the bias chooses and does not weigh; weights are normalised, then scaled") {
  const std::vector<float> logits = {2.0f, 1.0f, 0.0f, -1.0f};
  const std::vector<float> bias = {0.0f, 0.0f, 0.0f, 5.0f};
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Routing rule = plain(4, 2);
    rule.score = Routing::Score::sigmoid;
    Choice choice = route_logits(*ops, rule, logits, bias.data());
    CHECK(choice.ids == std::vector<int32_t>{3, 0});
    CHECK(choice.weights[0] == doctest::Approx(sigmoid(-1)).epsilon(1e-6));
    CHECK(choice.weights[1] == doctest::Approx(sigmoid(2)).epsilon(1e-6));

    rule.normalize = true;
    rule.scale = 2.5f;
    choice = route_logits(*ops, rule, logits, bias.data());
    CHECK(choice.weights[0] + choice.weights[1] == doctest::Approx(2.5).epsilon(1e-6));
    CHECK(choice.weights[0] == doctest::Approx(2.5 * sigmoid(-1) / (sigmoid(-1) + sigmoid(2))).epsilon(1e-6));
  }
}

TEST_CASE("route: scores so small that their sum underflows do not divide by zero") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Routing rule = plain(3, 2);
    rule.score = Routing::Score::sigmoid;
    rule.normalize = true;
    const Choice choice = route_logits(*ops, rule, {-800, -800, -800});
    CHECK(choice.weights == std::vector<float>{0, 0});
  }
}

TEST_CASE("route: NaN logits still give distinct experts that exist") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    for (const Routing& rule : {lite(), v2(), v3()}) {
      const Choice choice = route_logits(*ops, rule, std::vector<float>(rule.n_experts, NAN));
      const std::set<int32_t> ids(choice.ids.begin(), choice.ids.end());
      CHECK(ids.size() == size_t(rule.n_activated));
      CHECK(*ids.begin() >= 0);
      CHECK(*ids.rbegin() < rule.n_experts);
    }
  }
}
