// y [T,n] = x [T,k] * W [n,k]^T on tensor cores in integers: exact levels of weights, a byte each, times 16-bit levels
// of activations, two bytes each (TokenGroup). For medium and large tiles of integer formats where bf16 products with
// float sums have half of the tensor cores' rate (Queue::halved_float_sums): two int8 products take half of one bf16
// product's time, and lose less than rounding to bf16 does.
//
// For each scale of weights (16, 32 or 64 of a step's 64 along k) the high bytes are multiplied, their products times
// 256 are what the low ones' are added to, and that sum, exact in int (64 * 2^7 * 2^15 at most), becomes one float,
// which the scale multiplies; the min multiplies the sum of the tokens' levels, which came with them. The tokens'
// scales belong to 64 values.
//
// A block computes a tile of tokens x 128 weight rows and walks along k, each warp 64 tokens x 32 rows. Tokens come by
// asynchronous copies, weights as in tile_product.cuh, in two buffers. A large tile has twice as many threads as rows
// of weights, so its halves take turns: one decodes a step, then the other. In a multiprocessor of GeForce with its 100
// KB of shared memory there is room for one large tile or two medium ones, eight warps in either case.
//
// Bound (tests/kernels/cuda/counts/forecast.py --tiles): tensor cores and, as much, instructions. Of two products four
// values each are shifted, converted, and multiplied with the scales of weights and tokens, and with mins. With scales
// of 16 weights that is twice as much for the same work, and instructions are the bound. Code for 8.6 and later
// converts integers at the rate of integer additions; that for 8.0 would at a quarter of it.
#pragma once

#include "kernels/cuda/matmul/tile_store.cuh"
#include "kernels/cuda/matmul/weight_share.cuh"

// Only kernels that are launched somewhere are compiled: data-centre GPUs have no use for these (and no room in a build
// that is carried to one).
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 900 || __CUDA_ARCH__ / 100 == 10)
#define HEARTH_BYTE_TILES 0
#else
#define HEARTH_BYTE_TILES 1
#endif

namespace hearth::gpu {
namespace {

template <int tokens, int blocks_per_processor>
struct ByteTile {
  static constexpr int kTokens = tokens, kRows = 128, kStep = kRun, kBlocks = blocks_per_processor;
  static constexpr int kWarpTokens = 64, kWarpRows = 32, kWarpsAlongTokens = tokens / kWarpTokens;
  static constexpr int kThreads = 32 * kWarpsAlongTokens * (kRows / kWarpRows);
  static constexpr int kDecoders = kThreads / kRows;  // groups of threads that decode a step each in turn
  static constexpr int kPieces = kStep / 16;          // pieces of 16 bytes in a row of a step
  static constexpr Form kForm = Form::bytes;
  static_assert(kThreads % kRows == 0 && kStep == TokenGroup::kValues);
};

using MediumByteTile = ByteTile<64, 2>;
using LargeByteTile = ByteTile<128, 1>;

// The place of piece p of a row of four: at one place in k, eight rows are in eight different groups of four banks.
HEARTH_HD constexpr int byte_place(int row, int p) {
  return row * 4 + (p ^ (row >> 1 & 3));
}
template <class Place>
constexpr bool in_different_banks(Place place) {
  int groups = 0;
  for (int l = 0; l < 8; ++l) groups |= 1 << place(l) % 8;
  return groups == 0xff;
}
static_assert(in_different_banks([](int l) { return byte_place(l, 2); }), "ldmatrix, stores");
static_assert(in_different_banks([](int l) { return byte_place(l / 2 % 2 + l / 4 * 4, 2 + l % 2); }), "copies");

// A step of a tile.
template <class Tile, class Block>
struct ByteStage {
  using Scales = RunScales<Block>;
  static constexpr int kPlane = Tile::kTokens * Tile::kPieces;
  uint4 planes[2 * kPlane];  // of tokens: high bytes, low bytes
  uint4 levels[Tile::kRows * Tile::kPieces];
  // Of tokens what mins are multiplied with, by scales of weights; and (with two, the fourth is nothing) their own
  // scales.
  static constexpr bool kSums = Scales::kMins, kTogether = kSums && Scales::kCount == 2;
  float sums[kSums ? Tile::kTokens : 1][4];
  // Read in pairs.
  alignas(16) float scales[Scales::kCount][Tile::kRows], mins[Scales::kMins ? Scales::kCount : 1][Tile::kRows];
  float token_scales[kTogether ? 1 : Tile::kTokens];
};

// This thread's share of a step of the tokens: half of the pieces of one row or of two. Two neighbouring lanes copy a
// sector of 32 bytes. Of eight lanes the rows are r, r + 1, r + 4 and r + 5, whose pieces are in different banks.
template <class Tile, class Block>
struct GroupCopies {
  static constexpr int kRowsApart = Tile::kThreads / 2, kRows = Tile::kTokens / kRowsApart;
  const TokenGroup* x;
  int from[kRows];  // the first group of each row; -1: there is no such token

  GPU_FN static int row_of_thread() {
    const int pair = int(threadIdx.x) / 2;
    return (pair & ~7) | (pair & 1) | (pair & 2) << 1 | (pair & 4) >> 1;
  }
  GPU_FN GroupCopies(const TileProduct& p, const TileWork& work) {
    x = static_cast<const TokenGroup*>(p.x) + (p.work ? 0 : work.matrix * (p.x_matrix_stride / TokenGroup::kValues));
    GPU_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int row = row_of_thread() + i * kRowsApart;
      from[i] = -1;
      if (row < work.n) {
        const int token = work.first + row;
        from[i] = (p.x_rows ? p.x_rows[token] : token) * int(p.x_stride / TokenGroup::kValues);
      }
    }
  }
  GPU_FN void start(int step, ByteStage<Tile, Block>& to) const {
    const int half = int(threadIdx.x) % 2;
    GPU_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int row = row_of_thread() + i * kRowsApart;
      const bool valid = from[i] >= 0;
      const TokenGroup& group = x[valid ? from[i] + step : 0];
      GPU_UNROLL
      for (int pair = 0; pair < Tile::kPieces; ++pair) {
        const int plane = pair / (Tile::kPieces / 2), piece = 2 * pair % Tile::kPieces + half;
        cp_async_16(&to.planes[plane * to.kPlane + byte_place(row, piece)],
                    reinterpret_cast<const uint4*>(&group) + 2 * pair + half, valid);
      }
      if constexpr (to.kTogether) {
        if (half == 0) cp_async_16(to.sums[row], group.sums_of_32, valid);
      } else if (half == 0) {
        cp_async_4(&to.token_scales[row], &group.scale, valid);
      } else if constexpr (to.kSums) {
        cp_async_16(to.sums[row], group.sums_of_16, valid);
      }
    }
    cp_async_commit();
  }
};

// The sums of a warp: 16 tokens x 8 rows in each fragment.
template <class Tile, class Block>
struct ByteSums {
  using Stage = ByteStage<Tile, Block>;
  using Scales = RunScales<Block>;
  static constexpr int kAlongTokens = Tile::kWarpTokens / 16, kAlongRows = Tile::kWarpRows / 8;
  static constexpr int kSlicePieces = Scales::kGroups;
  float d[kAlongTokens][kAlongRows][4];
  int first_token, first_row;  // in the tile

  GPU_FN ByteSums() {
    GPU_UNROLL
    for (int i = 0; i < kAlongTokens; ++i) {
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; ++j) {
        GPU_UNROLL
        for (int e = 0; e < 4; ++e) d[i][j][e] = 0;
      }
    }
    first_token = warp_of_thread() % Tile::kWarpsAlongTokens * Tile::kWarpTokens;
    first_row = warp_of_thread() / Tile::kWarpsAlongTokens * Tile::kWarpRows;
  }

  // Fragments of a slice, which is what a scale of weights belongs to: matrices of 8 rows x 16 bytes. For 16 tokens:
  // the upper and the lower eight of each piece of the high bytes, then of the low ones. For this warp's rows: the
  // pieces of each eight.
  GPU_FN void load_tokens(const uint4* planes, int g, int i, uint32_t (&a)[kSlicePieces][4]) const {
    GPU_UNROLL
    for (int c = 0; c < kSlicePieces; ++c) {
      const int m = 4 * c + lane_of_thread() / 8, plane = m / (2 * kSlicePieces), piece = m / 2 % kSlicePieces;
      const int row = first_token + 16 * i + m % 2 * 8 + lane_of_thread() % 8;
      ldmatrix_x4(a[c], &planes[plane * Stage::kPlane + byte_place(row, g * kSlicePieces + piece)]);
    }
  }
  GPU_FN void load_rows(const uint4* levels, int g, uint32_t (&b)[kSlicePieces][kAlongRows]) const {
    static_assert(kAlongRows == 4);
    GPU_UNROLL
    for (int c = 0; c < kSlicePieces; ++c) {
      const int m = 4 * c + lane_of_thread() / 8;
      const int row = first_row + m / kSlicePieces * 8 + lane_of_thread() % 8;
      ldmatrix_x4(b[c], &levels[byte_place(row, g * kSlicePieces + m % kSlicePieces)]);
    }
  }

  // A plane of 16 tokens times rows 8 j .. 8 j + 7, one slice.
  GPU_FN static void multiply_plane(int (&products)[4], const uint32_t (&a)[kSlicePieces][4], int plane,
                                    const uint32_t (&b)[kSlicePieces][kAlongRows], int j) {
    if constexpr (kSlicePieces == 1) {
      mma_s8_k16(products, a[0][2 * plane], a[0][2 * plane + 1], b[0][j]);
    } else if constexpr (kSlicePieces == 2) {
      mma_s8(products, a[plane], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    } else {
      mma_s8(products, a[2 * plane], b[j][0], b[j][1]);
      mma_s8(products, a[2 * plane + 1], b[j][2], b[j][3]);
    }
  }

  GPU_FN static float token_scale(const Stage& stage, int token) {
    return Stage::kTogether ? stage.sums[token][2] : stage.token_scales[token];
  }

  // Multiplies a step. Neither is the loop over scales unrolled, nor are the high and the low bytes multiplied at the
  // same time: it would take more registers than there are.
  GPU_FN void multiply(const Stage& stage) {
    const int column = first_row + lane_of_thread() % 4 * 2;
    GPU_NO_UNROLL
    for (int g = 0; g < Scales::kCount; ++g) {
      uint32_t b[kSlicePieces][kAlongRows];
      load_rows(stage.levels, g, b);
      float2 scales[kAlongRows];
      [[maybe_unused]] float2 mins[kAlongRows];
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; ++j) {
        scales[j] = *reinterpret_cast<const float2*>(&stage.scales[g][column + 8 * j]);
        if constexpr (Scales::kMins) mins[j] = *reinterpret_cast<const float2*>(&stage.mins[g][column + 8 * j]);
      }
      GPU_UNROLL
      for (int i = 0; i < kAlongTokens; ++i) {
        const int token = first_token + 16 * i + lane_of_thread() / 4;
        const float token_scales[2] = {token_scale(stage, token), token_scale(stage, token + 8)};
        [[maybe_unused]] float token_sums[2];
        if constexpr (Scales::kMins) token_sums[0] = stage.sums[token][g], token_sums[1] = stage.sums[token + 8][g];
        uint32_t a[kSlicePieces][4];
        load_tokens(stage.planes, g, i, a);
        GPU_UNROLL
        for (int j = 0; j < kAlongRows; ++j) {
          int products[4] = {};
          multiply_plane(products, a, 0, b, j);
          GPU_UNROLL
          for (int e = 0; e < 4; ++e) products[e] *= 256;
          multiply_plane(products, a, 1, b, j);
          GPU_UNROLL
          for (int e = 0; e < 4; ++e) {
            float value = (e % 2 ? scales[j].y : scales[j].x) * float(products[e]);
            if constexpr (Scales::kMins) value -= (e % 2 ? mins[j].y : mins[j].x) * token_sums[e / 2];
            d[i][j][e] += token_scales[e / 2] * value;
          }
        }
      }
    }
  }

  // The sums of fragments i of all warps in shared memory, [token][row]: the order of groups of eight rows depends on
  // the token, so that eight tokens are in different banks. A token of these is number 16 (warp along tokens) + its
  // number in the fragment.
  static constexpr int kTokensAtOnce = 16 * Tile::kWarpsAlongTokens;
  GPU_FN static int place(int token, int row) { return token * Tile::kRows + (row ^ (token & 7) * 8); }
  GPU_FN void put(const float (&of_rows)[kAlongRows][4], float* shared) const {
    const int lane = lane_of_thread();
    GPU_UNROLL
    for (int j = 0; j < kAlongRows; ++j) {
      GPU_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int token = first_token / Tile::kWarpTokens * 16 + 8 * half + lane / 4;
        *reinterpret_cast<float2*>(&shared[place(token, first_row + 8 * j + 2 * (lane % 4))]) =
            float2{of_rows[j][2 * half], of_rows[j][2 * half + 1]};
      }
    }
  }
  // Writes the outputs, 16 tokens of each warp at a time: more would not fit beside another block.
  GPU_FN void store(const TileProduct& p, const TileWork& work, float* shared) const {
    static_assert(kTokensAtOnce * Tile::kRows * sizeof(float) <= 2 * sizeof(Stage));
    const int columns = p.up.data ? Tile::kRows / 2 : Tile::kRows;  // each thread stores one of the columns
    const int column = int(threadIdx.x) % columns, row = p.up.data ? column / 8 * 16 + column % 8 : column;
    GPU_UNROLL
    for (int i = 0; i < kAlongTokens; ++i) {
      __syncthreads();  // nobody reads what was there before
      put(d[i], shared);
      __syncthreads();
      GPU_NO_UNROLL
      for (int t = int(threadIdx.x) / columns; t < kTokensAtOnce; t += Tile::kThreads / columns) {
        const int token = t / 16 * Tile::kWarpTokens + 16 * i + t % 16;
        if (token >= work.n) continue;
        const float sum = shared[place(t, row)], value = p.up.data ? silu(sum) * shared[place(t, row + 8)] : sum;
        store_output(p, work.matrix, work.first + token, int(blockIdx.y) * columns + column, value);
      }
    }
  }
};

template <class Tile, class Block>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks - kFewerBlocks<Block>)
    byte_kernel([[maybe_unused]] TileProduct p) {
#if HEARTH_BYTE_TILES
  using Stage = ByteStage<Tile, Block>;
  GPU_DYNAMIC_SHARED(Stage, stages);  // two
  TileWork work;
  if (!find_work(p, Tile::kTokens, work)) return;

  const GroupCopies<Tile, Block> tokens(p, work);
  WeightShare<Tile, Block> weights(p, work.matrix);
  ByteSums<Tile, Block> sums;
  const int n_steps = (p.k + Tile::kStep - 1) / Tile::kStep;
  for (int step = -1; step < n_steps; ++step) {  // multiplies `step`, loads step + 1
    Stage& next = stages[(step + 1) & 1];
    const bool mine = step + 1 < n_steps && (step + 1) % Tile::kDecoders == int(threadIdx.x) / Tile::kRows;
    cp_async_wait<0>();
    __syncthreads();  // this step is complete, and nobody reads the one before
    if (step + 1 < n_steps) tokens.start(step + 1, next);
    if (mine) weights.load(step + 1);
    if (step >= 0) sums.multiply(stages[step & 1]);
    if (mine) {
      const int row = weights.tile_row;
      uint4 sixteen{};
      weights.decode(step + 1, [&](int i, const uint2& eight) {
        if (i % 2 == 0) {
          sixteen.x = eight.x, sixteen.y = eight.y;
        } else {
          sixteen.z = eight.x, sixteen.w = eight.y;
          next.levels[byte_place(row, i / 2)] = sixteen;
        }
      });
      GPU_UNROLL
      for (int g = 0; g < RunScales<Block>::kCount; ++g) {
        next.scales[g][row] = weights.scales.scale[g];
        if constexpr (RunScales<Block>::kMins) next.mins[g][row] = weights.scales.min[g];
      }
    }
  }
  find_work(p, Tile::kTokens, work);  // again: in the loop there is no register for it
  sums.store(p, work, reinterpret_cast<float*>(stages));
#endif
}

template <class Tile, class Block>
void launch_byte_tiles(const TileProduct& p, const Queue& queue) {
  const int rows = p.up.data ? Tile::kRows / 2 : Tile::kRows;
  const dim3 grid(unsigned(p.work ? p.max_work : (p.n_tokens + Tile::kTokens - 1) / Tile::kTokens),
                  unsigned((p.n + rows - 1) / rows), unsigned(p.n_matrices));
  launch("byte_product", byte_kernel<Tile, Block>, grid, dim3(Tile::kThreads), 2 * sizeof(ByteStage<Tile, Block>),
         queue, p);
}

}  // namespace

template <class Block>
void byte_product_of(TileShape shape, const TileProduct& p, const Queue& queue) {
  if (shape == TileShape::large) {
    launch_byte_tiles<LargeByteTile, Block>(p, queue);
  } else {
    launch_byte_tiles<MediumByteTile, Block>(p, queue);
  }
}

}  // namespace hearth::gpu
