// Kernels compute what they should under every schedule.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/failure.h"
#include "quant/fp.h"
#include "tests/emulation/samples.h"
#include "tests/support/device_memory.h"
#include "tests/support/schedules.h"

using namespace hearth;
using samples::Fault;
using test::DeviceArray;

namespace hearth::gpu {
void note_failure(cudaError_t error, const char* what) {
  test::check_cuda(error, what);
}
}  // namespace hearth::gpu

namespace {

std::vector<float> random_floats(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

}  // namespace

TEST_CASE("threads without barriers") {
  const std::vector<float> x = random_floats(10000, 1);
  const DeviceArray<float> dx(x), dy(x.size());
  test::under_every_schedule([&] {
    samples::scale(dx, 3.0f, dy, int(x.size()), 1024, nullptr);
    const std::vector<float> y = dy.download();
    for (size_t i = 0; i < x.size(); i++) REQUIRE(y[i] == 3.0f * x[i]);
  });
}

TEST_CASE("sums of rows: shuffles, a barrier, shared memory, warps that end early") {
  const int rows = 7, n = 1000;
  const std::vector<float> x = random_floats(rows * n, 2);
  const DeviceArray<float> dx(x);
  test::under_every_schedule([&] {
    for (const int threads : {32, 64, 256, 1024}) {
      const DeviceArray<float> dy(rows);
      samples::row_sums(Fault::none, dx, dy, rows, n, threads, nullptr);
      const std::vector<float> y = dy.download();
      for (int i = 0; i < rows; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += x[i * n + j];
        CHECK(std::abs(y[i] - sum) < 1e-4);
      }
    }
  });
}

TEST_CASE("matrix product: asynchronous copies, ldmatrix, mma") {
  const int m = 64, n = 96, k = 160;
  std::vector<uint16_t> a(m * k), b(n * k);
  std::vector<float> values = random_floats(a.size() + b.size(), 3);
  for (size_t i = 0; i < a.size(); i++) a[i] = float_to_bf16(values[i]);
  for (size_t i = 0; i < b.size(); i++) b[i] = float_to_bf16(values[a.size() + i]);
  const DeviceArray<uint16_t> da(a), db(b);
  test::under_every_schedule([&] {
    const DeviceArray<float> dc(m * n);
    samples::product(Fault::none, da, db, dc, m, n, k, nullptr);
    const std::vector<float> c = dc.download();
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int l = 0; l < k; l++) sum += double(bf16_to_float(a[i * k + l])) * bf16_to_float(b[j * k + l]);
        REQUIRE(std::abs(c[i * n + j] - sum) < 1e-4);
      }
    }
  });
}
