// y [T,n] = x [T,k] * W [n,k]^T on tensor cores: bf16 inputs, float32 sums. Any of the formats but F32. Weights are
// rounded to bf16, and so are tokens, but in small tiles those come in two parts, the rounded value and what rounding
// left: two products for each fragment of weights, and 16 bits of the tokens.
//
// A block makes a tile of tokens x weight rows and walks along k. Each step, a thread has 64 weights of one row: their
// bytes are read into registers before the multiplications of the step before and decoded to bf16 in shared memory
// after them (weight_run.cuh); the tokens' bf16 values come by asynchronous copies. Both lie in shared memory twice, so
// a step needs one barrier. Pieces of 16 bytes are swizzled: eight rows at one place in k are in eight different
// groups of banks, for ldmatrix and for the stores of the decoders.
//
// Gate and up of an FFN are one product: groups of eight rows of the two alternate in the weight tile, so that a thread
// holds both sums of an output and the activation function costs nothing. Experts come as a list of (matrix, tokens),
// made on the device; their tokens are gathered by the copies.
//
// Bound by tensor cores and shared memory from about 128 tokens (64 x 64 sums a warp: 8 ldmatrix for 32 mma), below
// that by decoding, of which each weight has one for each tile of tokens, and at last by the bytes of the weights: with
// 32 tokens, decoding a weight takes about as many cycles as multiplying it with both parts.
#pragma once

#include "kernels/cuda/tile_store.cuh"
#include "kernels/cuda/weight_run.cuh"

namespace hearth::gpu {
namespace {

// A tile, and what part of it each warp multiplies. There are as many threads as runs of weights in a step; warps that
// the tile does not need share a step between them.
template <int tokens, int parts, int rows, int step, int warp_tokens, int warp_rows, int blocks_per_processor>
struct Tile {
  static constexpr int kTokens = tokens, kParts = parts, kRows = rows, kStep = step;
  static constexpr int kWarpTokens = warp_tokens, kWarpRows = warp_rows, kBlocks = blocks_per_processor;
  static constexpr int kThreads = rows * step / kRun;
  static constexpr int kWarpsAlongTokens = tokens / warp_tokens, kWarpsAlongRows = rows / warp_rows;
  static constexpr int kWarpsAlongStep = kThreads / 32 / (kWarpsAlongTokens * kWarpsAlongRows);
  static constexpr int kPieces = step / 8;  // of 16 bytes in a row of a step
  static constexpr int kPart = tokens * kPieces;
  static constexpr int kStage = parts * kPart + rows * kPieces;
  static constexpr size_t kSharedBytes = 2 * kStage * sizeof(uint4);
  static_assert(kSharedBytes <= kMaxSharedBytes && tokens * rows * kWarpsAlongStep * sizeof(float) <= kSharedBytes);
  static_assert(kThreads % 32 == 0 && kThreads % rows == 0 && kWarpsAlongStep >= 1);
};
using SmallTile = Tile<32, 2, 32, 128, 32, 32, 4>;
using MediumTile = Tile<64, 1, 128, 64, 64, 32, 3>;
using LargeTile = Tile<128, 1, 128, 64, 64, 64, 2>;

// Where piece p of a row lies. Pieces from the ninth on are turned by four more, for the stores of decoders: eight
// threads have four rows' first and second runs.
template <int pieces>
HEARTH_HD constexpr int swizzled(int row, int p) {
  return row * pieces + (p ^ (row & 7) ^ (p >> 3) * 4);
}

// Whether eight pieces, of row_of(l) and piece_of(l), lie in the eight different groups of four banks.
template <int pieces, class Row, class Piece>
constexpr bool free_of_conflicts(Row row_of, Piece piece_of) {
  int groups = 0;
  for (int l = 0; l < 8; ++l) groups |= 1 << swizzled<pieces>(row_of(l), piece_of(l)) % 8;
  return groups == 0xff;
}
static_assert(free_of_conflicts<8>([](int l) { return l; }, [](int) { return 3; }), "ldmatrix, stores");
static_assert(free_of_conflicts<8>([](int) { return 5; }, [](int l) { return l; }), "copies");
static_assert(free_of_conflicts<16>([](int l) { return l; }, [](int) { return 11; }), "ldmatrix");
static_assert(free_of_conflicts<16>([](int l) { return l / 2; }, [](int l) { return l % 2 * 8 + 3; }), "stores");

// This thread's share of a step of the tokens: pieces of rows that are kThreads / kPieces apart.
template <class Tile>
struct TokenCopies {
  static constexpr int kRowsApart = Tile::kThreads / Tile::kPieces;
  static constexpr int kCopies = Tile::kTokens / kRowsApart;
  static_assert(kCopies * kRowsApart == Tile::kTokens);
  const uint4* x;
  int low;            // to what rounding left, in pieces
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
  static constexpr int kStepsAhead = 4;  // from asking to loading
  const std::byte *row, *end;
  int tile_row, run_of_step, k;
  WeightRun<Block> bytes;

  // The row that does not exist is the last one once more: what comes of it is not stored.
  GPU_FN WeightShare(const TileProduct& p, int matrix) {
    tile_row = int(threadIdx.x) / kRunsOfRow;
    run_of_step = int(threadIdx.x) % kRunsOfRow;
    k = p.k;
    const bool second = p.up.data && (tile_row & 8);
    const int i = p.up.data ? int(blockIdx.y) * (Tile::kRows / 2) + tile_row / 16 * 8 + tile_row % 8
                            : int(blockIdx.y) * Tile::kRows + tile_row;
    const WeightRows& w = second ? p.up : p.w;
    row = w.data + size_t(matrix) * w.matrix_stride + size_t(min(i, p.n - 1)) * w.row_bytes;
    end = w.end;
    for (int step = 1; step < kStepsAhead; ++step) ask(step);
  }
  // Into L2. With the loads alone a block has one step under way and waits for memory in each, which few blocks (few
  // tokens) do not hide from each other.
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
      bytes.decode(run, min(kRun, k - run * kRun), store);
    } else {
      GPU_UNROLL
      for (int i = 0; i < kRun / 8; ++i) store(i, uint4{});
    }
  }
};

// The sums of a warp: 16 tokens x 8 rows in each fragment.
template <class Tile>
struct Sums {
  static constexpr int kAlongTokens = Tile::kWarpTokens / 16, kAlongRows = Tile::kWarpRows / 8;
  float d[kAlongTokens][kAlongRows][4];
  int first_token, first_row, share;  // of the tile; of the step

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

  GPU_FN void multiply(const uint4* tokens, const uint4* weights) {
    constexpr int kSlices = Tile::kStep / 16 / Tile::kWarpsAlongStep;
    const int lane = lane_of_thread();
    GPU_UNROLL
    for (int s = 0; s < kSlices; ++s) {
      const int piece = 2 * (share * kSlices + s);
      uint32_t a[Tile::kParts][kAlongTokens][4];
      GPU_UNROLL
      for (int part = 0; part < Tile::kParts; ++part) {
        GPU_UNROLL
        for (int i = 0; i < kAlongTokens; ++i) {
          const int token = first_token + 16 * i + lane % 16;
          ldmatrix_x4(a[part][i], &tokens[part * Tile::kPart + swizzled<Tile::kPieces>(token, piece + lane / 16)]);
        }
      }
      GPU_UNROLL
      for (int j = 0; j < kAlongRows; j += 2) {
        uint32_t b[4];  // two fragments of eight rows
        ldmatrix_x4(
            b, &weights[swizzled<Tile::kPieces>(first_row + 8 * j + lane / 16 * 8 + lane % 8, piece + lane / 8 % 2)]);
        GPU_UNROLL
        for (int part = 0; part < Tile::kParts; ++part) {
          GPU_UNROLL
          for (int i = 0; i < kAlongTokens; ++i) {
            mma_bf16(d[i][j], a[part][i], b[0], b[1]);
            mma_bf16(d[i][j + 1], a[part][i], b[2], b[3]);
          }
        }
      }
    }
  }

  // Sums of the tile in shared memory, [share][token][row]: groups of eight rows are turned about by the token, so that
  // eight tokens lie in different banks.
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

// Writes the tile's outputs from the sums in shared memory.
template <class Tile>
GPU_FN void store_tile(const TileProduct& p, const TileWork& work, const float* sums) {
  const auto sum_of = [&](int token, int row) {
    float sum = 0;
    GPU_UNROLL
    for (int share = 0; share < Tile::kWarpsAlongStep; ++share) sum += sums[Sums<Tile>::place(share, token, row)];
    return sum;
  };
  const int columns = p.up.data ? Tile::kRows / 2 : Tile::kRows;  // a thread has one of them
  const int i = int(threadIdx.x) % columns, row = p.up.data ? i / 8 * 16 + i % 8 : i;
  for (int token = int(threadIdx.x) / columns; token < work.n; token += Tile::kThreads / columns) {
    const float sum = sum_of(token, row), value = p.up.data ? silu(sum) * sum_of(token, row + 8) : sum;
    store_output(p, work.matrix, work.first + token, int(blockIdx.y) * columns + i, value);
  }
}

template <class Tile, class Block>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) tile_kernel(TileProduct p) {
  GPU_DYNAMIC_SHARED(uint4, shared);  // two stages: tokens, then weights
  constexpr int kWeightsAt = Tile::kParts * Tile::kPart;
  TileWork work;
  if (!find_work(p, Tile::kTokens, work)) return;

  const TokenCopies<Tile> tokens(p, work);
  WeightShare<Tile, Block> weights(p, work.matrix);
  Sums<Tile> sums;
  const int n_steps = (p.k + Tile::kStep - 1) / Tile::kStep;
  for (int step = -1; step < n_steps; ++step) {  // multiplies step, gets step + 1
    const uint4* const now = shared + (step & 1) * Tile::kStage;
    uint4* const next = shared + ((step + 1) & 1) * Tile::kStage;
    cp_async_wait<0>();
    __syncthreads();  // this step is complete, and nobody reads the one before
    if (step + 1 < n_steps) {
      tokens.start(step + 1, next);
      weights.load(step + 1);
    }
    if (step >= 0) sums.multiply(now, now + kWeightsAt);
    if (step + 1 < n_steps) weights.decode(step + 1, next + kWeightsAt);
  }
  __syncthreads();  // the last step is read no more
  float* const results = reinterpret_cast<float*>(shared);
  sums.put(results);
  __syncthreads();
  store_tile<Tile>(p, work, results);
}

template <class Tile, class Block>
void launch_tiles(const TileProduct& p, cudaStream_t stream) {
  const int rows = p.up.data ? Tile::kRows / 2 : Tile::kRows;
  const dim3 grid(unsigned(p.work ? p.max_work : (p.n_tokens + Tile::kTokens - 1) / Tile::kTokens),
                  unsigned((p.n + rows - 1) / rows), unsigned(p.n_matrices));
  launch("tile_product", tile_kernel<Tile, Block>, grid, dim3(Tile::kThreads), Tile::kSharedBytes, stream, p);
}

}  // namespace

// Declared in tile_product.h; one instantiation for each format, in the file of its family.
template <class Block>
void tile_product_of(TileShape shape, const TileProduct& p, cudaStream_t stream) {
  switch (shape) {
    case TileShape::small:
      return launch_tiles<SmallTile, Block>(p, stream);
    case TileShape::medium:
      return launch_tiles<MediumTile, Block>(p, stream);
    case TileShape::large:
      return launch_tiles<LargeTile, Block>(p, stream);
  }
}

}  // namespace hearth::gpu
