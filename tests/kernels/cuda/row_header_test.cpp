// The GPU's kernels on rows with a header before their blocks: those of a made-up format give what those of Q8_0 give
// for the same weights, to the bit.
#include "tests/support/row_header.h"
#include "tests/kernels/cuda/row_header_kernels.h"
#include "tests/kernels/cuda/rows.h"

using namespace hearth;
using namespace hearth::test;

namespace {

TestWeight weights(bool headed, int64_t n, int64_t k) {
  Rng rng(1);
  const TestWeight w = TestWeight::gaussian(rng, headed ? scaled_q8() : format_of(FormatId::q8_0), 1, n, k, 0.5f);
  return w;
}

// run(headed, w, y) must write the same y [T,width] for both.
template <class Run>
void check(int64_t n, int64_t k, int64_t T, int64_t width, const Run& run) {
  const TestWeight headed = weights(true, n, k), plain = weights(false, n, k);
  REQUIRE(headed.floats == plain.floats);
  const DeviceWeight on_device[2] = {DeviceWeight(plain), DeviceWeight(headed)};
  const DeviceRows a(T, width), b(T, width);
  run(true, on_device[1].view, a.view());
  run(false, on_device[0].view, b.view());
  CHECK(a.download().same_bits(b.download()));
  CHECK(cudaGetLastError() == cudaSuccess);
}

}  // namespace

TEST_CASE("rows with headers: weight by weight") {
  check(9, 96, 9, 96, [](bool headed, const Weight& w, Mat<float> y) { decode_rows(headed, w, y); });
}

TEST_CASE("rows with headers: one token") {
  Rng rng(2);
  for (const int64_t k : {64, 96, 1056}) {
    const DeviceRows x(Rows::random(rng, 1, k));
    check(37, k, 1, 37, [&](bool headed, const Weight& w, Mat<float> y) { multiply_one(headed, w, x.read_only(), y); });
  }
}

TEST_CASE("rows with headers: many tokens, tiles of every size") {
  Rng rng(3);
  const int64_t T = 33;
  for (const gpu::TileShape shape :
       {gpu::TileShape::tiny, gpu::TileShape::small, gpu::TileShape::medium, gpu::TileShape::large}) {
    for (const int64_t k : {96, 320}) {
      std::vector<uint16_t> x(2 * T * k);
      for (int64_t i = 0; i < T * k; ++i) {
        const float value = normal(rng);
        x[i] = float_to_bf16(value);
        x[T * k + i] = float_to_bf16(value - bf16_to_float(x[i]));
      }
      const DeviceArray<uint16_t> on_device(x);
      check(37, k, T, 37,
            [&](bool headed, const Weight& w, Mat<float> y) { multiply_many(headed, shape, w, on_device, y); });
    }
  }
}
