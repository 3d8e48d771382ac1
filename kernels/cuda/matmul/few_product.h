// The product of which the operations for few tokens are made (few_kernel.cuh): up to 64 tokens times rows of weights,
// and the layout of their activations. All pointers are device pointers.
#pragma once

#include "kernels/cuda/matmul/tile_product.h"

namespace hearth::gpu::few {

inline constexpr int kWarps = 4, kThreads = 32 * kWarps, kWarpRows = 32;

// A row of activations: each value as two bf16, the rounded one and the rounded remainder, in the order in which lanes
// read them. Tensor cores multiply slices of 16 along k, of which each of four lanes has four values; what a lane has
// lies in 16 bytes: its four rounded values, then their remainders. Behind the row's values are zeros up to a multiple
// of 128.
//
// Which values of a slice a lane has is free, as long as weights agree:
//   quads    lane c has values 4 c .. 4 c + 3 of 16 neighbours: what four neighbouring bytes of a block hold
//   octets   lane c has 8 neighbours, 8 c .. 8 c + 7 of 32, in two slices: 16 bytes of 16-bit floats
enum class Lanes : uint8_t { quads, octets };
inline constexpr int kSpan = 128, kSliceBytes = 64;

// An odd multiple of 64: two neighbouring rows, whose slices are read together, then lie in different banks of L1.
constexpr HEARTH_HD int64_t row_bytes(int64_t k) {
  return (k + kSpan - 1) / kSpan * (4 * kSpan) + 64;
}
inline constexpr int kRemainder = 8;  // bytes from a rounded value to its remainder
// Where value i lies in its row.
constexpr HEARTH_HD unsigned value_at(Lanes lanes, unsigned i) {
  return lanes == Lanes::quads ? i / 16 * kSliceBytes + i / 4 % 4 * 16 + i % 4 * 2
                               : (i / 32 * 2 + i / 4 % 2) * kSliceBytes + i / 8 % 4 * 16 + i % 4 * 2;
}
// The first of the four values at 16 * place.
constexpr HEARTH_HD unsigned first_value(Lanes lanes, unsigned place) {
  return lanes == Lanes::quads ? 4 * place : place / 8 * 32 + place % 4 * 8 + place / 4 % 2 * 4;
}

// As TileProduct, with activations and hidden rows in the layout above.
struct Product {
  WeightRows w, up;                 // up.data null: none
  int n = 0, k = 0;                 // rows of w (and of up), and their weights
  const std::byte* x = nullptr;     // rows of row_bytes(k)
  int64_t x_matrix_stride = 0;      // bytes from matrix to matrix, if all tokens go through each (heads)
  const int32_t* x_rows = nullptr;  // [n_tokens] row of x for each token; null: row t for token t
  std::byte* hidden = nullptr;      // set: outputs go here as rows of row_bytes(n) for down, whose lanes have
  Lanes hidden_lanes = Lanes::quads;
  float* y = nullptr;  // else here
  int64_t y_stride = 0, y_matrix_stride = 0;
  const float* gate = nullptr;  // [n_tokens, n]; set: the output is silu(gate) * (w x)
  int n_tokens = 0, n_matrices = 1;
  int split_bits = 0;  // 1 << split_bits warps share rows, 1, 2 or 4, and divide k
  // Set if each token has its own matrix (experts): as in TileProduct, in tiles of tile_tokens(tiles).
  const TileWork* work = nullptr;
  const int32_t* n_work = nullptr;
  int max_work = 0;
};

// Tokens that a block multiplies at once: 8, 16 or 64, in tiles of 8. Tiles without a token are left out.
enum class Tiles : uint8_t { one, two, eight };
constexpr int tile_tokens(Tiles tiles) {
  return tiles == Tiles::one ? 8 : tiles == Tiles::two ? 16 : 64;
}

// Queues the product for weights in a format, which is not F32. Outputs must not overlap anything that is read.
void product(FormatId format, Tiles tiles, const Product& product, const Queue& queue);

// The same for one family of formats; false: the format is not of that family.
bool floats(FormatId format, Tiles tiles, const Product& product, const Queue& queue);
bool small_blocks(FormatId format, Tiles tiles, const Product& product, const Queue& queue);
bool large_blocks(FormatId format, Tiles tiles, const Product& product, const Queue& queue);
bool codebooks(FormatId format, Tiles tiles, const Product& product, const Queue& queue);
bool iqk(FormatId format, Tiles tiles, const Product& product, const Queue& queue);

}  // namespace hearth::gpu::few
