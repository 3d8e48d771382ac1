// The product of which the prefill operations are made: tiles of tokens times tiles of weight rows, on tensor cores in
// bf16 (tile_product.cuh) or in bytes (byte_product.cuh) or, for F32 weights, in float32 (tile_float32.cu). All
// pointers are device pointers.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/ops.h"
#include "quant/fp.h"

namespace hearth::gpu {

// Matrices of weights as kernels address them.
struct WeightRows {
  const std::byte* data = nullptr;
  const std::byte* end = nullptr;  // end of the last row of the last matrix; nothing is read from here on
  size_t row_bytes = 0, matrix_stride = 0;

  WeightRows() = default;
  explicit WeightRows(const Weight& w)
      : data(w.data),
        end(w.data + size_t(w.count - 1) * w.matrix_stride + size_t(w.n) * w.row_bytes),
        row_bytes(w.row_bytes),
        matrix_stride(w.matrix_stride) {}
};

// Tokens [first, first + n) of the inputs and outputs go through one matrix.
struct TileWork {
  int32_t matrix, first, n;
};

// 64 neighbouring activations of a token in 16 bits: activation = scale * level, level = 256 high + low. As many bytes
// as the floats that it is made of, so that it can take their place.
struct alignas(16) TokenGroup {
  static constexpr int kValues = 64;
  int8_t high[kValues], low[kValues];
  float sums_of_16[4], sums_of_32[2];  // of so many levels each
  float scale;
  float unused[25];
};
static_assert(sizeof(TokenGroup) == TokenGroup::kValues * sizeof(float));

// y[t, i] = sum_j x[t, j] w[i, j], or with `up` set y = silu(w x) * (up x), or with `gate` set y = silu(gate) * (w x).
struct TileProduct {
  WeightRows w, up;  // up.data null: none
  int n = 0, k = 0;  // rows of w (and of up), and their weights
  // Rows of k: bf16 padded with zeros to a multiple of 8; for F32 weights float32; or, where x_bytes, token groups (a
  // value is then 4 bytes).
  const void* x = nullptr;
  bool x_bytes = false;
  int64_t x_low = 0;                // bf16: values from x to the second plane (tile_input.h), the remainders
  const int32_t* x_rows = nullptr;  // [n_tokens] row of x for each token; null: row t for token t
  void* y = nullptr;  // rows of n float32; or, where y_bf16, of n bf16 padded with zeros to a multiple of 8
  bool y_bf16 = false;
  int64_t y_low = 0;                                 // for y, as x_low for x
  const float* gate = nullptr;                       // [n_tokens, n], no gaps
  int64_t x_stride = 0, y_stride = 0;                // values from token to token
  int64_t x_matrix_stride = 0, y_matrix_stride = 0;  // from matrix to matrix, if all tokens go through each (heads)
  int n_tokens = 0;
  int n_matrices = 1;
  // Set if each token has its own matrix (experts): the list of work and its length, both made on the device, and the
  // length that it cannot exceed.
  const TileWork* work = nullptr;
  const int32_t* n_work = nullptr;
  int max_work = 0;
};

// Tiny and small tiles multiply exact weights with both planes of the tokens, that is 16 bits of them, and give the
// same bits; medium and large tiles multiply weights rounded to bf16 with the first plane alone, or (byte_product.cuh)
// levels of weights with token groups, both in bytes.
enum class TileShape { tiny, small, medium, large };
constexpr bool keeps_16_bits(TileShape shape) {
  return shape == TileShape::tiny || shape == TileShape::small;
}
// Do tokens come to such tiles in bytes? Where bf16 products with float sums have half of the tensor cores' rate, of
// integer formats.
bool takes_bytes(FormatId format, TileShape shape, const Queue& queue);

// Tokens of a tile. A list of work is made for one such number.
constexpr int tile_tokens(TileShape shape) {
  return shape == TileShape::tiny ? 16 : shape == TileShape::small ? 32 : shape == TileShape::medium ? 64 : 128;
}

// The shape for n_tokens times n rows of each of n_matrices.
TileShape choose_tile(int64_t n_tokens, int64_t n, int64_t n_matrices);
// The shape where n_slots tokens are spread over n_experts; with `keep_16_bits`, of those that do.
TileShape choose_expert_tile(int64_t n_slots, int64_t n_experts, bool keep_16_bits = false);

// Queues the product for weights in a format. y must not overlap anything that is read.
void tile_product(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);

// The same for one family of formats; false: the format is not of that family. For F32 the shape does not matter.
bool tile_floats(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool tile_small_blocks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool tile_large_blocks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool tile_codebooks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool tile_iqk(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
void tile_product_float32(const TileProduct& product, const Queue& queue);
// Of tokens in bytes.
bool byte_small_blocks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool byte_large_blocks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool byte_codebooks(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);
bool byte_iqk(FormatId format, TileShape shape, const TileProduct& product, const Queue& queue);

// Length of a row of k bf16 values in scratch.
HEARTH_HD constexpr int64_t padded_to_8(int64_t k) {
  return (k + 7) / 8 * 8;
}
// Of k activations in token groups.
HEARTH_HD constexpr int64_t padded_to_groups(int64_t k) {
  return (k + TokenGroup::kValues - 1) / TokenGroup::kValues * TokenGroup::kValues;
}

}  // namespace hearth::gpu
