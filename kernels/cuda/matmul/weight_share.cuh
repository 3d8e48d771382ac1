// A thread's share of the weights of a tile: in each step one run (weight_run.cuh), for tiles of bf16
// (tile_product.cuh) and of bytes (byte_product.cuh).
#pragma once

#include "kernels/cuda/matmul/tile_product.h"
#include "kernels/cuda/matmul/weight_run.cuh"

namespace hearth::gpu {
namespace {

// Lookups in long tables take the registers of one block.
template <class Block>
inline constexpr int kFewerBlocks = 0;
template <class Block>
requires(Block::Levels::kBits >= 5) inline constexpr int kFewerBlocks<Block> = 1;

// This thread's share of a step of the weights: one run.
template <class Tile, class Block>
struct WeightShare {
  static constexpr int kRunsOfRow = Tile::kStep / kRun;
  static constexpr int kStepsAhead = 4;  // steps from prefetching to loading
  const std::byte *row, *end;
  int tile_row, run_of_step, k;
  WeightRun<Block> bytes;
  RunScales<Block> scales;  // of levels: those of the run that was decoded last

  // Instead of a row that does not exist the last row is read again; the results are not stored.
  GPU_FN WeightShare(const TileProduct& p, int matrix) {
    constexpr bool kRowPerLane = Tile::kForm == Form::levels;
    tile_row = kRowPerLane ? lane_of_thread() : int(threadIdx.x) / kRunsOfRow;
    if constexpr (Tile::kForm == Form::bytes) tile_row %= Tile::kRows;
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
  // Gives store(i, piece) the eight pieces of the run.
  template <class Store>
  GPU_FN void decode(int step, Store store) {
    const int run = step * kRunsOfRow + run_of_step;
    if (run * kRun < k) {
      const int n = min(kRun, k - run * kRun);
      bytes.template decode<Tile::kForm>(run, n, store);
      if constexpr (Tile::kForm != Form::weights) bytes.scales(run, n, scales);
    } else {
      scales = {};
      GPU_UNROLL
      for (int i = 0; i < kRun / 8; ++i) store(i, Piece<Tile::kForm>{});
    }
  }
};

}  // namespace
}  // namespace hearth::gpu
