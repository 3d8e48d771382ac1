// Steps of several sequences: what each gets does not depend on who else is in the step.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <ranges>

#include "runtime/engine/model.h"
#include "runtime/offload/hybrid.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Sequences of different lengths, fed to a model in steps that are drawn by lot: some get a token, some several, some
// nothing. All logits that are asked for, by sequence and position.
struct Feeding {
  std::vector<std::vector<Token>> sequences;
  size_t V;

  Feeding(size_t n, const TinyShape& shape) : V(size_t(shape.vocab)) {
    const std::vector<Token> all = some_tokens(int64_t(40 * n), shape.vocab);
    for (size_t i = 0; i < n; ++i) {
      const auto first = all.begin() + ptrdiff_t(40 * i);
      sequences.emplace_back(first, first + ptrdiff_t(5 + 9 * (i % 4)));
    }
  }

  using Logits = std::vector<std::vector<std::vector<float>>>;  // [sequence][position]; empty: not asked for

  Logits alone(Model& model) const {
    Logits logits;
    for (const auto& tokens : sequences) {
      const std::vector<float> all = all_logits(model, tokens);
      auto& own = logits.emplace_back();
      for (size_t t = 0; t < tokens.size(); ++t)
        own.emplace_back(all.begin() + ptrdiff_t(t * V), all.begin() + ptrdiff_t((t + 1) * V));
    }
    return logits;
  }

  // singles: every step is one token of each sequence that is not at its end.
  Logits together(Model& model, uint32_t seed, bool singles) const {
    std::mt19937 random(seed);
    std::vector<KvCache> caches;
    for (size_t i = 0; i < sequences.size(); ++i) caches.push_back(model.new_cache());
    Logits logits(sequences.size());
    for (size_t i = 0; i < sequences.size(); ++i) logits[i].resize(sequences[i].size());
    for (;;) {
      std::vector<size_t> order;
      for (size_t i = 0; i < sequences.size(); ++i) {
        const bool over = caches[i].length() == int64_t(sequences[i].size());
        if (!over && (singles || random() % 3 > 0)) order.push_back(i);
      }
      if (order.empty()) {
        if (std::ranges::all_of(std::views::iota(size_t(0), sequences.size()),
                                [&](size_t i) { return caches[i].length() == int64_t(sequences[i].size()); }))
          return logits;
        continue;
      }
      std::shuffle(order.begin(), order.end(), random);
      std::vector<NextTokens> step;
      for (const size_t i : order) {
        const size_t at = size_t(caches[i].length()), left = sequences[i].size() - at;
        const size_t n = singles || random() % 2 == 0 ? 1 : 1 + random() % left;
        auto& wanted = logits[i][at + n - 1];
        if (singles || random() % 4 > 0) wanted.resize(V);
        step.push_back({std::span(sequences[i]).subspan(at, n), &caches[i], wanted});
      }
      REQUIRE(model.step(step));
    }
  }
};

double worst_error(const Feeding::Logits& found, const Feeding::Logits& expected) {
  double worst = 0;
  int n = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    for (size_t t = 0; t < found[i].size(); ++t) {
      if (found[i][t].empty()) continue;
      ++n;
      worst = std::max(worst, relative_error(found[i][t], expected[i][t]));
    }
  }
  CHECK(n > int(found.size()));
  return worst;
}

}  // namespace

TEST_CASE("a batch of B equals B single runs, in every order and split: bitwise with the scalar table") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    const TinyModel tiny(shape);
    const Feeding feeding(6, shape);
    for (const Ops* ops : available_tables()) {
      CAPTURE(std::string(ops->name));
      Model model(tiny.file(), {.ops = ops, .n_ctx = 64, .n_sequences = 6, .cache_format = FormatId::f32});
      const auto expected = feeding.alone(model);
      for (uint32_t seed = 0; seed < (kSanitized ? 2 : 6); ++seed) {
        const double error = worst_error(feeding.together(model, seed, seed % 2 == 0), expected);
        // (Naive and absorbed attention are chosen by the tokens of a sequence, and round differently.)
        CHECK(error <= 1e-5);
      }
      Model absorbed(tiny.file(), {.ops = ops,
                                   .n_ctx = 64,
                                   .n_sequences = 6,
                                   .cache_format = FormatId::f32,
                                   .attention = AttentionForm::absorbed});
      const auto same = feeding.alone(absorbed);
      for (uint32_t seed = 0; seed < 3; ++seed) {
        const double error = worst_error(feeding.together(absorbed, seed, seed == 0), same);
        CHECK(error <= (ops == &cpu_ops("scalar") ? 0 : 1e-5));
      }
    }
  }
}

TEST_CASE("a batch on the GPU, with all, some and none of the experts there; steps that come again are repeated") {
  const TinyShape shape = TinyShape::v3();
  const TinyModel tiny(shape);
  const Feeding feeding(4, shape);
  Model reference(tiny.file(), {.ops = &cpu_ops("scalar"), .n_ctx = 64, .cache_format = FormatId::f32});
  const auto expected = feeding.alone(reference);
  const int64_t all = (shape.n_layers - shape.n_dense) * shape.n_experts;
  for (const int64_t resident : {int64_t(0), all / 4, all / 2, all}) {
    if (kSanitized && resident != all / 2) continue;
    CAPTURE(resident);
    Model model(tiny.file(), {.ops = &gpu(),
                              .device = gpu_device(),
                              .n_ctx = 64,
                              .n_sequences = 4,
                              .cache_format = FormatId::f32,
                              .attention = AttentionForm::absorbed,
                              .host_ops = &cpu_ops("auto"),
                              .resident_experts = resident});
    const StepCounts before = gpu_device()->step_counts();
    CHECK(worst_error(feeding.together(model, 1, true), expected) < 1e-4);
    const StepCounts after = gpu_device()->step_counts();
    CHECK(after.repeated - before.repeated > 2 * (after.recorded - before.recorded));
    CHECK(after.recorded - before.recorded <= 4);  // one for each number of sequences
    if (!kSanitized) CHECK(worst_error(feeding.together(model, 2, false), expected) < 1e-4);
  }
}

TEST_CASE("what several sequences of a step choose is learned from as decoding") {
  const TinyShape shape = TinyShape::v3();
  std::vector<StepKind> told;
  ModelOptions options = {.ops = &cpu_ops("auto"), .n_ctx = 64, .n_sequences = 3};
  options.routed = [&](int64_t, const StepKind& step, std::span<const int32_t> ids) {
    CHECK(int64_t(ids.size()) == step.n_tokens * shape.n_activated);
    told.push_back(step);
  };
  Model model(TinyModel(shape).file(), options);
  std::vector<KvCache> caches;
  for (int i = 0; i < 3; ++i) caches.push_back(model.new_cache());
  const std::vector<Token> tokens = {3, 4, 5};
  std::vector<NextTokens> step;
  for (size_t i = 0; i < 3; ++i) step.push_back({std::span(tokens).subspan(i, 1), &caches[i]});
  model.step(step);
  REQUIRE(!told.empty());
  CHECK(told.back().n_tokens == 3);
  CHECK(told.back().decodes);
  step[1].tokens = tokens;
  model.step(step);
  CHECK(told.back().n_tokens == 5);
  CHECK_FALSE(told.back().decodes);
}

TEST_CASE("a step that is refused or given up leaves every cache as it was") {
  const TinyShape shape = TinyShape::v2();
  Model model(TinyModel(shape).file(), {.ops = &cpu_ops("auto"), .n_ctx = 32, .n_sequences = 2, .ubatch = 20});
  KvCache a = model.new_cache(), b = model.new_cache(), c = model.new_cache();
  const std::vector<Token> tokens = some_tokens(40, shape.vocab);
  const auto first = [&](size_t n) { return std::span(tokens).first(n); };
  REQUIRE(model.run(first(5), a, {}));
  const auto step = [&](std::vector<NextTokens> segments) { return model.step(segments); };
  CHECK(mentions(refusal(ErrorKind::usage, [&] { step({}); }), {"0 sequences", "1 to 2"}));
  CHECK(mentions(refusal(ErrorKind::usage,
                         [&] {
                           step({{first(1), &a}, {first(1), &b}, {first(1), &c}});
                         }),
                 {"3 sequences", "1 to 2"}));
  CHECK(mentions(refusal(ErrorKind::usage, [&] { step({{first(11), &a}, {first(10), &b}}); }), {"21 tokens", "20"}));
  CHECK(mentions(refusal(ErrorKind::usage, [&] { step({{first(1), &a}, {first(0), &b}}); }), {"no tokens"}));
  const std::vector<Token> odd = {Token(shape.vocab)};
  CHECK(mentions(refusal(ErrorKind::usage, [&] { step({{first(1), &a}, {odd, &b}}); }), {"token"}));
  CHECK(a.length() == 5);
  CHECK(b.length() == 0);
  const std::vector<NextTokens> both = {{first(4), &a}, {first(4), &b}};
  CHECK_FALSE(model.step(both, [](const RunProgress&) { return false; }));
  CHECK(a.length() == 5);
  CHECK(b.length() == 0);
  CHECK(model.step(both));
  CHECK(a.length() == 9);
  CHECK(b.length() == 4);
}

TEST_CASE("the pool: pages are shared until somebody writes, and are free again when nobody has them") {
  const TinyShape shape = TinyShape::lite();
  Model model(TinyModel(shape).file(),
              {.ops = &cpu_ops("scalar"), .n_ctx = 256, .n_sequences = 2, .cache_format = FormatId::f32});
  LatentPool& pool = model.pool();
  CHECK(pool.n_pages() == 8);
  CHECK(pool.n_free() == 8);
  const size_t V = size_t(shape.vocab);
  const std::vector<Token> tokens = some_tokens(200, shape.vocab);
  const auto expected = all_logits(model, tokens);
  CHECK(pool.n_free() == 8);
  std::vector<float> logits(V);
  const auto next = [&](KvCache& cache) {
    const size_t at = size_t(cache.length());
    REQUIRE(model.run(std::span(tokens).subspan(at, 1), cache, logits));
    CHECK(relative_error(logits, std::span(expected).subspan(at * V, V)) < 1e-5);
  };
  std::optional<KvCache> one = model.new_cache();
  REQUIRE(model.run(std::span(tokens).first(150), *one, {}));
  CHECK(pool.n_free() == 5);
  KvCache two = one->fork(140);  // two whole pages, and 12 positions of a third
  CHECK(pool.n_free() == 5);
  CHECK(two.pages_wanted(1) == 1);
  next(two);
  CHECK(pool.n_free() == 4);
  CHECK(two.pages()[1] == one->pages()[1]);
  CHECK(two.pages()[2] != one->pages()[2]);
  next(*one);  // which has its third page for itself again
  CHECK(pool.n_free() == 4);
  next(two);
  one.reset();
  CHECK(pool.n_free() == 5);
  two.truncate(128);
  CHECK(pool.n_free() == 6);
  next(two);
  two.truncate(0);
  CHECK(pool.n_free() == 8);

  // What does not fit is refused before anything runs.
  KvCache a = model.new_cache(), b = model.new_cache(), c = model.new_cache();
  REQUIRE(model.run(std::span(tokens).first(190), a, {}));
  REQUIRE(model.run(std::span(tokens).first(200), b, {}));
  REQUIRE(model.run(std::span(tokens).first(64), c, {}));
  CHECK(pool.n_free() == 0);
  CHECK(mentions(refusal(ErrorKind::resource, [&] { model.run(std::span(tokens).first(1), c, {}); }),
                 {"latent cache is full", "8 pages of 64"}));
  CHECK(c.length() == 64);
  next(a);
}
