// y [T,n] = x [T,k] * W [n,k]^T for 2 to 64 tokens, on tensor cores: rows of weights are their left operand, 16 at a
// time, and tokens the right one, 8 at a time, so that no more is multiplied than there is. All formats but F32.
//
// A warp has 32 rows (or 16 of gate and the same 16 of up) and all tokens of the block's tile, and walks along k alone:
// it copies the bytes of its rows into shared memory asynchronously (few_copies.cuh), and each lane unpacks the
// fragments that it multiplies straight from those bytes (few_weights.cuh). Activations come in two bf16, 16 bits of
// them, laid out so that a lane gets both parts of what it needs for a slice of 16 along k in one read of 16 bytes
// (few_product.h), from L1: the warps of a block read the same ones. Levels of integer formats are exact in bf16; their
// scales are applied to sums over the 16 or 32 weights that share one. A min times the sum of the activations, which is
// their product with ones, is subtracted.
//
// Warps of a block either have rows of their own or divide k; their sums are added in shared memory, in an order that
// does not depend on timing, nor on the number of tokens.
//
// Bound: the bytes of the weights, up to about 16 tokens (docs/measurements.md, counted). A weight of Q4_K takes about
// 2 instructions, whatever the number of tokens, and one more for each 8 of them; shared memory and L1 take 24
// wavefronts for 1024 weights and 8 more for each 8 tokens. Not run on a GPU yet.
#pragma once

#include "kernels/cuda/matmul/few_weights.cuh"
#include "kernels/cuda/matmul/tile_store.cuh"

namespace hearth::gpu::few {
namespace {

// A lane's sums: of each 8 tokens, of 16 rows and the other 16, as the tensor core lays them out.
template <int n_tiles>
using Sums = float[n_tiles][2][4];

inline constexpr int kPartRow = kWarpRows + 4;  // floats; lanes of a fragment are then in different banks

template <class Block, int n_tiles>
struct Shared {
  static constexpr int kOwn = 2 * Stage<Block>::kStageBytes + Weights<Block>::kBytes;
  static constexpr int kPart = 8 * n_tiles * kPartRow * int(sizeof(float));  // when all is multiplied
  static constexpr int kWarp = kOwn > kPart ? kOwn : kPart;
  static_assert(kWarps * kWarp <= int(kMaxSharedBytes));
};

// Multiplies a sum's slices with all tokens. x: where the slices of tile t's token are, at x + at[t].
template <class W, int n_tiles>
GPU_FN void multiply(const W& weights, int sum, const Fragments (&a)[W::kSlicesOfSum], const std::byte* x,
                     const uint32_t (&at)[n_tiles], int n, const uint32_t (&all_ones)[4], Sums<n_tiles>& sums) {
  [[maybe_unused]] float4 scale, min;
  if constexpr (W::kScaled) {
    const int entry = sum * W::kScales / W::kSums * kWarpRows + lane_of_thread() / 4 * kLaneRows;
    scale = *reinterpret_cast<const float4*>(weights.scales + entry);
    if constexpr (W::kMins) min = *reinterpret_cast<const float4*>(weights.mins + entry);
  }
  GPU_UNROLL
  for (int t = 0; t < n_tiles; ++t) {
    if (t > 0 && 8 * t >= n) break;
    [[maybe_unused]] float d[2][4], ones[4];
    GPU_UNROLL
    for (int s = 0; s < W::kSlicesOfSum; ++s) {
      const uint4 b = *reinterpret_cast<const uint4*>(x + at[t] + (sum * W::kSlicesOfSum + s) * kSliceBytes);
      GPU_UNROLL
      for (int i = 0; i < 2; ++i) {
        if constexpr (!W::kScaled) {
          mma_bf16(sums[t][i], a[s][i], b.x, b.y);
        } else if (s == 0) {
          mma_bf16_anew(d[i], a[s][i], b.x, b.y);
        } else {
          mma_bf16(d[i], a[s][i], b.x, b.y);
        }
        mma_bf16(W::kScaled ? d[i] : sums[t][i], a[s][i], b.z, b.w);
      }
      if constexpr (W::kMins) {
        if (s == 0) {
          mma_bf16_anew(ones, all_ones, b.x, b.y);
        } else {
          mma_bf16(ones, all_ones, b.x, b.y);
        }
        mma_bf16(ones, all_ones, b.z, b.w);
      }
    }
    if constexpr (W::kScaled) {
      GPU_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int row = i / 2;
        const float of_row = row == 0 ? scale.x : row == 1 ? scale.y : row == 2 ? scale.z : scale.w;
        float& to = sums[t][i / 4][i % 4];
        to += of_row * d[i / 4][i % 4];
        if constexpr (W::kMins) {
          to -= (row == 0 ? min.x : row == 1 ? min.y : row == 2 ? min.z : min.w) * ones[i % 2];
        }
      }
    }
  }
}

// Adds the products of a slice of k. first_row: of the warp.
template <class Block, int n_tiles>
GPU_FN void multiply_rows(const Product& p, const TileWork& work, int first_row, int begin, int end, std::byte* shared,
                          Sums<n_tiles>& sums) {
  using S = Stage<Block>;
  using W = Weights<Block>;
  const int lane = lane_of_thread();
  const bool two = p.up.data != nullptr;
  const auto half_of_rows = [&](int half) {
    const WeightRows& w = two && half == 1 ? p.up : p.w;
    return w.data + size_t(work.matrix) * w.matrix_stride + size_t(first_row + (two ? 0 : 16 * half)) * w.row_bytes;
  };
  const int exist[2] = {p.n - first_row, p.n - first_row - (two ? 0 : 16)};
  constexpr int kHeader = int(kHeaderBytes<Block>);
  const int offset = kHeader + begin / S::kElems * S::kSize;
  Copies<Block> copies(half_of_rows, exist, p.w.row_bytes, offset, (end - begin) / S::kElems * S::kSize, shared);
  W weights(shared + 2 * S::kStageBytes);

  const auto address_of = [&](int row) { return half_of_rows(row / 16) + size_t(row % 16) * p.w.row_bytes; };
  if constexpr (kHeader != 0) weights.load_header(address_of(lane % 16 < (lane < 16 ? exist[0] : exist[1]) ? lane : 0));
  // Bytes before each row's first weight in its first 16 aligned bytes.
  uint32_t before[kLaneRows] = {}, before_own = 0;
  if constexpr (!S::kAligned) {
    GPU_UNROLL
    for (int j = 0; j < kLaneRows; ++j) {
      before[j] = uint32_t(reinterpret_cast<size_t>(address_of(lane / 4 + 8 * j)) + size_t(offset));
    }
    before_own = uint32_t(reinterpret_cast<size_t>(address_of(lane)) + size_t(offset));
  }

  const std::byte* x = p.x + (p.work ? 0 : work.matrix * p.x_matrix_stride) + int64_t(begin) * 4;
  uint32_t at[n_tiles];
  GPU_UNROLL
  for (int t = 0; t < n_tiles; ++t) {  // instead of a token that does not exist the last one; nobody stores its sums
    const int token = work.first + min(8 * t + lane / 4, work.n - 1);
    at[t] = uint32_t(p.x_rows ? p.x_rows[token] : token) * uint32_t(row_bytes(p.k)) + lane % 4 * 16;
  }

  // Kept in registers; as a constant it would be put into other ones for each product.
  uint32_t all_ones[4] = {};
  if constexpr (W::kMins) {
    GPU_UNROLL
    for (uint32_t& pair : all_ones) pair = 0x3f803f80u + uint32_t(work.n < 0);
  }

  int stage = 0;
  GPU_NO_UNROLL
  for (int k = begin; k < end; k += S::kWeights) {
    stage ^= S::kStageBytes;
    copies.to += stage ? S::kStageBytes : -S::kStageBytes;
    copies.copy();
    cp_async_wait<1>();
    __syncwarp();
    const std::byte* from = shared + (stage ^ S::kStageBytes);
    const std::byte* rows[kLaneRows];
    GPU_UNROLL
    for (int j = 0; j < kLaneRows; ++j) rows[j] = from + (lane / 4 + 8 * j) * S::kSlot + (before[j] & 15);
    GPU_NO_UNROLL
    for (int span = 0; span < S::kSpans && k + span * kSpan < end; ++span) {
      if constexpr (W::kScaled) {
        weights.prepare(from + lane * S::kSlot + (before_own & 15), span, end - k - span * kSpan);
        __syncwarp();
      }
      weights.for_sums(rows, span, [&](int sum, const Fragments(&a)[W::kSlicesOfSum]) {
        multiply<W, n_tiles>(weights, sum, a, x, at, work.n, all_ones, sums);
      });
      x += 4 * kSpan;
      __syncwarp();  // before scales, or what the next copy overwrites, are written
    }
    if constexpr (!S::kAligned) {
      GPU_UNROLL
      for (int j = 0; j < kLaneRows; ++j) before[j] += S::kBytes;
      before_own += S::kBytes;
    }
  }
  if constexpr (W::kNans) {
    GPU_UNROLL
    for (int j = 0; j < kLaneRows; ++j) {
      if ((__ballot_sync(kAllLanes, weights.nans[j] != 0) >> (lane & ~3) & 15) == 0) continue;
      GPU_UNROLL
      for (int t = 0; t < n_tiles; ++t)
        sums[t][j / 2][j % 2 * 2] = sums[t][j / 2][j % 2 * 2 + 1] = float_from_bits(0x7fc00000u);
    }
  }
}

// Finds the block's work; false: there is none for it.
GPU_FN bool find_work(const Product& p, int tile, TileWork& work) {
  if (p.work) {
    if (int(blockIdx.x) >= *p.n_work) return false;
    work = p.work[blockIdx.x];
  } else {
    const int first = int(blockIdx.x) * tile;
    work = {int(blockIdx.z), first, min(tile, p.n_tokens - first)};
  }
  return true;
}

// Writes output i of a token; of a hidden row zeros behind its end.
GPU_FN void store(const Product& p, int matrix, int64_t token, int i, float value) {
  if (p.gate && i < p.n) value *= silu(p.gate[token * p.n + i]);
  if (p.hidden) {
    const float kept = i < p.n ? value : 0.0f;
    auto* to = reinterpret_cast<uint16_t*>(p.hidden + token * row_bytes(p.n) + value_at(p.hidden_lanes, unsigned(i)));
    to[0] = uint16_t(pack_bf16(kept, 0));
    to[kRemainder / 2] = uint16_t(pack_bf16(kept - bf16_bits_to_float(to[0]), 0));
  } else if (i < p.n) {
    p.y[(p.work ? 0 : matrix * p.y_matrix_stride) + token * p.y_stride + i] = value;
  }
}

// Rows of the matrix (or of both) that a block has.
GPU_FN int rows_of_block(const Product& p) {
  return (kWarps >> p.split_bits) * (p.up.data ? kWarpRows / 2 : kWarpRows);
}

template <int warp_bytes>
GPU_FN void store_tile(const Product& p, const TileWork& work, const std::byte* shared) {
  const int rows = rows_of_block(p), first_row = int(blockIdx.y) * rows;
  const int of_warp = p.up.data ? kWarpRows / 2 : kWarpRows, split = 1 << p.split_bits;
  const auto sum_of = [&](int token, int row, int more) {
    float sum = 0;
    for (int s = 0; s < split; ++s) {
      const auto* part = reinterpret_cast<const float*>(shared + (row / of_warp * split + s) * warp_bytes);
      sum += part[token * kPartRow + row % of_warp + more];
    }
    return sum;
  };
  for (int i = int(threadIdx.x); i < work.n * rows; i += kThreads) {
    const int row = i % rows, token = i / rows;
    const float sum = sum_of(token, row, 0), value = p.up.data ? silu(sum) * sum_of(token, row, 16) : sum;
    store(p, work.matrix, work.first + token, first_row + row, value);
  }
  if (p.hidden && first_row + rows >= p.n) {  // up to the end of the last span
    const int begin = first_row + rows, more = max(0, (p.n + kSpan - 1) / kSpan * kSpan - begin);
    for (int i = int(threadIdx.x); i < work.n * more; i += kThreads) {
      store(p, work.matrix, work.first + i / more, begin + i % more, 0.0f);
    }
  }
}

// With three blocks a thread has 168 registers: too few for the sums of 64 tokens, and with those of 16 tokens enough
// only for the levels that take the fewest, of formats with a min for each 32 weights.
template <class Block, int n_tiles>
inline constexpr int kBlocksPerProcessor = n_tiles == 1 || (n_tiles == 2 && Weights<Block>::kMins &&
                                                            Weights<Block>::kSlicesOfSum == 2)
                                               ? 3
                                               : 2;

template <class Block, int n_tiles>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<Block, n_tiles>)
    few_kernel(const __grid_constant__ Product p) {
  GPU_DYNAMIC_SHARED(std::byte, shared);
  constexpr int kWarpBytes = Shared<Block, n_tiles>::kWarp;
  TileWork work;
  if (!find_work(p, 8 * n_tiles, work)) return;
  const int warp = warp_of_thread(), lane = lane_of_thread();
  const int share = warp & ((1 << p.split_bits) - 1);
  const int first_row = int(blockIdx.y) * rows_of_block(p) + (warp >> p.split_bits) * (p.up.data ? 16 : kWarpRows);

  Sums<n_tiles> sums = {};
  constexpr int kWeights = Stage<Block>::kWeights;
  const int stages = (p.k + kWeights - 1) / kWeights;
  const int begin = (stages * share >> p.split_bits) * kWeights;
  const int end = min(p.k, (stages * (share + 1) >> p.split_bits) * kWeights);
  if (first_row < p.n && begin < end) {
    multiply_rows<Block, n_tiles>(p, work, first_row, begin, end, shared + warp * kWarpBytes, sums);
  }

  // Each warp's sums, [token][row], where its weights were.
  auto* part = reinterpret_cast<float*>(shared + warp * kWarpBytes);
  GPU_UNROLL
  for (int t = 0; t < n_tiles; ++t) {
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int token = 8 * t + lane % 4 * 2 + i % 2, row = lane / 4 + i / 2 * 8;
      part[token * kPartRow + row] = sums[t][i / 4][i % 4];
    }
  }
  __syncthreads();
  store_tile<kWarpBytes>(p, work, shared);
}

template <class Block, int n_tiles>
void launch_few(const Product& p, const Queue& queue) {
  const int rows = (kWarps >> p.split_bits) * (p.up.data ? kWarpRows / 2 : kWarpRows), tile = 8 * n_tiles;
  const dim3 grid(unsigned(p.work ? p.max_work : (p.n_tokens + tile - 1) / tile), unsigned((p.n + rows - 1) / rows),
                  unsigned(p.n_matrices));
  launch("matmul_few", few_kernel<Block, n_tiles>, grid, dim3(kThreads), size_t(kWarps) * Shared<Block, n_tiles>::kWarp,
         queue, p);
}

}  // namespace

template <class Block>
void product_of(Tiles tiles, const Product& p, const Queue& queue) {
  switch (tiles) {
    case Tiles::one:
      return launch_few<Block, 1>(p, queue);
    case Tiles::two:
      return launch_few<Block, 2>(p, queue);
    case Tiles::eight:
      return launch_few<Block, 8>(p, queue);
  }
}

}  // namespace hearth::gpu::few
