// The simulator by hand, and the policies against each other. How close "the same" is was settled before looking: the
// standard error of the better one's hit rate, from the scatter of blocks of 100 tokens, is how much another text of
// the same length would move it; no policy is called better than another within it.
#include "runtime/eval/simulate.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/cpu/backend.h"
#include "runtime/offload/residency.h"
#include "tests/golden/golden.h"
#include "tests/runtime/eval/synthetic_trace.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

ExpertTrace trace_of(const Routed& tokens, const SyntheticRouting& s) {
  ExpertTrace trace{{"made up", s.n_layers, s.n_experts, s.n_activated, {}, 0, 0}, {}};
  trace.shape.expert_bytes.assign(size_t(s.n_layers), 1000);
  for (const auto& ids : tokens)
    trace.steps.push_back({int64_t(trace.steps.size()), 1, true, std::vector<uint16_t>(ids.begin(), ids.end())});
  return trace;
}

const SimulatedPolicy& policy(const SimulatedSize& size, const std::string& name) {
  for (const SimulatedPolicy& p : size.policies)
    if (name == p.name) return p;
  FAIL("no policy ", name);
  return size.policies.front();
}

// Hit rate by blocks of 100 tokens of a policy whose copies are free: its mean, and the standard error of that.
struct Measured {
  double hit_rate = 0, error = 0;
};
Measured measure(const ExpertTrace& trace, ExpertPolicy which, double share) {
  const TraceShape& s = trace.shape;
  Residency r({s.n_layers,
               s.n_experts,
               std::vector<int>(size_t(s.n_layers)),
               s.expert_bytes,
               {int64_t(share * double(s.n_layers * s.n_experts) + 1e-6)}},
              which);
  for (const Swap& swap : r.fill()) r.arrived(swap.slot_class, swap.slot);
  std::vector<double> blocks;
  int64_t hits = 0, uses = 0;
  for (size_t t = 0; t < trace.steps.size(); ++t) {
    const std::vector<int32_t> ids(trace.steps[t].ids.begin(), trace.steps[t].ids.end());
    for (int64_t layer = 0; layer < s.n_layers; ++layer) {
      const auto chosen = std::span(ids).subspan(size_t(layer * s.n_activated), size_t(s.n_activated));
      for (const int32_t e : chosen) hits += r.state(layer, e) == Residency::State::resident;
      uses += s.n_activated;
      r.use().note(layer, chosen, 1, true);
    }
    r.use().end_step();
    for (const Swap& swap : r.begin_swaps()) r.arrived(swap.slot_class, swap.slot);
    if ((t + 1) % 100 != 0) continue;
    blocks.push_back(double(hits) / double(uses));
    hits = uses = 0;
  }
  Measured m;
  for (const double block : blocks) m.hit_rate += block / double(blocks.size());
  for (const double block : blocks) m.error += std::pow(block - m.hit_rate, 2);
  m.error = std::sqrt(m.error / double(blocks.size() * (blocks.size() - 1)));
  return m;
}

void check_not_worse(const ExpertTrace& trace, const std::string& what) {
  for (const double share : {0.1, 0.25, 0.5, 0.75}) {
    const Measured lru = measure(trace, ExpertPolicy::lru, share), lfu = measure(trace, ExpertPolicy::lfu, share),
                   ours = measure(trace, ExpertPolicy::adaptive, share);
    const Measured& best = lru.hit_rate > lfu.hit_rate ? lru : lfu;
    MESSAGE(fmt::format("{:18} {:3.0f} %: LRU {:.4f} LFU {:.4f} adaptive {:.4f} (standard error {:.4f})", what,
                        100 * share, lru.hit_rate, lfu.hit_rate, ours.hit_rate, best.error));
    if (!kSanitized) CHECK(ours.hit_rate >= best.hit_rate - best.error);  // of few tokens it says nothing
  }
}

}  // namespace

TEST_CASE("a case by hand: times of found, missed and copied experts") {
  // One layer of four experts, one per token: 0 1 1 2.
  const SyntheticRouting s{.n_layers = 1, .n_experts = 4, .n_activated = 1};
  ExpertTrace trace = trace_of({{0}, {1}, {1}, {2}}, s);
  trace.shape.token_bytes = 100;
  SimulationInput input{{.vram = 1, .vram_bandwidth = 1000, .ram_bandwidth = 100}, {}, 0, {0.25, 1}};
  const Simulation free_copies = simulate(trace, input);
  REQUIRE(free_copies.sizes.size() == 3);  // and that of a memory of one byte: none
  CHECK(free_copies.sizes[0].n_slots == 0);
  CHECK(policy(free_copies.sizes[0], "LRU").hit_rate == 0);
  CHECK(policy(free_copies.sizes[0], "LRU").tok_s == doctest::Approx(1 / (0.1 + 10)));
  const SimulatedPolicy& lru = policy(free_copies.sizes[1], "LRU");  // begins with 0, then holds the last one
  CHECK(lru.hit_rate == 0.5);
  CHECK(lru.bytes_copied == 2000);
  CHECK(lru.tok_s == doctest::Approx(4 / (4 * 0.1 + 2 * 1.0 + 2 * 10.0)));
  const SimulatedPolicy& optimum = policy(free_copies.sizes[1], "optimum");
  CHECK(optimum.hit_rate == 0.5);
  CHECK(policy(free_copies.sizes[2], "adaptive").hit_rate == 1);
  CHECK(policy(free_copies.sizes[2], "adaptive").tok_s == doctest::Approx(1 / 1.1));

  // A bus that moves one expert in the ten seconds of a miss: it is there one token late, and is read beside the
  // misses.
  input.machine.pcie_bandwidth = 100;
  const SimulatedPolicy slow = policy(simulate(trace, input).sizes[1], "LRU");
  CHECK(slow.hit_rate == 0.25);      // only the first
  CHECK(slow.bytes_copied == 2000);  // 1 after the second token, 2 after the last
  CHECK(slow.tok_s < lru.tok_s);
}

TEST_CASE("what the host's memory does not hold comes from the disk") {
  const SyntheticRouting s{.n_layers = 1, .n_experts = 4, .n_activated = 1};
  const ExpertTrace trace = trace_of({{0}, {1}, {0}, {2}, {1}}, s);
  SimulationInput input{{.ram = 2000, .ram_bandwidth = 100, .disk_bandwidth = 10}, {}, 0, {0}};
  const SimulatedPolicy cpu = policy(simulate(trace, input).sizes[0], "static");
  CHECK(cpu.bytes_from_disk == 4000);  // 0, 1, then 2 in place of 1, and 1 again
  CHECK(cpu.tok_s == doctest::Approx(5 / (5 * 10.0 + 4 * 100.0)));
  input.machine.ram = 4000;
  CHECK(policy(simulate(trace, input).sizes[0], "static").bytes_from_disk == 0);
  input.machine.ram = 2000;
  input.machine.disk_bandwidth = 0;
  CHECK(policy(simulate(trace, input).sizes[0], "static").tok_s == 0);  // nobody knows
}

TEST_CASE("with time on their side: the adaptive policy finds no fewer experts than LRU and LFU") {
  for (const Kind kind : {Kind::locality, Kind::drifting_topics, Kind::zipf, Kind::no_skew}) {
    SyntheticRouting s{.seed = 2};  // the policy's constants were chosen with seed 1
    if (kSanitized) s.n_tokens = 200;
    check_not_worse(trace_of(synthetic_routing(kind, s), s), kind_name(kind));
  }
}

TEST_CASE("the optimum finds the most, all of them everything, and LRU more with more memory") {
  const SyntheticRouting s{.n_layers = 3, .n_experts = 32, .n_activated = 4, .n_tokens = kSanitized ? 50 : 400};
  for (const Kind kind : {Kind::locality, Kind::drifting_topics, Kind::zipf, Kind::no_skew}) {
    CAPTURE(kind_name(kind));
    const Simulation simulation = simulate(trace_of(synthetic_routing(kind, s), s), {{}, {}, 0, usual_shares()});
    CHECK(simulation.static_in_hindsight);
    double before = -1;
    for (const SimulatedSize& size : simulation.sizes) {
      CAPTURE(size.share);
      for (const SimulatedPolicy& p : size.policies) {
        CAPTURE(p.name);
        CHECK(policy(size, "optimum").hit_rate >= p.hit_rate);
        if (size.share == 0) CHECK(p.hit_rate == 0);
        if (size.share == 1) CHECK(p.hit_rate == 1);
      }
      CHECK(policy(size, "LRU").hit_rate >= before);
      before = policy(size, "LRU").hit_rate;
    }
  }
}

TEST_CASE("a prompt takes nothing from the optimum: only what is decoded counts") {
  // The prompt uses experts 0 to 2, then 3 and 2 are decoded in turns; one slot.
  const SyntheticRouting s{.n_layers = 1, .n_experts = 4, .n_activated = 1};
  ExpertTrace trace = trace_of({{0}, {3}, {2}, {3}, {3}}, s);
  trace.steps[0] = {0, 3, false, {0, 1, 2}};
  const Simulation simulation = simulate(trace, {{}, {}, 0, {0.25}});
  CHECK(simulation.n_slices == 1);
  CHECK(policy(simulation.sizes[0], "static").hit_rate == 0.75);
  CHECK(policy(simulation.sizes[0], "optimum").hit_rate == 0.75);
}

TEST_CASE("with few copies allowed the adaptive policy uses them better than LRU") {
  const SyntheticRouting s{.n_tokens = 1000};
  const ExpertTrace trace = trace_of(synthetic_routing(Kind::drifting_topics, s), s);
  // Without a GPU's speed a miss takes 10 s, and the bus moves a hundredth of an expert in one.
  const SimulationInput input{
      {.vram = 1, .vram_bandwidth = 1e6, .ram_bandwidth = 100, .pcie_bandwidth = 10}, {}, 0, {0.3}};
  const Simulation simulation = simulate(trace, input);
  const SimulatedSize& size = simulation.sizes.back();
  CHECK(policy(size, "adaptive").hit_rate > policy(size, "LRU").hit_rate);
  CHECK(policy(size, "adaptive").tok_s > policy(size, "LRU").tok_s);
}

TEST_CASE("statistics of earlier sessions are where policies begin") {
  const SyntheticRouting s{.n_layers = 1, .n_experts = 4, .n_activated = 1};
  const ExpertTrace trace = trace_of({{3}}, s);
  const Simulation warm = simulate(trace, {{}, {0, 0, 0, 5}, 5, {0.25}});
  CHECK(!warm.static_in_hindsight);
  for (const char* name : {"static", "LFU", "adaptive", "optimum"}) CHECK(policy(warm.sizes[0], name).hit_rate == 1);
  CHECK(policy(simulate(trace, {{}, {}, 0, {0.25}}).sizes[0], "LFU").hit_rate == 0);
}

TEST_CASE("what cannot be simulated is refused") {
  const SyntheticRouting s{.n_layers = 1, .n_experts = 4, .n_activated = 1};
  ExpertTrace trace = trace_of({{3}, {1}}, s);
  CHECK_THROWS_WITH_AS(simulate(trace, {{}, {}, 0, {1.5}}), doctest::Contains("expected 0 to 1, found 1.5"), Error);
  CHECK_THROWS_WITH_AS(simulate(trace, {{}, {1, 2}, 0, {}}), doctest::Contains("1 layers of 4"), Error);
  trace.steps = {{0, 2, false, {3, 1}}};
  CHECK_THROWS_WITH_AS(simulate(trace, {{}, {}, 0, {}}), doctest::Contains("no decoded token"), Error);
  CHECK(token_by_token(trace).steps.size() == 2);
}

TEST_CASE("the demo model: recorded while it speaks, and no fewer found than with LRU and LFU") {
  TempDir dir;
  const std::string path = dir / "demo.trace";
  ModelOptions options;
  options.ops = &cpu_ops("auto");
  options.n_ctx = 1024;
  std::unique_ptr<ExpertTraceWriter> writer;
  options.routed = [&](int64_t layer, const StepKind& step, std::span<const int32_t> ids) {
    if (writer) writer->add(layer - 1, step, ids);
  };
  Model model(GgufFile::open(converted(source_dir() / "demo" / "checkpoint", "bf16")), options);
  writer = std::make_unique<ExpertTraceWriter>(path, trace_shape(model));
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(model.config().vocab_size));
  std::mt19937 random(5);
  std::vector<Token> tokens{1267, 50, 60, 70, 80};
  model.run(tokens, cache, logits);
  const size_t n = kSanitized ? 200 : 900;
  for (size_t i = 0; i < n; ++i) {  // sampled at temperature 1: greedy text repeats itself
    std::vector<double> weight(logits.size());
    const float top = *std::ranges::max_element(logits);
    for (size_t t = 0; t < logits.size(); ++t) weight[t] = std::exp(double(logits[t] - top));
    const Token next = Token(std::discrete_distribution<int>(weight.begin(), weight.end())(random));
    model.run({&next, 1}, cache, logits);
  }
  writer->finish();
  const ExpertTrace trace = read_expert_trace(path);
  REQUIRE(trace.steps.size() == n + 1);
  CHECK(trace.steps[0].n_tokens == 5);
  CHECK(trace.steps[n].position == int64_t(n) + 4);
  CHECK(trace.shape.n_layers == 3);
  CHECK(trace.shape.token_bytes > 0);
  CHECK(trace.shape.expert_bytes == std::vector<uint64_t>(3, 3 * 256 * 128 * 2));
  check_not_worse(token_by_token(trace), "demo model");
}
