// Experts in two memories: wherever they are, the same logits.
#include "runtime/offload/hybrid.h"

#include <doctest/doctest.h>

#include "runtime/model/read_config.h"
#include "runtime/offload/placement.h"
#include "tests/golden/golden.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Half of a tiny model's experts.
ModelOptions half(const TinyShape& shape) {
  return {.ops = &gpu(),
          .device = gpu_device(),
          .host_ops = &cpu_ops("auto"),
          .resident_experts = (shape.n_layers - shape.n_dense) * shape.n_experts / 2};
}

int64_t n_experts(const Golden& golden) {
  const ModelConfig config = read_config(GgufFile::open(converted(golden.folder, "f32")));
  return config.n_moe_layers() * config.n_routed_experts;
}

}  // namespace

TEST_CASE(
    "hybrid: experts copied for a step give the same logits, in batches of every size, with and without looking "
    "ahead") {
  const Golden& golden = *std::ranges::find(goldens(), "v3", &Golden::name);
  for (const PrefillPolicy policy : {PrefillPolicy::host, PrefillPolicy::copy, PrefillPolicy::stream}) {
    for (const int64_t n_staging : {0, 2, 6, 40}) {
      if (kSanitized && (n_staging == 40 || n_staging == 2)) continue;
      CAPTURE(n_staging);
      Model model(GgufFile::open(converted(golden.folder, "f32")), {.ops = &gpu(),
                                                                    .device = gpu_device(),
                                                                    .cache_format = FormatId::f32,
                                                                    .attention = AttentionForm::absorbed,
                                                                    .host_ops = &cpu_ops("auto"),
                                                                    .resident_experts = n_experts(golden) / 4,
                                                                    .prefill = policy,
                                                                    .n_staging = n_staging});
      CHECK(relative_error(all_logits(model, golden.tokens), golden.logits) < 2e-5);
      const HybridCounts& counts = model.hybrid()->counts();
      MESSAGE(fmt::format("{} slots, policy {}: {} pairs of {} copied, {} on the GPU, {} bytes", n_staging, int(policy),
                          counts.staged, counts.chosen, counts.on_gpu, counts.staged_bytes));
      CHECK((counts.staged > 0) == (n_staging > 0 && policy != PrefillPolicy::host));
      if (counts.staged > 0) CHECK(counts.staged + counts.on_gpu == counts.chosen);
    }
  }
}

namespace {

// The logits of the golden tokens, and the most likely ones after them.
struct Said {
  std::vector<float> logits;
  std::vector<Token> greedy;

  Said(Model& model, const Golden& golden) {
    KvCache cache = model.new_cache();
    const size_t V = size_t(model.config().vocab_size);
    logits.resize(golden.tokens.size() * V);
    model.run(golden.tokens, cache, logits, true);
    std::vector<float> last(logits.end() - ptrdiff_t(V), logits.end());
    while (greedy.size() < golden.greedy.size()) {
      greedy.push_back(most_likely(last));
      if (greedy.size() < golden.greedy.size()) model.run({&greedy.back(), 1}, cache, last);
    }
  }
};

}  // namespace

// Budgets from no expert to all of them, and a cache that changes meanwhile.
TEST_CASE("hybrid: the golden logits and greedy tokens, with no expert on the GPU to all of them") {
  uint64_t swaps = 0;
  for (const Golden& golden : goldens()) {
    if (kSanitized && golden.name != "v2") continue;
    for (const double share : {0.0, 0.25, 0.5, 0.8, 1.0}) {
      if (kSanitized && share != 0.5) continue;
      CAPTURE(golden.name);
      CAPTURE(share);
      Model model(GgufFile::open(converted(golden.folder, "f32")),
                  {.ops = &gpu(),
                   .device = gpu_device(),
                   .cache_format = FormatId::f32,
                   .attention = AttentionForm::absorbed,
                   .host_ops = &cpu_ops("auto"),
                   .resident_experts = int64_t(share * double(n_experts(golden)))});
      const Said said(model, golden);
      CHECK(relative_error(said.logits, golden.logits) < 2e-5);
      CHECK(said.greedy == golden.greedy);
      const HybridCounts& counts = model.hybrid()->counts();
      const CacheCounts& cache = model.expert_cache()->counts();
      MESSAGE(fmt::format("{}, {:.0f} %: {} of {} on the GPU, {} swaps", golden.name, 100 * share, counts.on_gpu,
                          counts.chosen, cache.swaps));
      swaps += cache.swaps;
      // Every chosen expert was computed, and once.
      const size_t n_tokens = golden.tokens.size() + golden.greedy.size() - 1;
      CHECK(counts.chosen == n_tokens * size_t(model.config().n_moe_layers() * model.config().routing.n_activated));
      CHECK(counts.on_gpu + counts.on_host + counts.staged == counts.chosen);
      if (share == 0) CHECK(counts.on_gpu == 0);
      if (share == 1) CHECK(counts.on_gpu == counts.chosen);
    }
  }
  CHECK(swaps > 0);
}

TEST_CASE("hybrid: what the plan says is what is taken, and what it says fits does") {
  const GpuScope scope;
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    const GgufFile file = TinyModel(shape).file();
    ModelOptions options = half(shape);
    options.n_staging = 4;
    const size_t before = gpu_bytes_taken();
    size_t predicted = 0;
    {
      Model model(GgufFile::open(file.path()), options);
      const KvCache cache = model.new_cache();
      predicted = model.plan().vram.used();
      const size_t taken = gpu_bytes_taken() - before + kDriverBytes;
      CHECK(taken <= predicted + 7 * 512);  // 7 allocations, with what lies behind each
      CHECK(double(taken) > 0.98 * double(predicted));
    }
    CHECK(gpu_bytes_taken() == before);
    emulation::settings().memory = before + predicted;
    CHECK(failure_of(file, options) == "");
    CHECK(gpu_device()->refusal() == "");  // recordings fit into what is kept for the driver
    options.resident_experts = *options.resident_experts + 1;
    CHECK(failure_of(file, options).find("resident experts: ") != std::string::npos);
    options.resident_experts = {};  // as many as fit
    Model model(GgufFile::open(file.path()), options);
    CHECK(model.plan().n_resident() >= (shape.n_layers - shape.n_dense) * shape.n_experts / 2);
    emulation::settings().memory = scope.before.memory;
  }
}

// Layers whose experts have two sizes, and gate and up in one tensor of the file.
TEST_CASE("hybrid: slots of two sizes, and fused tensors, give the CPU's logits") {
  for (const bool fused : {false, true}) {
    TinyModel tiny(TinyShape::v2());
    tiny.tensor(name::in_layer(2, name::kFfnDownExps)).format = FormatId::f16;
    if (fused) tiny.fuse_gate_up();
    const GgufFile file = tiny.file();
    const auto logits_of = [&](const ModelOptions& options) {
      Model model(GgufFile::open(file.path()), options);
      if (options.resident_experts) {
        REQUIRE(model.plan().slots.size() == 2);
        CHECK(model.plan().slots[0].bytes != model.plan().slots[1].bytes);
        CHECK(model.plan().slots[0].n_slots == 3);
        CHECK(model.plan().slots[1].n_slots == 2);
      }
      KvCache cache = model.new_cache();
      std::vector<float> logits(12 * size_t(tiny.shape.vocab));
      const std::vector<Token> prompt = {5, 17, 200, 3, 44, 5, 17, 99, 123, 280, 11, 7};
      model.run(prompt, cache, logits, true);
      return logits;
    };
    const auto expected = logits_of({.ops = &cpu_ops("scalar"), .cache_format = FormatId::f32});
    const auto found = logits_of({.ops = &gpu(),
                                  .device = gpu_device(),
                                  .cache_format = FormatId::f32,
                                  .attention = AttentionForm::absorbed,
                                  .host_ops = &cpu_ops("auto"),
                                  .resident_experts = 5,
                                  .prefill = PrefillPolicy::copy,
                                  .n_staging = 2});
    CHECK(relative_error(found, expected) < 2e-3);  // F16 becomes bfloat16 in tiles
  }
}

TEST_CASE("hybrid: stopped anywhere, in the host's turns too, it goes on with the same bits") {
  const TinyShape shape = TinyShape::v2();
  for (const PrefillPolicy policy : {PrefillPolicy::host, PrefillPolicy::stream}) {
    if (kSanitized && policy == PrefillPolicy::host) continue;  // whose host takes turns in the other one too
    ModelOptions options = half(shape);
    options.expert_policy = ExpertPolicy::fixed;  // where an expert is computed decides its rounding
    options.prefill = policy;
    options.n_staging = policy == PrefillPolicy::host ? 0 : 6;
    options.ubatch = 10;
    Model model(TinyModel(shape).file(), options);
    check_stops(model, some_tokens(25, shape.vocab));
    check_stopped_tokens(model, some_tokens(10, shape.vocab));
  }
}

TEST_CASE("hybrid: a decoded token allocates nothing, builds no graph, and waits once a layer and once at its end") {
  const TinyShape shape = TinyShape::v2();
  ModelOptions options = half(shape);
  options.expert_policy = ExpertPolicy::fixed;  // copies wait too, on threads of their own
  Model model(TinyModel(shape).file(), options);
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(shape.vocab));
  const auto decode = [&](int n) {
    for (Token token = 0; token < n; ++token) model.run({&token, 1}, cache, logits);
  };
  decode(2);  // queued, then recorded
  const emulation::RuntimeCalls before = emulation::runtime_calls();
  const StepCounts steps = gpu_device()->step_counts();
  decode(20);
  const emulation::RuntimeCalls after = emulation::runtime_calls();
  CHECK(gpu_device()->step_counts().repeated - steps.repeated == 20);
  CHECK(after.allocations == before.allocations);
  CHECK(after.graphs == before.graphs);
  const int64_t n_moe = shape.n_layers - shape.n_dense;
  CHECK(after.waits - before.waits == 20 * (n_moe + 1));
  // Copied are what the step begins with (token, position, the cache's place) and the logits; no layer has a copy: its
  // crossings are kernels, which no copy of an expert delays.
  CHECK(after.copies - before.copies == 20 * 4);
  MESSAGE(fmt::format("a token of {} hybrid layers: {} calls of the runtime, {} kernels, {} copies", n_moe,
                      (after.calls - before.calls) / 20, (after.kernels - before.kernels) / 20,
                      (after.copies - before.copies) / 20));
}

TEST_CASE("hybrid: a timed step: a turn of the host's in each layer, and the GPU before, beside and after it") {
  const TinyShape shape = TinyShape::v2();
  Model model(TinyModel(shape).file(), half(shape));
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(shape.vocab));
  const auto decode = [&](Token token) { model.run({&token, 1}, cache, logits); };
  gpu_device()->time_next_step();
  decode(0);  // the first one is queued, not recorded
  CHECK(gpu_device()->timed_step().empty());
  decode(1);
  const std::vector<StepSpan> spans = gpu_device()->timed_step();
  double gpu_ended = 0, host_ended = 0;
  int64_t pieces = 0, turns = 0;
  for (const StepSpan& s : spans) {
    double& ended = s.on_device ? gpu_ended : host_ended;
    CHECK(s.begin >= ended - 1e-6);  // events count in float milliseconds
    CHECK(s.end >= s.begin - 1e-6);
    ended = s.end;
    ++(s.on_device ? pieces : turns);
  }
  CHECK(turns == shape.n_layers - shape.n_dense);
  CHECK(pieces == 2 * turns + 1);
  CHECK(gpu_ended > host_ended);
  decode(2);  // this one is not timed
  CHECK(gpu_device()->timed_step().back().end == spans.back().end);
}

TEST_CASE("hybrid: the same bits in every order that the queue allows") {
  const GpuScope scope;
  const TinyShape shape = TinyShape::v2();
  const GgufFile file = TinyModel(shape).file();
  std::vector<float> first;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    emulation::settings().random_queue = seed > 0;
    emulation::settings().seed = seed;
    emulation::reset();
    ModelOptions options = half(shape);
    options.n_staging = 4;
    options.prefill = PrefillPolicy::stream;
    options.expert_policy = ExpertPolicy::fixed;  // when a copy has arrived is nobody's to say
    Model model(GgufFile::open(file.path()), options);
    KvCache cache = model.new_cache();
    std::vector<float> logits(size_t(shape.vocab));
    const std::vector<Token> prompt = {5, 17, 200, 3, 44, 5, 17, 99, 123, 280, 11, 7};
    model.run(prompt, cache, logits);
    for (const Token token : {1, 2, 3, 4}) model.run({&token, 1}, cache, logits);
    if (first.empty()) first = logits;
    CHECK(logits == first);
  }
}

TEST_CASE("hybrid: an allocation, copy or launch that fails ends in one error, and all memory is given back") {
  const GpuScope scope;
  const TinyShape shape = TinyShape::v2();
  const GgufFile file = TinyModel(shape).file();
  ModelOptions options = half(shape);
  options.n_staging = 4;
  options.prefill = PrefillPolicy::stream;
  CHECK(failure_of(file, options) == "");
  const size_t before = gpu_bytes_taken();
  int64_t emulation::Settings::*const faults[] = {&emulation::Settings::fail_allocation,
                                                  &emulation::Settings::fail_copy, &emulation::Settings::fail_launch};
  for (const auto fault : faults) {
    const bool allocation = fault == &emulation::Settings::fail_allocation;
    int failed = 0;
    for (int64_t n = 1; n < 400; n += n < 30 ? (kSanitized && !allocation ? 6 : 1) : kSanitized ? 67 : 37) {
      CAPTURE(n);
      emulation::settings().*fault = n;
      const std::string what = failure_of(file, options);
      const bool reached = emulation::settings().*fault == 0;
      // Where page-locked memory is refused it goes on without.
      if (!allocation) CHECK((what != "") == reached);
      CHECK((reached || what == ""));
      failed += what != "";
      CHECK(gpu_bytes_taken() == before);
      emulation::settings().*fault = 0;
      GpuScope::mend();
      if (!reached && allocation) break;  // there are no more
    }
    CHECK(failed >= (allocation   ? 7
                     : kSanitized ? 6
                                  : 20));  // weights, activations, scratch, angles, experts, sums, cache
    CHECK(failure_of(file, options) == "");
  }
}
