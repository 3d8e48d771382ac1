// What a plan predicts of the GPU's memory, against what a model takes of the emulated one's.
#include <doctest/doctest.h>

#include "kernels/cuda/backend.h"
#include "runtime/model/activations.h"
#include "runtime/model/read_config.h"
#include "runtime/offload/expert_pool.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/placement.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/offload/shape_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}
Device* gpu_device() {
  return open_gpu().device;
}

size_t bytes_taken() {
  const auto [total, free] = gpu_device()->memory();
  return total - free;
}

PlacementInput input() {
  PlacementInput in;
  in.machine.vram = in.machine.ram = uint64_t(1) << 30;
  in.gpu_scratch = scratch_of(gpu(), *gpu_device());
  in.cpu_scratch = scratch_of(cpu_ops("auto"), host_device());
  return in;
}

// Of a model and a cache, with what lies behind each of its allocations.
void check_taken(const GgufFile& file, const ModelOptions& options, const Plan& plan, int n_allocations) {
  const size_t before = bytes_taken();
  const Model model(GgufFile::open(file.path()), options);
  const KvCache cache = model.new_cache();
  const uint64_t taken = bytes_taken() - before, predicted = plan.vram.used() - plan.vram.classes[MemoryClass::driver];
  CHECK(taken >= predicted);
  CHECK(taken <= predicted + uint64_t(n_allocations) * 512);
}

}  // namespace

TEST_CASE("placement: the GPU's memory is predicted to the byte when all of a model is there") {
  for (const int layout : {0, 1, 2}) {
    TinyModel tiny(TinyShape::v2());
    if (layout == 1) tiny.make_old_layout();
    if (layout == 2) tiny.fuse_gate_up();
    const GgufFile file = tiny.file();
    const Plan plan = plan_placement(model_sizes(file), input());
    REQUIRE(plan.all_on_gpu);
    check_taken(file, {.ops = &gpu(), .device = gpu_device()}, plan, 5);
  }
}

TEST_CASE("placement: and when some experts are") {
  for (const bool fused : {false, true}) {
    TinyModel tiny(TinyShape::v3());
    if (fused) tiny.fuse_gate_up();
    const GgufFile file = tiny.file();
    for (const int64_t n : {0, 3, 8}) {
      PlacementInput in = input();
      in.resident_experts = n;
      in.staging_slots = 2;
      const Plan plan = plan_placement(model_sizes(file), in);
      CHECK(plan.n_resident() == n);
      check_taken(
          file,
          {.ops = &gpu(), .device = gpu_device(), .host_ops = &cpu_ops("auto"), .resident_experts = n, .n_staging = 2},
          plan, 7);
    }
  }
}

TEST_CASE("placement: scratch of a GPU that is not at hand is estimated a little high") {
  const TempDir folder;
  for (const TrueShape& shape : {TrueShape::lite(), TrueShape::v2(), TrueShape::v3()}) {
    ShapeFile(shape, "q4_k_m").write(folder / "model.gguf");
    const ModelConfig config = read_config(GgufFile::open(folder / "model.gguf"));
    for (const int64_t n_ctx : {256, 2048, 8192, 131072}) {
      for (const int64_t ubatch : {1, 64, 512, 2048}) {
        CAPTURE(shape.name);
        CAPTURE(n_ctx);
        CAPTURE(ubatch);
        const ScratchLimits limits = scratch_limits(config, std::min(ubatch, n_ctx), n_ctx, 8);
        const double estimate = double(estimated_gpu_scratch(limits)), actual = double(gpu().scratch_bytes(limits));
        CHECK(estimate >= actual);
        CHECK(estimate <= 1.1 * actual + double(size_t(32) << 20));
      }
    }
  }
}
