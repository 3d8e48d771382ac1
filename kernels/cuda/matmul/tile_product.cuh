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

// This thread's share of a step of the weights: one run.
template <class Tile, class Block>
struct WeightShare {
  static constexpr int kRunsOfRow = Tile::kStep / kRun;
  static constexpr int kStepsAhead = 4;  // steps from prefetching to loading
  const std::byte *row, *end;
  int tile_row, run_of_step, k;
  WeightRun<Block> bytes;
  RunScales<Block> scales;  // with levels: those of the run that was decoded last

  // Instead of a row that does not exist the last row is read again; the results are not stored.
  GPU_FN WeightShare(const TileProduct& p, int matrix) {
    constexpr bool kRowPerLane = Tile::kForm == Form::levels;
    tile_row = kRowPerLane ? lane_of_thread() : int(threadIdx.x) / kRunsOfRow;
    run_of_step = kRowPerLane ? warp_of_thread() : int(threadIdx.x) % kRunsOfRow;
    k = p.k;
    const bool second = p.up.data && (tile_row & 8);
    const int i = p.up.data ? int(blockIdx.y) * (Tile::kRows / 2) + tile_row / 16 * 8 + tile_row % 8
                            : int(blockIdx.y) * Tile::kRows + tile_row;
    const WeightRows& w = second ? p.up : p.w;
    row = w.data + size_t(matrix) * w.matrix_stride + size_t(min(i, p.n - 1)) * w.row_bytes;
    end = w.end;
    for (int step = 1; step < kStepsAhead; ++step) ask(step);
  }
  // Prefetches a step into L2. Otherwise a block would have only one step of loads under way and would wait for memory
  // in each; with few tokens there are too few blocks to hide that.
  GPU_FN void ask(int step) const {
    const int run = step * kRunsOfRow + run_of_step;
    if (run * kRun < k) prefetch_to_l2(row + int64_t(run) * kRun * int(sizeof(Block)) / Block::kElems);
  }
  GPU_FN void load(int step) {
    const int run = step * kRunsOfRow + run_of_step;
    ask(step + kStepsAhead);
    if (run * kRun < k) bytes.load(row, end, run, min(kRun, k - run * kRun));
  }
  GPU_FN void decode(int step, uint4* to) {
    const int run = step * kRunsOfRow + run_of_step, first = run_of_step * (kRun / 8);
    const auto store = [&](int i, const uint4& piece) { to[swizzled<Tile::kPieces>(tile_row, first + i)] = piece; };
    if (run * kRun < k) {
      const int n = min(kRun, k - run * kRun);
      bytes.template decode<Tile::kForm>(run, n, store);
      if constexpr (Tile::kForm == Form::levels) bytes.scales(run, n, scales);
    } else {
      scales = {};
      GPU_UNROLL
      for (int i = 0; i < kRun / 8; ++i) store(i, uint4{});
    }
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

// Lookups in long tables take the registers of one block.
template <class Block>
inline constexpr int kFewerBlocks = 0;
template <class Block>
requires(Block::Levels::kBits >= 5) inline constexpr int kFewerBlocks<Block> = 1;

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
    if (step + 1 < n_steps) weights.decode(step + 1, next + kWeightsAt);
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
