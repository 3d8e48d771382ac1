#include "runtime/offload/decode_floor.h"

#include <doctest/doctest.h>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/offload/shape_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr double kGB = 1e9;
constexpr Machine kSpeeds = {.vram_bandwidth = 500 * kGB, .ram_bandwidth = 50 * kGB, .disk_bandwidth = 2 * kGB};

struct Case {
  ModelSizes model;
  PlacementInput input;
};

Case v2(double vram_gib, double ram_gib) {
  static const ModelSizes model = [] {
    const TempDir folder;
    ShapeFile(TrueShape::v2(), "q4_k_m").write(folder / "model.gguf");
    return model_sizes(GgufFile::open(folder / "model.gguf"));
  }();
  PlacementInput in;
  in.machine.vram = uint64_t(vram_gib * double(1 << 30));
  in.machine.ram = uint64_t(ram_gib * double(1 << 30));
  in.n_ctx = 8192;
  in.gpu_scratch = estimated_gpu_scratch;
  in.cpu_scratch = scratch_of(cpu_ops("scalar"), host_device());
  return {model, in};
}

DecodeFloor floor_of(const Case& c, const Machine& speeds = kSpeeds, int64_t depth = 0) {
  return decode_floor(c.model, plan_placement(c.model, c.input), speeds, FormatId::bf16, depth);
}

double routed_bytes(const ModelSizes& model) {
  double bytes = 0;
  for (const ExpertLayer& layer : model.experts) bytes += 6.0 * double(layer.expert_bytes);
  return bytes;
}

}  // namespace

TEST_CASE("decode floor: without a GPU every active byte comes from the host's memory, as bench counts them") {
  const Case c = v2(0, 256);
  const DecodeFloor floor = floor_of(c);
  const double bytes = double(c.model.decode_bytes) + routed_bytes(c.model);
  CHECK(floor.ram_bytes == doctest::Approx(bytes));
  CHECK(floor.tok_s == doctest::Approx(50 * kGB / bytes));
  CHECK(floor.vram_bytes == 0);
  CHECK(floor.disk_bytes == 0);
  CHECK(bytes > 12e9);  // 21 G active parameters in under 5 bits
  CHECK(bytes < 14e9);
  const TinyModel tiny(TinyShape::v2());  // and a model that runs counts the same
  const GgufFile file = tiny.file();
  const Model model(GgufFile::open(file.path()), {.ops = &cpu_ops("scalar")});
  const ModelSizes sizes = model_sizes(file);
  double active = double(sizes.decode_bytes);
  for (const ExpertLayer& layer : sizes.experts) active += 3.0 * double(layer.expert_bytes);
  CHECK(active == double(model.active_bytes()));
}

TEST_CASE("decode floor: all on the GPU, and the cache with it") {
  Case c = v2(200, 256);
  const double bytes = double(c.model.decode_bytes) + routed_bytes(c.model), cache = 1000.0 * 576 * 2 * 60;
  CHECK(floor_of(c).tok_s == doctest::Approx(500 * kGB / bytes));
  CHECK(floor_of(c, kSpeeds, 1000).tok_s == doctest::Approx(500 * kGB / (bytes + cache)));
  CHECK(floor_of(c).ram_bytes == 0);
}

TEST_CASE("decode floor: on both, a layer takes as long as the slower of the two") {
  const Case c = v2(16, 256);
  const Plan plan = plan_placement(c.model, c.input);
  double seconds = double(c.model.decode_bytes), host = 0;
  for (const ExpertLayer& layer : c.model.experts) seconds -= double(layer.shared_bytes);
  seconds /= 500 * kGB;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const double bytes = 6.0 * double(c.model.experts[l].expert_bytes);
    const double resident = double(plan.layers[l].resident.size()) / 160.0;
    const double on_host = bytes * (1 - resident) / (50 * kGB);
    CHECK(on_host > (bytes * resident + double(c.model.experts[l].shared_bytes)) / (500 * kGB));
    seconds += on_host;
    host += on_host;
  }
  const DecodeFloor floor = floor_of(c);
  CHECK(floor.tok_s == doctest::Approx(1 / seconds));
  CHECK(floor.ram_seconds == doctest::Approx(host));
  // A GPU that is slower than the host is what is waited for.
  Machine slow = kSpeeds;
  slow.vram_bandwidth = 1 * kGB;
  const DecodeFloor waited = floor_of(c, slow);
  CHECK(waited.tok_s == doctest::Approx(1 / waited.vram_seconds));
}

TEST_CASE("decode floor: what is on disk is read from there and then from memory") {
  const Case c = v2(16, 64);
  const Plan plan = plan_placement(c.model, c.input);
  double missing = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l)
    missing += 6.0 * double(c.model.experts[l].expert_bytes) * double(plan.layers[l].count(Tier::disk)) / 160.0;
  REQUIRE(missing > 1e9);
  const DecodeFloor floor = floor_of(c), without = floor_of(v2(16, 256));
  CHECK(floor.disk_bytes == doctest::Approx(missing));
  CHECK(1 / floor.tok_s == doctest::Approx(1 / without.tok_s + missing / (2 * kGB)));
}

TEST_CASE("decode floor: better machines are never slower, and unknown bandwidths give no figure") {
  double last = 0;
  for (const double vram : {0, 12, 16, 24, 48, 96, 200}) {
    const double now = floor_of(v2(vram, 64)).tok_s;
    CHECK(now > last);
    last = now;
  }
  last = 0;
  for (const double ram : {8, 16, 64, 128, 256}) {
    const double now = floor_of(v2(16, ram)).tok_s;
    CHECK(now >= last);
    last = now;
  }
  Machine unknown = kSpeeds;
  unknown.disk_bandwidth = 0;
  CHECK(floor_of(v2(16, 64), unknown).tok_s == 0);
  CHECK(floor_of(v2(16, 256), unknown).tok_s > 0);  // the disk is not needed
}
