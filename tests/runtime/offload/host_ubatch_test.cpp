// How many tokens of a prompt the CPU runs at once: models of true size, from the headers of files whose data is a
// hole.
#include "runtime/offload/host_ubatch.h"

#include <doctest/doctest.h>

#include "kernels/cpu/backend.h"
#include "runtime/model/kv_cache.h"
#include "tests/runtime/offload/shape_file.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr uint64_t kMebi = uint64_t(1) << 20;

ModelSizes sizes_of(const TrueShape& shape) {
  const TempDir folder;
  ShapeFile(shape, "q4_k_m").write(folder / "model.gguf");
  return model_sizes(GgufFile::open(folder / "model.gguf"));
}

struct HostCase {
  ModelSizes model;
  PlacementInput in;

  explicit HostCase(const TrueShape& shape) : model(sizes_of(shape)) {
    in.n_ctx = 8192;
    in.n_threads = 8;
    in.cpu_scratch = scratch_of(cpu_ops("scalar"), host_device());
  }
  int64_t with(uint64_t ram) {
    in.machine.ram = ram;
    return host_ubatch(model, in);
  }
  uint64_t working(int64_t ubatch) const {
    return working_bytes(model.config, ubatch, in.n_ctx, in.n_threads, in.cpu_scratch);
  }
  // Weights, cache and what slices of 512 take.
  uint64_t all() const {
    uint64_t bytes = model.fixed.total() + working(512) +
                     LatentPool::bytes_for(model.config, in.cache_format, LatentPool::pages_for(in.n_ctx));
    for (const ExpertLayer& layer : model.experts)
      bytes += layer.expert_bytes * uint64_t(model.config.n_routed_experts);
    return bytes;
  }
};

}  // namespace

TEST_CASE("host ubatch: with memory enough, so many tokens that an expert sees 128") {
  HostCase lite(TrueShape::lite()), v2(TrueShape::v2()), v3(TrueShape::v3());
  CHECK(lite.with(64 * 1024 * kMebi) == 2048);  // 6 of 64: 1366
  CHECK(v2.with(256 * 1024 * kMebi) == 4096);   // 6 of 160: 3414
  CHECK(v3.with(512 * 1024 * kMebi) == 4096);   // 8 of 256: 4096
  for (const int64_t n_ctx : {1, 512, 513, 4000}) {
    v3.in.n_ctx = n_ctx;
    CHECK(v3.with(512 * 1024 * kMebi) == n_ctx);
  }
  ModelSizes dense = lite.model;
  dense.config.n_routed_experts = dense.config.routing.n_activated = 0;
  dense.experts.clear();
  CHECK(host_ubatch(dense, lite.in) == 512);
}

TEST_CASE("host ubatch: with little memory less, and never so much that weights are pushed out") {
  HostCase lite(TrueShape::lite());
  CHECK(lite.with(lite.all()) == 512);
  for (const int64_t ubatch : {1024, 2048}) {
    const uint64_t enough = lite.all() + 2 * (lite.working(ubatch) - lite.working(512));
    CHECK(lite.with(enough) == ubatch);
    CHECK(lite.with(enough - 1) == ubatch / 2);
  }
  lite.in.n_sequences = 64;  // whose caches count
  CHECK(lite.with(lite.all() + 2048 * kMebi) == 4096);

  // What does not fit comes from the disk, for every slice.
  HostCase v3(TrueShape::v3());
  CHECK(v3.with(64 * 1024 * kMebi) == 4096);
  for (const int64_t ubatch : {1024, 2048, 4096}) {
    const uint64_t enough = 16 * (v3.working(ubatch) - v3.working(512));
    CHECK(v3.with(enough) == ubatch);
    CHECK(v3.with(enough - 16) == ubatch / 2);
  }
}
