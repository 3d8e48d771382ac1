// Chooses the kernel of a product, and the size of its tiles.
#include "kernels/cuda/matmul/tile_product.h"

#include <cassert>

#include "kernels/cuda/formats.cuh"

namespace hearth::gpu {
namespace {

// About as many blocks as the supported GPUs have multiprocessors (108 to 188). With fewer blocks, smaller tiles are
// better because more multiprocessors work.
constexpr int64_t kEnoughBlocks = 128;

int64_t blocks(int64_t n_tokens, int64_t n, int64_t tokens, int64_t rows) {
  return (n_tokens + tokens - 1) / tokens * ((n + rows - 1) / rows);
}

}  // namespace

TileShape choose_tile(int64_t n_tokens, int64_t n, int64_t n_matrices) {
  if (n_tokens > 64 && blocks(n_tokens, n, 128, 128) * n_matrices >= kEnoughBlocks) return TileShape::large;
  if (n_tokens > 32 && blocks(n_tokens, n, 64, 128) * n_matrices >= kEnoughBlocks) return TileShape::medium;
  return n_tokens > 16 ? TileShape::small : TileShape::tiny;
}

// With experts there are many blocks in any case; what counts is how full the last tile of each expert is.
TileShape choose_expert_tile(int64_t n_slots, int64_t n_experts, bool keep_16_bits) {
  const int64_t mean = n_slots / n_experts;
  if (mean < 12) return TileShape::tiny;  // hardly one has more than 16
  if (mean < 24 || keep_16_bits) return TileShape::small;
  return mean < 128 ? TileShape::medium : TileShape::large;
}

bool takes_bytes(FormatId format, TileShape shape, const Queue& queue) {
  return queue.halved_float_sums && !keeps_16_bits(shape) && !contains(FloatFormats{}, format);
}

void tile_product(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue) {
  if (product.x_bytes) {
    for (const auto multiply : {byte_small_blocks, byte_large_blocks, byte_codebooks, byte_iqk}) {
      if (multiply(format, shape, product, queue)) return;
    }
  }
  for (const auto multiply : {tile_floats, tile_small_blocks, tile_large_blocks, tile_codebooks, tile_iqk}) {
    if (multiply(format, shape, product, queue)) return;
  }
  assert(!"every format of the table has its kernels");
}

}  // namespace hearth::gpu
