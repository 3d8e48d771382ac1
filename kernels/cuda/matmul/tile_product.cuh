// y [T,n] = x [T,k] * W [n,k]^T on tensor cores: bf16 inputs, float32 sums. For all formats but F32. Medium and large
// tiles round weights and tokens to bf16. Tiny and small tiles take weights exactly and keep 16 bits of the tokens:
// tokens come in two parts, the rounded value and the remainder, and weights as exact levels, whose scales are applied
// to the sums (tile_sums.cuh).
//
// A block computes a tile of tokens x weight rows and walks along k. In each step a thread has 64 weights of one row:
// their bytes are read into registers before the multiplications of the step before, and decoded into shared memory
// after those (weight_run.cuh). The tokens' bf16 values come by asynchronous copies. Shared memory has two buffers of
// each, so a step needs one barrier. Pieces of 16 bytes are swizzled: at one place in k, eight rows are in eight
// different groups of banks, for ldmatrix and for the stores of the decoders.
//
// Gate and up of an FFN are one product: groups of eight rows of the two alternate in the weight tile, so that both
// sums of an output are in the same tile and the activation function costs nothing. Experts come as a list of (matrix,
// tokens), made on the device; the copies gather their tokens.
//
// Bound: from about 128 tokens on tensor cores and shared memory (64 x 64 sums per warp: 8 ldmatrix for 32 mma); below
// that decoding, which every tile of tokens repeats for each weight; with the fewest tokens the bytes of the weights.
// With 32 tokens, decoding a weight and scaling its sums take about as many cycles as multiplying it with both parts.
#pragma once

#include "kernels/cuda/matmul/tile_store.cuh"
#include "kernels/cuda/matmul/tile_sums.cuh"
#include "kernels/cuda/matmul/weight_share.cuh"

namespace hearth::gpu {
namespace {

using TinyTile = Tile<16, 2, 32, 128, 16, 32, 6>;
using SmallTile = Tile<32, 2, 32, 128, 32, 32, 4>;
using MediumTile = Tile<64, 1, 128, 64, 64, 32, 3>;
using LargeTile = Tile<128, 1, 128, 64, 64, 64, 2>;

// This thread's share of a step of the tokens: pieces of rows that are kThreads / kPieces apart.
template <class Tile>
struct TokenCopies {
  static constexpr int kRowsApart = Tile::kThreads / Tile::kPieces;
  static constexpr int kCopies = Tile::kTokens / kRowsApart;
  static_assert(kCopies * kRowsApart == Tile::kTokens);
  const uint4* x;
  int low;            // distance to the second part (the remainders), in pieces
  int from[kCopies];  // where each row starts, in pieces; -1: there is no such token
  int piece, n_pieces;

  GPU_FN TokenCopies(const TileProduct& p, const TileWork& work) {
    x = static_cast<const uint4*>(p.x) + (p.work ? 0 : work.matrix * (p.x_matrix_stride / 8));
    low = int(p.x_low / 8);
    piece = int(threadIdx.x) % Tile::kPieces;
    n_pieces = (p.k + 7) / 8;
    GPU_UNROLL
    for (int i = 0; i < kCopies; ++i) {
      const int row = int(threadIdx.x) / Tile::kPieces + i * kRowsApart;
      from[i] = -1;
      if (row < work.n) {
        const int token = work.first + row;
        from[i] = (p.x_rows ? p.x_rows[token] : token) * int(p.x_stride / 8);
      }
    }
  }
  GPU_FN void start(int step, uint4* to) const {
    const int at = step * Tile::kPieces + piece;
    GPU_UNROLL
    for (int i = 0; i < kCopies; ++i) {
      const int row = int(threadIdx.x) / Tile::kPieces + i * kRowsApart;
      const bool valid = from[i] >= 0 && at < n_pieces;
      GPU_UNROLL
      for (int part = 0; part < Tile::kParts; ++part) {
        cp_async_16(&to[part * Tile::kPart + swizzled<Tile::kPieces>(row, piece)],
                    x + (valid ? part * low + from[i] + at : 0), valid);
      }
    }
    cp_async_commit();
  }
};

// Writes the tile's outputs from the sums in shared memory.
template <class Tile>
GPU_FN void store_tile(const TileProduct& p, const TileWork& work, const float* sums) {
  const auto sum_of = [&](int token, int row) {
    float sum = 0;
    GPU_UNROLL
    for (int share = 0; share < Tile::kWarpsAlongStep; ++share) sum += sums[Sums<Tile>::place(share, token, row)];
    return sum;
  };
  const int columns = p.up.data ? Tile::kRows / 2 : Tile::kRows;  // each thread stores one of the columns
  const int i = int(threadIdx.x) % columns, row = p.up.data ? i / 8 * 16 + i % 8 : i;
  for (int token = int(threadIdx.x) / columns; token < work.n; token += Tile::kThreads / columns) {
    const float sum = sum_of(token, row), value = p.up.data ? silu(sum) * sum_of(token, row + 8) : sum;
    store_output(p, work.matrix, work.first + token, int(blockIdx.y) * columns + i, value);
  }
}

template <class Tile, class Block>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks - kFewerBlocks<Block>) tile_kernel(TileProduct p) {
  GPU_DYNAMIC_SHARED(uint4, shared);  // two stages: tokens, then weights
  constexpr int kWeightsAt = Tile::kParts * Tile::kPart;
  TileWork work;
  if (!find_work(p, Tile::kTokens, work)) return;

  const TokenCopies<Tile> tokens(p, work);
  WeightShare<Tile, Block> weights(p, work.matrix);
  Sums<Tile> sums;
  const int n_steps = (p.k + Tile::kStep - 1) / Tile::kStep;
  for (int step = -1; step < n_steps; ++step) {  // multiplies `step`, loads step + 1
    const uint4* const now = shared + (step & 1) * Tile::kStage;
    uint4* const next = shared + ((step + 1) & 1) * Tile::kStage;
    cp_async_wait<0>();
    __syncthreads();  // this step is complete, and nobody reads the one before
    if (step + 1 < n_steps) {
      tokens.start(step + 1, next);
      weights.load(step + 1);
    }
    if (step >= 0) sums.multiply(now, now + kWeightsAt, weights.scales);
    if (step + 1 < n_steps) {
      uint4* const to = next + kWeightsAt;
      const int first = weights.run_of_step * (kRun / 8);
      weights.decode(step + 1, [&](int i, const uint4& piece) {
        to[swizzled<Tile::kPieces>(weights.tile_row, first + i)] = piece;
      });
    }
  }
  __syncthreads();  // nobody reads the last step any more
  float* const results = reinterpret_cast<float*>(shared);
  sums.put(results);
  __syncthreads();
  store_tile<Tile>(p, work, results);
}

template <class Tile, class Block>
void launch_tiles(const TileProduct& p, const Queue& queue) {
  const int rows = p.up.data ? Tile::kRows / 2 : Tile::kRows;
  const dim3 grid(unsigned(p.work ? p.max_work : (p.n_tokens + Tile::kTokens - 1) / Tile::kTokens),
                  unsigned((p.n + rows - 1) / rows), unsigned(p.n_matrices));
  launch("tile_product", tile_kernel<Tile, Block>, grid, dim3(Tile::kThreads), Tile::kSharedBytes, queue, p);
}

}  // namespace

template <class Block>
void tile_product_of(TileShape shape, const TileProduct& p, const Queue& queue) {
  switch (shape) {
    case TileShape::tiny:
      return launch_tiles<TinyTile, Block>(p, queue);
    case TileShape::small:
      return launch_tiles<SmallTile, Block>(p, queue);
    case TileShape::medium:
      return launch_tiles<MediumTile, Block>(p, queue);
    case TileShape::large:
      return launch_tiles<LargeTile, Block>(p, queue);
  }
}

}  // namespace hearth::gpu
