// Preparing a TileProduct for the prefill operations: tokens rounded to bf16 or to bytes, and the first half of a gated
// FFN.
#pragma once

#include "kernels/cuda/matmul/tile_product.h"
#include "kernels/scratch.h"

namespace hearth::gpu {

// Tokens in the forms that the formats of weights need: float32 for F32; for all others bf16 rows padded with zeros to
// a multiple of 8, in two planes: the rounded values, and the rounded remainders that this rounding left; or rows of
// token groups. Strides are in values; a form that is not needed is null.
struct TileInput {
  const float* floats = nullptr;
  int64_t float_stride = 0, float_matrix_stride = 0;
  const uint16_t* halves = nullptr;
  int64_t half_stride = 0, half_matrix_stride = 0, half_low = 0;
  const TokenGroup* groups = nullptr;
  int64_t group_stride = 0, group_matrix_stride = 0;

  void give(const Weight& w, TileProduct& product) const;
};

inline Heads<const float> one_head(Mat<const float> x) {
  return {x.data, x.rows, 1, x.cols, x.stride, 0};
}

// Room for T tokens of H heads of k in either form, in bf16 values: four bytes for each activation.
int64_t rounded_values(int64_t T, int64_t H, int64_t k);

// Queues the rounding of x into `to`, first all tokens of head 0: to bf16, or `in_bytes`.
TileInput round_tokens(Heads<const float> x, uint16_t* to, bool in_bytes, const Queue& queue);

// Do the tokens of products with both come in bytes? If only one of them takes bytes, they come in bf16 for both.
bool take_bytes(const Weight& a, const Weight& b, TileShape shape, const Queue& queue);

// The hidden rows of a gated FFN: T rows of n values in the form that down needs; and separately the gates, if gate and
// up have different formats and cannot be multiplied together.
struct Hidden {
  void* rows = nullptr;
  int64_t n_rows = 0;
  bool in_bytes = false;
  float* gates = nullptr;

  Hidden() = default;
  Hidden(const FfnWeights& w, int64_t T, bool in_bytes, std::byte* memory);

  // Four bytes for each value. With two formats (in_halves) that is enough only for half of the tokens at a time.
  static int64_t bytes(int64_t T, int64_t n);
  static bool in_halves(const FfnWeights& w);

  TileInput input(const FfnWeights& w) const;
};

// Queues hidden = silu(gate x) * (up x). `product` says which tokens go through which matrix.
void gated_product(const FfnWeights& w, TileShape shape, TileProduct product, const TileInput& x, const Hidden& hidden,
                   const Queue& queue);

}  // namespace hearth::gpu
