// How the prefill operations prepare a TileProduct: tokens rounded to bf16, and the first half of a gated FFN.
#pragma once

#include "kernels/cuda/matmul/tile_product.h"
#include "kernels/scratch.h"

namespace hearth::gpu {

// Tokens as weights of different formats want them: float32 for F32, for all others bf16 rows padded with zeros to a
// multiple of 8, in two planes: the values rounded, and what that left of them, rounded. Strides in values; a form that
// nobody asked for is null.
struct TileInput {
  const float* floats = nullptr;
  int64_t float_stride = 0, float_matrix_stride = 0;
  const uint16_t* halves = nullptr;
  int64_t half_stride = 0, half_matrix_stride = 0, half_low = 0;

  void give(const Weight& w, TileProduct& product) const;
};

inline Heads<const float> one_head(Mat<const float> x) {
  return {x.data, x.rows, 1, x.cols, x.stride, 0};
}

// bf16 values in scratch, of both planes, that round_tokens writes for T tokens of H heads of k.
int64_t rounded_values(int64_t T, int64_t H, int64_t k);

// Queues the rounding of x to bf16 in `to`, all tokens of head 0 first.
TileInput round_tokens(Heads<const float> x, uint16_t* to, const Queue& queue);

// The hidden rows of a gated FFN: T rows of n values in whatever form down wants, and the gates by themselves where
// gate and up are stored in different formats and cannot be multiplied together.
struct Hidden {
  void* rows = nullptr;
  int64_t low = 0;  // from plane to plane
  float* gates = nullptr;

  Hidden() = default;
  Hidden(const FfnWeights& w, int64_t T, std::byte* memory);

  // Four bytes for each value; where that is too little (two formats), tokens must come in halves.
  static int64_t bytes(int64_t T, int64_t n);
  static bool in_halves(const FfnWeights& w);

  TileInput input(const FfnWeights& w) const;
};

// Queues hidden = silu(gate x) * (up x). `product` says which tokens go through which matrix.
void gated_product(const FfnWeights& w, TileShape shape, TileProduct product, const TileInput& x, const Hidden& hidden,
                   const Queue& queue);

}  // namespace hearth::gpu
