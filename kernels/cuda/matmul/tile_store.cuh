// How the blocks of a TileProduct find their work, and how they store results. Shared by the tensor-core kernels
// (tile_product.cuh) and the float32 one (tile_float32.cu).
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/matmul/tile_product.h"

namespace hearth::gpu {
namespace {

GPU_FN float silu(float x) {
  return x / (1.0f + exp_fast(-x));
}

// Finds the block's work; false: there is none for it.
GPU_FN bool find_work(const TileProduct& p, int tile_tokens, TileWork& work) {
  const int tile = int(blockIdx.x);
  if (p.work) {
    if (tile >= *p.n_work) return false;
    work = p.work[tile];
  } else {
    const int first = tile * tile_tokens;
    work = {int(blockIdx.z), first, min(tile_tokens, p.n_tokens - first)};
  }
  return true;
}

// Writes one output, or a zero in the padding of a bf16 row.
GPU_FN void store_output(const TileProduct& p, int matrix, int64_t token, int i, float value) {
  const int64_t at = (p.work ? 0 : matrix * p.y_matrix_stride) + token * p.y_stride + i;
  if (i < p.n) {
    if (p.gate) value *= silu(p.gate[token * p.n + i]);
    if (p.y_bf16) {
      const uint16_t high = uint16_t(pack_bf16(value, 0));
      static_cast<uint16_t*>(p.y)[at] = high;
      static_cast<uint16_t*>(p.y)[at + p.y_low] = uint16_t(pack_bf16(value - bf16_bits_to_float(high), 0));
    } else {
      static_cast<float*>(p.y)[at] = value;
    }
  } else if (p.y_bf16 && i < (p.n + 7) / 8 * 8) {
    static_cast<uint16_t*>(p.y)[at] = static_cast<uint16_t*>(p.y)[at + p.y_low] = 0;
  }
}

}  // namespace
}  // namespace hearth::gpu
