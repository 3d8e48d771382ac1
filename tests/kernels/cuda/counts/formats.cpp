// What the inner loops of products do to memory, for each format and 1024 weights. A block's part of rows of 2048 and
// of 4096 weights is run, and the difference taken: what comes once a row falls out.
#include <algorithm>

#include "kernels/cuda/matmul/matmul_few.h"
#include "kernels/cuda/matmul/matmul_vec.h"

#include <fmt/format.h>

#include "quant/format.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/traffic.h"
#include "tests/kernels/cuda/counts/counts.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace hearth::test {
namespace {

using emulation::GridTraffic;
using emulation::Traffic;

constexpr int64_t kRows = 8192;     // so many that matmul_vec splits no row
constexpr int64_t kBlockRows = 32;  // of matmul_few, too, since its four warps share rows
constexpr int kWeights = 1;         // the region of the matrix

// The first block of a product with T columns.
Traffic of_product(const Format& format, int64_t T, int64_t k) {
  const DeviceArray<std::byte> bytes(format.bytes(k) * size_t(kRows));
  Weight w;
  w.format = &format;
  w.data = bytes;
  w.count = 1;
  w.n = kRows;
  w.k = k;
  w.row_bytes = format.bytes(k);
  w.matrix_stride = w.row_bytes * size_t(kRows);
  ScratchLimits limits;
  limits.max_tokens = T;
  limits.max_width = std::max(kRows, k);
  const bool few = T > 1;
  const DeviceArray<std::byte> scratch((few ? gpu::matmul_few_scratch : gpu::matmul_vec_scratch)(on_gpu(limits)));
  const DeviceArray<float> x(size_t(T * k)), y(size_t(T * kRows));

  emulation::TrafficWatch watch({{w.data, bytes.bytes(), kWeights}});
  (few ? gpu::matmul_few : gpu::matmul_vec)(on_gpu(scratch), w, {x.data(), T, k}, {y.data(), T, kRows});
  check_cuda(cudaDeviceSynchronize(), "a product");
  return watch.take().back().traffic;  // behind the launch that prepares activations, if there is one
}

}  // namespace

void count_formats() {
  emulation::settings().sampled_blocks = 1;
  fmt::print(
      "# Of matmul_vec (1 column) and matmul_few, per 1024 weights: wavefronts of shared memory, by loads, by copies\n"
      "# into it and by stores, and those of them that are conflicts; sectors of the matrix, and those of prepared\n"
      "# activations in global memory.\n"
      "# {:<6} {:>7} | {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
      "format", "columns", "loads", "copies", "conflicts", "matrix", "activ.", "stores");
  for (const Format& format : all_formats()) {
    for (const int64_t T : {1, 8, 16}) {
      if (T > 1 && format.id == FormatId::f32) continue;  // tiles of its own
      const Traffic shorter = of_product(format, T, 2048), longer = of_product(format, T, 4096);
      const auto per_1024 = [&](const auto& of) {
        return double(of(longer) - of(shorter)) / double(kBlockRows * 2048 / 1024);
      };
      const auto sectors = [](const Traffic& t, int region) {
        const auto found = t.sectors.find(region);
        return found == t.sectors.end() ? 0 : found->second.read;
      };
      fmt::print("{:<8} {:>7} | {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f}\n", format.name, T,
                 per_1024([](const Traffic& t) { return t.loads.wavefronts; }),
                 per_1024([](const Traffic& t) { return t.copies.wavefronts; }), per_1024([&](const Traffic& t) {
                   return t.loads.conflicts + t.copies.conflicts + (T == 1 ? 0 : t.stores.conflicts);
                 }),
                 per_1024([&](const Traffic& t) { return sectors(t, kWeights); }),
                 T == 1 ? 0.0 : per_1024([&](const Traffic& t) { return sectors(t, 0); }),
                 T == 1 ? 0.0 : per_1024([](const Traffic& t) { return t.stores.wavefronts; }));
    }
  }
  emulation::settings().sampled_blocks = 0;
}

}  // namespace hearth::test
