// What the attention kernels share: where a head's values lie, and the fragments of mma_bf16 out of shared memory.
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/ops.h"

namespace hearth::gpu {

constexpr float kLog2e = 1.4426950408889634f;

// Element (token, head) of a view.
template <class T>
GPU_FN T* head_at(const Heads<T>& x, int token, int head) {
  return x.data + token * x.token_stride + head * x.head_stride;
}

// The pages of a token's sequence.
GPU_FN const int32_t* pages_of(const Positions& at, int token) {
  return at.pages + at.sequences[token] * at.page_stride;
}

// The row of the cache where a position of the sequence with these pages lies.
GPU_FN int64_t row_number(const Positions& at, const int32_t* pages, int position) {
  return (int64_t(pages[position >> at.page_bits]) << at.page_bits) + (position & ((1 << at.page_bits) - 1));
}

GPU_FN int at_most(int a, int b) {
  return a < b ? a : b;
}

// a [16,16] of a tile in shared memory whose rows are `stride` values apart.
GPU_FN void load_a(uint32_t (&a)[4], const uint16_t* tile, int stride) {
  const int lane = lane_of_thread();
  ldmatrix_x4(a, tile + (lane % 16) * stride + lane / 16 * 8);
}

// Two b [16,8] side by side, b[0] b[1] and b[2] b[3], of a tile [16 columns of b][16] that holds them transposed: rows
// of keys for q k^T.
GPU_FN void load_b_transposed(uint32_t (&b)[4], const uint16_t* tile, int stride) {
  const int lane = lane_of_thread();
  ldmatrix_x4(b, tile + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8);
}

// The same of a tile [16][16 columns of b] as it is: rows of values for p v.
GPU_FN void load_b(uint32_t (&b)[4], const uint16_t* tile, int stride) {
  const int lane = lane_of_thread();
  ldmatrix_x4_transposed(b, tile + (lane % 16) * stride + lane / 16 * 8);
}

// a [16,16] of float rows in global memory, rounded: columns `column` and on of the two rows that this lane holds
// (null: zeros). Rows are aligned to 8 bytes, `width` is even, and columns from there on are zero.
GPU_FN void gather_a(uint32_t (&a)[4], const float* upper, const float* lower, int column, int width) {
  const int c = column + 2 * (lane_of_thread() % 4);
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float* row = i % 2 ? lower : upper;
    const int at = c + i / 2 * 8;
    const float2 x = row && at < width ? *reinterpret_cast<const float2*>(row + at) : float2{0, 0};
    a[i] = pack_bf16(x.x, x.y);
  }
}

// The base of a row's exponents in a running softmax follows its largest score, but only where that, as a power of 2,
// is further ahead than this: nearly always nothing has to be rescaled. Weights are then up to 2^8, which costs bf16
// and float sums nothing.
constexpr float kSlack = 8;

// The base, or 0 as long as a row has seen nothing.
GPU_FN float softmax_base(float base) {
  return base == -INFINITY ? 0.0f : base;
}

}  // namespace hearth::gpu
