// The shape of a tile of a product, its layout in shared memory, and a warp's sums.
//
// Where the tile has both parts of the tokens, tensor cores get levels, without their scale, because these are exact in
// bf16. The sums over the slices that share a scale are then multiplied with the scale, and the sums of the tokens
// (their product with ones) with the min. fp16 comes as it is and is split into two bf16 in registers.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul/weight_run.cuh"

namespace hearth::gpu {
namespace {

// A tile, and the part of it that each warp multiplies. There are as many threads as runs of weights in a step; if that
// is more warps than the tile has parts, kWarpsAlongStep warps share a part and divide the step.
template <int tokens, int parts, int rows, int step, int warp_tokens, int warp_rows, int blocks_per_processor>
struct Tile {
  static constexpr int kTokens = tokens, kParts = parts, kRows = rows, kStep = step;
  static constexpr int kWarpTokens = warp_tokens, kWarpRows = warp_rows, kBlocks = blocks_per_processor;
  static constexpr int kThreads = rows * step / kRun;
  static constexpr int kWarpsAlongTokens = tokens / warp_tokens, kWarpsAlongRows = rows / warp_rows;
  static constexpr int kWarpsAlongStep = kThreads / 32 / (kWarpsAlongTokens * kWarpsAlongRows);
  static constexpr int kPieces = step / 8;  // pieces of 16 bytes in a row of a step
  static constexpr int kPart = tokens * kPieces;
  static constexpr int kStage = parts * kPart + rows * kPieces;
  static constexpr size_t kSharedBytes = 2 * kStage * sizeof(uint4);
  static_assert(kSharedBytes <= kMaxSharedBytes && tokens * rows * kWarpsAlongStep * sizeof(float) <= kSharedBytes);
  static_assert(kThreads % 32 == 0 && kThreads % rows == 0 && kWarpsAlongStep >= 1);
  // With levels, a warp decodes the weights that it multiplies, each lane one row, and so has their scales in
  // registers.
  static constexpr Form kForm = parts == 2 ? Form::levels : Form::weights;
  static_assert(kForm == Form::weights || (rows == 32 && warp_rows == 32 && step / kRun == kWarpsAlongStep));
};

// The place of piece p of a row.
template <int pieces>
HEARTH_HD constexpr int swizzled(int row, int p) {
  return row * pieces + (p ^ (row & 7));
}

// Whether the eight pieces piece_of(l) of rows row_of(l) are in eight different groups of four banks.
template <int pieces, class Row, class Piece>
constexpr bool free_of_conflicts(Row row_of, Piece piece_of) {
  int groups = 0;
  for (int l = 0; l < 8; ++l) groups |= 1 << swizzled<pieces>(row_of(l), piece_of(l)) % 8;
  return groups == 0xff;
}
static_assert(free_of_conflicts<8>([](int l) { return l; }, [](int) { return 3; }), "ldmatrix, stores");
static_assert(free_of_conflicts<8>([](int) { return 5; }, [](int l) { return l; }), "copies");
static_assert(free_of_conflicts<16>([](int l) { return l; }, [](int) { return 11; }), "ldmatrix, stores");
static_assert(free_of_conflicts<16>([](int) { return 5; }, [](int l) { return 8 + l; }), "copies");

// The sums of a warp: 16 tokens x 8 rows in each fragment.
template <class Tile>
struct Sums {
  static constexpr int kAlongTokens = Tile::kWarpTokens / 16, kAlongRows = Tile::kWarpRows / 8;
  static constexpr int kSlices = Tile::kStep / 16 / Tile::kWarpsAlongStep;
  float d[kAlongTokens][kAlongRows][4];
  int first_token, first_row, share;  // first token and row in the tile; number of its share of the step

  GPU_FN Sums() {
    GPU_UNROLL
    for (int i = 0; i < kAlongTokens; ++i) {
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; ++j) {
        GPU_UNROLL
        for (int e = 0; e < 4; ++e) d[i][j][e] = 0;
      }
    }
    const int warp = warp_of_thread();
    first_token = warp % Tile::kWarpsAlongTokens * Tile::kWarpTokens;
    first_row = warp / Tile::kWarpsAlongTokens % Tile::kWarpsAlongRows * Tile::kWarpRows;
    share = warp / (Tile::kWarpsAlongTokens * Tile::kWarpsAlongRows);
  }

  // Fragments of slice s (16 along k) of this warp's share: for all its tokens, and for 16 rows.
  GPU_FN void load_tokens(const uint4* tokens, int s, uint32_t (&a)[Tile::kParts][kAlongTokens][4]) const {
    const int row = first_token + lane_of_thread() % 16, piece = 2 * (share * kSlices + s) + lane_of_thread() / 16;
    GPU_UNROLL
    for (int part = 0; part < Tile::kParts; ++part) {
      GPU_UNROLL
      for (int i = 0; i < kAlongTokens; ++i) {
        ldmatrix_x4(a[part][i], &tokens[part * Tile::kPart + swizzled<Tile::kPieces>(row + 16 * i, piece)]);
      }
    }
  }
  GPU_FN void load_rows(const uint4* weights, int s, int j, uint32_t (&b)[4]) const {
    const int lane = lane_of_thread(), row = first_row + 8 * j + lane / 16 * 8 + lane % 8;
    ldmatrix_x4(b, &weights[swizzled<Tile::kPieces>(row, 2 * (share * kSlices + s) + lane / 8 % 2)]);
  }

  // Fragments j and j + 1 of d (or only j, if there is one) += tokens * rows.
  template <int columns>
  GPU_FN static void multiply_rows(const uint32_t (&a)[kAlongTokens][4], const uint32_t (&b)[4],
                                   float (&d)[kAlongTokens][columns][4], int j) {
    GPU_UNROLL
    for (int i = 0; i < kAlongTokens; ++i) {
      mma_bf16(d[i][j], a[i], b[0], b[1]);
      if constexpr (columns > 1) mma_bf16(d[i][j + 1], a[i], b[2], b[3]);
    }
  }

  // Multiplies a step. With levels, `scales` of lane l are those of row l in this warp's share.
  template <class Block>
  GPU_FN void multiply(const uint4* tokens, const uint4* weights, const RunScales<Block>& scales) {
    if constexpr (Tile::kForm == Form::levels && RunScales<Block>::kAny) {
      multiply_levels(tokens, weights, scales);
    } else {
      multiply_floats<Tile::kForm == Form::levels && std::is_same_v<Block, BlockF16>>(tokens, weights);
    }
  }

  // Multiplies bf16 weights or, with `split`, fp16 ones.
  template <bool split>
  GPU_FN void multiply_floats(const uint4* tokens, const uint4* weights) {
    GPU_UNROLL
    for (int s = 0; s < kSlices; ++s) {
      uint32_t a[Tile::kParts][kAlongTokens][4];
      load_tokens(tokens, s, a);
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; j += 2) {
        uint32_t b[4], low[4];
        load_rows(weights, s, j, b);
        if constexpr (split) {
          GPU_UNROLL
          for (int i = 0; i < 4; ++i) split_halves(b[i], b[i], low[i]);
        }
        GPU_UNROLL
        for (int part = 0; part < Tile::kParts; ++part) {
          multiply_rows(a[part], b, d, j);
          if constexpr (split) multiply_rows(a[part], low, d, j);
        }
      }
    }
  }

  // d += scale * (tokens * levels) - min * (tokens * 1), for the slices of each scale.
  template <class Scales>
  GPU_FN void multiply_levels(const uint4* tokens, const uint4* weights, Scales scales) {
    static_assert(kSlices == kGroupsOfRun);
    constexpr uint32_t kOnes[4] = {0x3f803f80, 0x3f803f80};
    // Not unrolled: the fragments of several scales would be loaded at once and need more registers than there are.
    GPU_NO_UNROLL
    for (int g = 0; g < Scales::kCount; ++g, scales.advance()) {
      uint32_t a[Scales::kGroups][Tile::kParts][kAlongTokens][4];
      float token_sums[kAlongTokens][1][4] = {};
      GPU_UNROLL
      for (int s = 0; s < Scales::kGroups; ++s) {
        load_tokens(tokens, g * Scales::kGroups + s, a[s]);
        if constexpr (Scales::kMins) {
          GPU_UNROLL
          for (int part = 0; part < Tile::kParts; ++part) multiply_rows(a[s][part], kOnes, token_sums, 0);
        }
      }
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; j += 2) {
        float sums[kAlongTokens][2][4] = {};
        GPU_UNROLL
        for (int s = 0; s < Scales::kGroups; ++s) {
          uint32_t b[4];
          load_rows(weights, g * Scales::kGroups + s, j, b);
          GPU_UNROLL
          for (int part = 0; part < Tile::kParts; ++part) multiply_rows(a[s][part], b, sums, 0);
        }
        GPU_UNROLL
        for (int column = 0; column < 4; ++column) {  // this lane's columns in the two fragments
          const int next = column / 2, at = column % 2, row = 8 * (j + next) + lane_of_thread() % 4 * 2 + at;
          const float scale = __shfl_sync(kAllLanes, scales.scale[0], row);
          const float min = Scales::kMins ? __shfl_sync(kAllLanes, scales.min[0], row) : 0.0f;
          GPU_UNROLL
          for (int i = 0; i < kAlongTokens; ++i) {
            GPU_UNROLL
            for (int e = at; e < 4; e += 2) {
              if constexpr (Scales::kMins) d[i][j + next][e] -= min * token_sums[i][0][e / 2 * 2];
              d[i][j + next][e] += scale * sums[i][next][e];
            }
          }
        }
      }
    }
  }

  // Sums of the tile in shared memory, [share][token][row]: the order of groups of eight rows depends on the token, so
  // that eight tokens are in different banks.
  GPU_FN static int place(int share, int token, int row) {
    constexpr int kTurns = Tile::kRows / 8 < 8 ? Tile::kRows / 8 - 1 : 7;
    return (share * Tile::kTokens + token) * Tile::kRows + (row ^ (token & kTurns) * 8);
  }
  GPU_FN void put(float* shared) const {
    const int lane = lane_of_thread();
    GPU_UNROLL
    for (int i = 0; i < kAlongTokens; ++i) {
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; ++j) {
        GPU_UNROLL
        for (int half = 0; half < 2; ++half) {
          const int token = first_token + 16 * i + 8 * half + lane / 4, row = first_row + 8 * j + 2 * (lane % 4);
          *reinterpret_cast<float2*>(&shared[place(share, token, row)]) =
              float2{d[i][j][2 * half], d[i][j][2 * half + 1]};
        }
      }
    }
  }
};

}  // namespace
}  // namespace hearth::gpu
