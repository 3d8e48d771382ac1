// What the tiles of prompts' products do to memory: a block of each shape, by the difference of two lengths of rows.
#include <cuda_runtime.h>

#include <fmt/format.h>

#include "kernels/cuda/matmul/tile_product.h"
#include "quant/format.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/traffic.h"
#include "tests/kernels/cuda/counts/counts.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace hearth::test {
namespace {

using emulation::Traffic;
using gpu::TileShape;

constexpr int64_t kRows = 128;  // of the largest tile
constexpr int kWeights = 1;     // the region of the matrix

// The first block of as many tokens as a tile has.
Traffic of_tile(const Format& format, TileShape shape, bool in_bytes, int64_t k) {
  const int64_t T = gpu::tile_tokens(shape);
  const DeviceArray<std::byte> bytes(format.bytes(k) * size_t(kRows));
  const DeviceArray<uint16_t> x(size_t(2 * T * k));  // four bytes for each value, in either form
  const DeviceArray<float> y(size_t(T * kRows));
  gpu::TileProduct p;
  p.w.data = bytes;
  p.w.end = bytes + bytes.bytes();
  p.w.row_bytes = format.bytes(k);
  p.w.matrix_stride = bytes.bytes();
  p.n = int(kRows);
  p.k = int(k);
  p.x = x.data();
  p.x_bytes = in_bytes;
  p.x_low = gpu::keeps_16_bits(shape) ? T * k : 0;
  p.x_stride = k;
  p.y = y.data();
  p.y_stride = kRows;
  p.n_tokens = int(T);

  emulation::TrafficWatch watch({{p.w.data, bytes.bytes(), kWeights}});
  gpu::tile_product(format.id, shape, p, default_queue());
  check_cuda(cudaDeviceSynchronize(), "a tile");
  return watch.take().at(0).traffic;
}

}  // namespace

void count_tiles() {
  emulation::settings().sampled_blocks = 1;
  fmt::print(
      "# Of a block of tile_product, or of byte_product (in bytes: where float sums have half of the rate), for each "
      "mma "
      "of a\n"
      "# warp: wavefronts of ldmatrix, of loads and stores, of copies into shared memory, and those of them that are\n"
      "# conflicts; sectors of the matrix, and of tokens. tokens: of the tile.\n"
      "# {:<6} {:>6} {:>5} | {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}\n",
      "format", "tokens", "in", "ldmatrix", "ld+st", "copies", "conflicts", "matrix", "tokens");
  using enum TileShape;
  const struct {
    TileShape shape;
    bool in_bytes = false;
  } tiles[] = {{tiny}, {small}, {medium}, {large}, {medium, true}, {large, true}};
  for (const FormatId id : {FormatId::bf16, FormatId::q8_0, FormatId::i4_g128, FormatId::q6_k, FormatId::q4_k}) {
    for (const auto& [shape, in_bytes] : tiles) {
      if (in_bytes && id == FormatId::bf16) continue;
      const Format& format = format_of(id);
      const Traffic shorter = of_tile(format, shape, in_bytes, 256), longer = of_tile(format, shape, in_bytes, 512);
      const auto per_mma = [&](const auto& of) {
        return double(of(longer) - of(shorter)) / double(longer.products - shorter.products);
      };
      fmt::print("{:<8} {:>6} {:>5} | {:>8.3f} {:>8.3f} {:>8.3f} {:>9.3f} {:>8.3f} {:>8.3f}\n", format.name,
                 gpu::tile_tokens(shape), in_bytes ? "bytes" : "bf16",
                 per_mma([](const Traffic& t) { return t.matrices.wavefronts; }),
                 per_mma([](const Traffic& t) { return t.loads.wavefronts + t.stores.wavefronts; }),
                 per_mma([](const Traffic& t) { return t.copies.wavefronts; }), per_mma([](const Traffic& t) {
                   return t.matrices.conflicts + t.loads.conflicts + t.stores.conflicts + t.copies.conflicts;
                 }),
                 per_mma([](const Traffic& t) { return t.sectors.at(kWeights).read; }),
                 per_mma([](const Traffic& t) { return t.sectors.at(0).read; }));
    }
  }
  emulation::settings().sampled_blocks = 0;
}

}  // namespace hearth::test
