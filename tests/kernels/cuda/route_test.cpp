// The router on the device against the scalar table: the three published rules, ties, NaN, every format of the router's
// matrix, few tokens and many.
#include "kernels/cuda/route.h"

#include <tuple>

#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/cuda/rows.h"
#include "tests/kernels/routing.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// What a call on the device needs besides x.
struct Router {
  DeviceWeight gate_inp;
  DeviceArray<float> bias;
  DeviceArray<std::byte> scratch;

  Router(const Routing& rule, const TestWeight& gate, const std::vector<float>& bias_values, int64_t max_tokens)
      : gate_inp(gate), bias(bias_values) {
    scratch = DeviceArray<std::byte>(gpu::route_scratch(route_limits(rule, max_tokens, gate.view.k)));
  }

  Choice operator()(const Routing& rule, Mat<const float> x) {
    const size_t n = size_t(x.rows) * size_t(rule.n_activated);
    const DeviceArray<int32_t> ids(n);
    const DeviceArray<float> weights(n);
    gpu::route(on_gpu(scratch), rule, gate_inp.view, bias.size() ? bias.data() : nullptr, x, ids, weights);
    (void)scratch.download();  // was anything written behind it?
    return {ids.download(), weights.download()};
  }
};

Choice on_scalar(const Routing& rule, const TestWeight& gate, const std::vector<float>& bias, const Rows& x) {
  Bed bed(scalar_table(), route_limits(rule, x.view().rows, x.view().cols), 1);
  const size_t n = size_t(x.view().rows) * size_t(rule.n_activated);
  Choice choice{std::vector<int32_t>(n), std::vector<float>(n)};
  scalar_table().route(bed.exec(), rule, gate.view, bias.empty() ? nullptr : bias.data(), x.view(), choice.ids.data(),
                       choice.weights.data());
  return choice;
}

void check_same(const Choice& found, const Choice& expected, double tolerance = 2e-5) {
  REQUIRE(found.ids.size() == expected.ids.size());
  CHECK(found.ids == expected.ids);
  Worst worst;
  for (size_t i = 0; i < expected.weights.size(); ++i) {
    worst.see(found.weights[i], expected.weights[i], std::abs(expected.weights[i]));
  }
  CHECK(worst.error <= tolerance);
}

Rows rows_of(int64_t cols, const std::vector<float>& values) {
  Rows rows(int64_t(values.size()) / cols, cols);
  for (size_t i = 0; i < values.size(); ++i) rows.view().row(int64_t(i) / cols)[int64_t(i) % cols] = values[i];
  return rows;
}

// The same logits for one token, and for more than one launch takes.
std::vector<Choice> route_logits(const Routing& rule, const std::vector<float>& logits,
                                 const std::vector<float>& bias = {}) {
  const int64_t E = rule.n_experts, n_many = gpu::kFusedTokens + 1;
  const TestWeight gate = identity(E);
  Router router(rule, gate, bias, n_many);
  std::vector<float> repeated;
  for (int64_t t = 0; t < n_many; ++t) repeated.insert(repeated.end(), logits.begin(), logits.end());
  const DeviceRows one(rows_of(E, logits)), many(rows_of(E, repeated));
  std::vector<Choice> choices = {router(rule, one.read_only())};
  Choice all = router(rule, many.read_only());
  const auto K = std::ptrdiff_t(rule.n_activated);
  for (std::ptrdiff_t t = 1; t < n_many; ++t) {
    CHECK(std::equal(all.ids.begin(), all.ids.begin() + K, all.ids.begin() + t * K));
  }
  all.ids.resize(size_t(K));
  all.weights.resize(size_t(K));
  choices.push_back(std::move(all));
  return choices;
}

}  // namespace

TEST_CASE("cuda route: the three published rules, few tokens and many, rows of any alignment") {
  for (const Routing& rule : {lite(), v2(), v3()}) {
    const int64_t E = rule.n_experts;
    CAPTURE(E);
    Rng rng(1);
    std::vector<float> bias;
    if (rule.score == Routing::Score::sigmoid) {
      for (int64_t e = 0; e < E; ++e) bias.push_back(0.3f * normal(rng));
    }
    for (const auto& [T, d, gap] : {std::tuple{1, 100, 0}, {2, 37, 3}, {gpu::kFusedTokens + 9, 40, 0}}) {
      CAPTURE(T);
      CAPTURE(d);
      const TestWeight gate = TestWeight::gaussian(rng, format_of(FormatId::f32), 1, E, d, 0.3f);
      const Rows x = Rows::random(rng, T, d);
      Router router(rule, gate, bias, T);
      const DeviceRows device_x(x, gap, 4);
      check_same(router(rule, device_x.read_only()), on_scalar(rule, gate, bias, x));
    }
  }
}

TEST_CASE("cuda route: under every schedule, and the counters are ready for the next call") {
  const Routing rule = v2();
  Rng rng(2);
  const TestWeight gate = TestWeight::gaussian(rng, format_of(FormatId::f32), 1, rule.n_experts, 36, 0.3f);
  for (const int64_t T : {int64_t(1), int64_t(3), int64_t(gpu::kFusedTokens + 1)}) {
    CAPTURE(T);
    const Rows x = Rows::random(rng, T, 36);
    const Choice expected = on_scalar(rule, gate, {}, x);
    Router router(rule, gate, {}, T);
    const DeviceRows device_x(x, 0, 4);
    std::vector<Choice> found;
    under_every_schedule([&] {
      found.push_back(router(rule, device_x.read_only()));
      check_same(found.back(), expected);
    });
    for (const Choice& choice : found) CHECK(choice.weights == found[0].weights);  // to the bit
  }
}

TEST_CASE("cuda route: as many experts and activated ones as can be, one expert, all experts") {
  Rng rng(3);
  for (const auto& [E, K] : {std::pair{gpu::kMaxExperts, 16}, {1, 1}, {7, 7}, {33, gpu::kMaxActivated}}) {
    CAPTURE(E);
    CAPTURE(K);
    const Routing rule = plain(E, K);
    const TestWeight gate = TestWeight::gaussian(rng, format_of(FormatId::f32), 1, E, 12, 0.5f);
    const Rows x = Rows::random(rng, 2, 12);
    Router router(rule, gate, {}, 2);
    const DeviceRows device_x(x);
    check_same(router(rule, device_x.read_only()), on_scalar(rule, gate, {}, x));
  }
}

TEST_CASE("cuda route: the router's matrix in every format") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(4);
    const int64_t d = std::max<int64_t>(format.block_elems, 32);
    const Routing rule = plain(21, 4);
    const TestWeight gate = TestWeight::gaussian(rng, format, 1, 21, d, 0.2f);
    const Rows x = Rows::random(rng, 3, d);
    Router router(rule, gate, {}, 3);
    const DeviceRows device_x(x);
    check_same(router(rule, device_x.read_only()), on_scalar(rule, gate, {}, x));
  }
}

TEST_CASE("cuda route: ties, groups, bias and normalisation") {
  for (const RouteCase& c : route_cases()) {
    CAPTURE(c.what);
    for (const Choice& choice : route_logits(c.rule, c.logits, c.bias)) check_choice(choice, c);
  }
}

TEST_CASE("cuda route: NaN and infinite logits still give distinct experts that exist") {
  for (const Routing& rule : {lite(), v2(), v3(), plain(4, 4)}) {
    CAPTURE(rule.n_experts);
    for (const auto& logits : strange_logits(rule.n_experts)) {
      for (const Choice& choice : route_logits(rule, logits)) check_distinct(choice, rule);
    }
  }
}

TEST_CASE("cuda route: no tokens") {
  const Routing rule = plain(4, 2);
  const TestWeight gate = identity(4);
  Router router(rule, gate, {}, 1);
  const DeviceRows x(1, 4);
  CHECK(router(rule, x.read_only().slice(0, 0)).ids.empty());
}
