// Experts in two memories: wherever they are, the same logits.
#include "runtime/hybrid.h"

#include <doctest/doctest.h>

#include "kernels/cuda/backend.h"
#include "tests/emulation/settings.h"
#include "tests/golden/golden.h"
#include "tests/runtime/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}

}  // namespace

TEST_CASE(
    "hybrid: experts copied for a step give the same logits, in batches of every size, with and without looking "
    "ahead") {
  const Golden& golden = *std::ranges::find(goldens(), "v3", &Golden::name);
  for (const PrefillPolicy policy : {PrefillPolicy::host, PrefillPolicy::copy, PrefillPolicy::stream}) {
    for (const int64_t n_staging : {0, 2, 6, 40}) {
      CAPTURE(n_staging);
      Model model(GgufFile::open(converted(golden.folder, "f32")), {.ops = &gpu(),
                                                                    .cache_format = FormatId::f32,
                                                                    .attention = ModelOptions::Attention::absorbed,
                                                                    .host_ops = &cpu_ops("auto"),
                                                                    .resident_experts = {.share = 0.25},
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

TEST_CASE("hybrid: the golden logits and greedy tokens, with no expert on the GPU to all of them") {
  for (const Golden& golden : goldens()) {
    if (!golden.in_tree) continue;
    for (const double share : {0.0, 0.25, 0.5, 0.8, 1.0}) {
      CAPTURE(golden.name);
      CAPTURE(share);
      Model model(GgufFile::open(converted(golden.folder, "f32")), {.ops = &gpu(),
                                                                    .cache_format = FormatId::f32,
                                                                    .attention = ModelOptions::Attention::absorbed,
                                                                    .host_ops = &cpu_ops("auto"),
                                                                    .resident_experts = {.share = share}});
      CHECK(relative_error(all_logits(model, golden.tokens), golden.logits) < 2e-5);
      CHECK(continue_greedily(model, golden.tokens, golden.greedy.size()) == golden.greedy);
      const HybridCounts& counts = model.hybrid()->counts();
      MESSAGE(fmt::format("{}, {:.0f} %: {} of {} on the GPU", golden.name, 100 * share, counts.on_gpu, counts.chosen));
      if (share == 0) CHECK(counts.on_gpu == 0);
      if (share == 1) CHECK(counts.on_gpu == counts.chosen);
      CHECK(counts.chosen > 0);
    }
  }
}
