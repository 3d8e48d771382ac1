// Who gets a slot: states, limits, and what the values of each policy make of it.
#include "runtime/offload/residency.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "tests/runtime/eval/synthetic_trace.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using State = Residency::State;

// Two layers of one class and one of another, four experts each.
ResidencyShape small(int64_t first_slots, int64_t second_slots) {
  return {3, 4, {0, 0, 1}, {100, 100, 300}, {first_slots, second_slots}};
}

void decode(Residency& r, const std::vector<std::vector<int32_t>>& of_layers) {
  for (size_t layer = 0; layer < of_layers.size(); ++layer) r.use().note(int64_t(layer), of_layers[layer], 1, true);
  r.use().end_step();
}

int n_resident(const Residency& r, int64_t layer) {
  int n = 0;
  for (int64_t e = 0; e < r.shape().n_experts; ++e) n += r.state(layer, e) == State::resident;
  return n;
}

void fill(Residency& r) {
  for (const Swap& swap : r.fill()) r.arrived(swap.slot_class, swap.slot);
}

}  // namespace

TEST_CASE("without statistics the first experts of all layers share a class's slots evenly") {
  Residency r(small(5, 2), ExpertPolicy::adaptive);
  const auto swaps = r.fill();
  REQUIRE(swaps.size() == 7);
  CHECK(r.state(0, 0) == State::arriving);
  CHECK(r.slot(0, 0) == -1);  // not before it has arrived
  for (const Swap& swap : swaps) {
    CHECK(swap.evict == Swap::Expert{});
    r.arrived(swap.slot_class, swap.slot);
  }
  CHECK(n_resident(r, 0) == 3);
  CHECK(n_resident(r, 1) == 2);
  CHECK(n_resident(r, 2) == 2);
  CHECK(r.slot(0, 0) == 0);
  CHECK(r.state(2, 3) == State::absent);
}

TEST_CASE("with statistics the busiest come first, and a class's budget goes to the layer that needs it") {
  Residency r(small(3, 1), ExpertPolicy::fixed);
  r.use().load(std::vector<float>{9, 0, 8, 7, 1, 2, 3, 4, 0, 0, 0, 5}, 10);
  fill(r);
  CHECK(n_resident(r, 0) == 3);
  CHECK(n_resident(r, 1) == 0);
  CHECK(r.state(2, 3) == State::resident);
  decode(r, {{1}, {3}, {0}});
  CHECK(r.begin_swaps().empty());  // static
}

TEST_CASE("an evicted expert is absent at once, the admitted one arrives later, and neither is touched meanwhile") {
  Residency r(small(2, 0), ExpertPolicy::lru);
  fill(r);
  decode(r, {{3}, {}, {1}});
  const auto swaps = r.begin_swaps();
  REQUIRE(swaps.size() == 1);  // nothing of the class without slots
  CHECK(swaps[0].admit == Swap::Expert{0, 3});
  const auto [layer, expert] = swaps[0].evict;
  CHECK(r.state(layer, expert) == State::absent);
  CHECK(r.state(0, 3) == State::arriving);
  decode(r, {{2}, {}, {}});
  for (const Swap& swap : r.begin_swaps()) CHECK(swap.slot != swaps[0].slot);
  r.arrived(0, swaps[0].slot);
  CHECK(r.slot(0, 3) == swaps[0].slot);
}

TEST_CASE("swaps stay within their limits, the greatest gain first, and go on at the next step") {
  Residency r(small(3, 1), ExpertPolicy::lfu);
  fill(r);
  for (int i = 0; i < 3; ++i) decode(r, {{3}, {}, {}});
  decode(r, {{3, 2}, {}, {3}});
  CHECK(r.begin_swaps({.count = 0}).empty());
  CHECK(r.begin_swaps({.bytes = 99}).empty());
  auto swaps = r.begin_swaps({.count = 1});
  REQUIRE(swaps.size() == 1);
  CHECK(swaps[0].admit == Swap::Expert{0, 3});
  swaps = r.begin_swaps({.bytes = 399});  // 100 of one and 300 of the other do not fit
  REQUIRE(swaps.size() == 1);
  CHECK(r.begin_swaps().size() == 1);
  CHECK(r.begin_swaps().empty());
}

TEST_CASE("a prompt of 512 tokens counts as a few: what decoding needs stays") {
  for (const ExpertPolicy policy : {ExpertPolicy::lfu, ExpertPolicy::adaptive}) {
    Residency r({1, 8, {0}, {1}, {2}}, policy);
    fill(r);
    const auto swap_all = [&] {
      for (const Swap& swap : r.begin_swaps()) r.arrived(swap.slot_class, swap.slot);
    };
    for (int i = 0; i < 400; ++i) {
      decode(r, {{5, 6}});
      swap_all();
    }
    REQUIRE(r.state(0, 5) == State::resident);
    std::vector<int32_t> prompt;  // every expert, and two of them a little more often
    for (int t = 0; t < 512; ++t) prompt.insert(prompt.end(), {t % 8, (t + 1 + t % 3) % 8});
    r.use().note(0, prompt, 512, false);
    r.use().end_step();
    CHECK(r.use().tokens() == 400 + ExpertUse::kSliceTokens);
    swap_all();
    CHECK(r.state(0, 5) == State::resident);
    CHECK(r.state(0, 6) == State::resident);
  }
}

TEST_CASE("counts are handed to the next session") {
  Residency before(small(3, 1), ExpertPolicy::adaptive), after(small(3, 1), ExpertPolicy::adaptive);
  for (int i = 0; i < 10; ++i) decode(before, {{1, 3}, {i % 4}, {2}});
  const auto counts = before.use().counts();
  CHECK(counts[1] == doctest::Approx(10));
  CHECK(counts[4] == doctest::Approx(3));
  CHECK(std::accumulate(counts.begin(), counts.end(), 0.0) == doctest::Approx(40));
  after.use().load(counts, before.use().tokens());
  fill(after);
  CHECK(after.state(0, 1) == State::resident);
  CHECK(after.state(0, 3) == State::resident);
  CHECK(after.state(2, 2) == State::resident);
  CHECK(after.use().tokens() == 10);
}

TEST_CASE("ids outside the model are not looked at") {
  Residency r(small(2, 1), ExpertPolicy::adaptive), nothing(small(2, 1), ExpertPolicy::adaptive);
  for (Residency* each : {&r, &nothing}) fill(*each);
  decode(r, {{-1, 4, 1 << 30}, {}, {}});
  decode(nothing, {{}, {}, {}});
  CHECK(std::ranges::equal(r.use().values(), nothing.use().values()));
  CHECK(r.use().counts() == nothing.use().counts());
}

TEST_CASE("what is told of slots and experts is consistent through a changing cache with slow copies") {
  const SyntheticRouting s{.n_layers = 3, .n_experts = 16, .n_activated = 4, .n_tokens = 300};
  Residency r({3, 16, {0, 1, 0}, {10, 20, 10}, {9, 5}}, ExpertPolicy::adaptive);
  fill(r);
  std::vector<Swap> on_the_way;
  int64_t n_swaps = 0;
  for (const auto& token : synthetic_routing(Kind::locality, s)) {
    for (int64_t layer = 0; layer < 3; ++layer)
      r.use().note(layer, std::span(token).subspan(size_t(layer) * 4, 4), 1, true);
    r.use().end_step();
    if (on_the_way.size() > 3) {
      for (const Swap& swap : on_the_way) r.arrived(swap.slot_class, swap.slot);
      on_the_way.clear();
    }
    for (const Swap& swap : r.begin_swaps({.bytes = 40})) on_the_way.push_back(swap);
    n_swaps += int64_t(on_the_way.size());
    std::vector<std::vector<int>> seen{std::vector<int>(9), std::vector<int>(5)};
    for (int64_t layer = 0; layer < 3; ++layer) {
      for (int64_t e = 0; e < 16; ++e) {
        if (const int64_t slot = r.slot(layer, e); slot >= 0) ++seen[size_t(layer == 1)][size_t(slot)];
      }
    }
    for (const Swap& swap : on_the_way) ++seen[size_t(swap.slot_class)][size_t(swap.slot)];
    for (const auto& of_class : seen) CHECK(std::ranges::count(of_class, 1) == int64_t(of_class.size()));
  }
  CHECK(n_swaps > 50);
}

TEST_CASE("bookkeeping of a step of V2-236B's shape takes little of its time") {
  const SyntheticRouting s{.n_layers = 59, .n_experts = 160, .n_activated = 6, .n_tokens = 100};
  Residency r({59, 160, std::vector<int>(59), std::vector<uint64_t>(59, 1), {2000}}, ExpertPolicy::adaptive);
  fill(r);
  const Routed tokens = synthetic_routing(Kind::locality, s);
  double best = 1e9;
  for (const auto& token : tokens) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t layer = 0; layer < 59; ++layer)
      r.use().note(layer, std::span(token).subspan(size_t(layer) * 6, 6), 1, true);
    r.use().end_step();
    const auto swaps = r.begin_swaps({.count = 16});
    for (const Swap& swap : swaps) r.arrived(swap.slot_class, swap.slot);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  MESSAGE("59 x 160 experts: ", best * 1e6, " us per step at best");
  if (!kSanitized) CHECK(best < 2e-3);  // a decode step takes tens of milliseconds
}
