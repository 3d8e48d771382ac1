// Absorbed MLA on tensor cores: up to 64 rows of queries against one piece of a bf16 cache (mla_attend.cu has the
// plan).
//
// All heads attend over the same rows of the cache, and the first r numbers of a row are its value too, so a tile of
// rows is copied into shared memory once and serves as keys, then as values. Four warps share a tile by columns: each
// multiplies its quarter of the queries, which it keeps in registers, with its quarter of the keys; the quarters of the
// scores are added in shared memory, where the softmax runs; then each sums the values of its quarter. So warps share
// only scores and weights, and the queries take no shared memory.
#pragma once

#include "kernels/cuda/attention/mla_problem.cuh"

namespace hearth::gpu {
namespace {

constexpr int kColumnWarps = 4;
// Groups of 16 columns per warp, of a key and of a value. A warp has every fourth group.
constexpr int kSteps = kMaxWidth / 16 / kColumnWarps, kValues = kMaxRank / 16 / kColumnWarps;
// Values between rows in shared memory: 73 times 16 bytes, an odd multiple, so that ldmatrix reads every bank once.
constexpr int kStride = kMaxWidth + 8;

// Row warps x 16-row tiles per warp, and positions per tile.
template <int row_warps_, int tiles_, int keys_>
struct Tile {
  static constexpr int row_warps = row_warps_, tiles = tiles_, keys = keys_;
  static constexpr int rows = 16 * row_warps * tiles;
  static constexpr int threads = 32 * kColumnWarps * row_warps;
  static constexpr int weight_stride = keys + 8, score_stride = keys + 8;
  static constexpr int buffer_values = keys * kStride, weight_values = rows * weight_stride;
  static constexpr size_t shared_bytes = sizeof(uint16_t) * (2 * buffer_values + weight_values) +
                                         sizeof(float) * (kColumnWarps * rows * score_stride + rows);
  static_assert(shared_bytes <= kMaxSharedBytes);
};

// The first of the 16 rows of this warp's fragment `tile`; the kColumnWarps warps that share rows have the same.
template <class Tile>
GPU_FN int first_row_of_warp(int tile) {
  return (warp_of_thread() / kColumnWarps * Tile::tiles + tile) * 16;
}

GPU_FN int group_of_warp(int i) {
  return warp_of_thread() % kColumnWarps + kColumnWarps * i;
}

// Positions `first` and on, a multiple of Tile::keys, of the sequence with these pages; zeros from `end` on.
template <class Tile>
GPU_FN void load_rows(const MlaProblem& p, const int32_t* pages, int first, int end, uint16_t* to) {
  const uint16_t* cache = reinterpret_cast<const uint16_t*>(p.cache.data);
  const int chunks = p.width() / 8;  // of 16 bytes
  const bool one_page = 1 << p.at.page_bits >= Tile::keys;
  const int64_t first_row = row_number(p.at, pages, first);
  for (int i = int(threadIdx.x); i < Tile::keys * chunks; i += Tile::threads) {
    const int key = i / chunks, c = i % chunks * 8;
    const bool valid = first + key < end;
    const int64_t row = !valid ? first_row : one_page ? first_row + key : row_number(p.at, pages, first + key);
    cp_async_16(to + key * kStride + c, cache + row * p.width() + c, valid);
  }
  cp_async_commit();
}

template <class Tile>
GPU_FN void gather_queries(const MlaProblem& p, int first_row, int end_row, uint32_t (&q)[Tile::tiles][kSteps][4]) {
  GPU_UNROLL
  for (int i = 0; i < Tile::tiles; ++i) {
    const float *c[2], *rope[2];
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + first_row_of_warp<Tile>(i) + lane_of_thread() / 4 + 8 * half;
      const bool valid = row < end_row;
      c[half] = valid ? head_at(p.q_c, row / p.n_heads, row % p.n_heads) : nullptr;
      rope[half] = valid ? head_at(p.q_rope, row / p.n_heads, row % p.n_heads) : nullptr;
    }
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const int column = 16 * group_of_warp(s);
      if (column < p.r) {
        gather_a(q[i][s], c[0], c[1], column, p.r);
      } else {
        gather_a(q[i][s], rope[0], rope[1], column - p.r, p.dr);
      }
    }
  }
}

// This warp's columns of q k^T -> its part of scores [kColumnWarps, rows, score_stride].
template <class Tile>
GPU_FN void multiply_keys(const uint32_t (&q)[Tile::tiles][kSteps][4], const uint16_t* keys, int n_groups,
                          float* scores) {
  const int lane = lane_of_thread();
  scores += warp_of_thread() % kColumnWarps * Tile::rows * Tile::score_stride;
  GPU_UNROLL
  for (int k = 0; k < Tile::keys; k += 16) {
    float sum[Tile::tiles][2][4] = {};
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (group_of_warp(s) >= n_groups) break;
      uint32_t b[4];
      load_b_transposed(b, keys + k * kStride + 16 * group_of_warp(s), kStride);
      GPU_UNROLL
      for (int i = 0; i < Tile::tiles; ++i) {
        mma_bf16(sum[i][0], q[i][s], b[0], b[1]);
        mma_bf16(sum[i][1], q[i][s], b[2], b[3]);
      }
    }
    GPU_UNROLL
    for (int i = 0; i < Tile::tiles; ++i) {
      float* to = scores + (first_row_of_warp<Tile>(i) + lane / 4) * Tile::score_stride + k + 2 * (lane % 4);
      GPU_UNROLL
      for (int j = 0; j < 2; ++j) {
        *reinterpret_cast<float2*>(to + 8 * j) = float2{sum[i][j][0], sum[i][j][1]};
        *reinterpret_cast<float2*>(to + 8 * j + 8 * Tile::score_stride) = float2{sum[i][j][2], sum[i][j][3]};
      }
    }
  }
}

// One thread's part of the softmax of a row: each of the row's threads takes 4 positions of a tile. `largest` is the
// row's; `total` is only of this thread's positions.
template <class Tile>
struct Softmax {
  static constexpr int kRowThreads = Tile::keys / 4;
  static_assert(kRowThreads * Tile::rows == Tile::threads);

  int row = int(threadIdx.x) / kRowThreads, key = int(threadIdx.x) % kRowThreads * 4;
  float largest = -INFINITY, total = 0;

  // Scores of a tile, of which the row sees `n_seen` positions -> weights [rows, weight_stride], and keep [rows], the
  // factor by which the sums so far shrink.
  GPU_FN void take(const float* scores, float scale, int n_seen, uint16_t* weights, float* keep) {
    float score[4] = {};
    GPU_UNROLL
    for (int w = 0; w < kColumnWarps; ++w) {
      const float4 part = *reinterpret_cast<const float4*>(scores + (w * Tile::rows + row) * Tile::score_stride + key);
      score[0] += part.x, score[1] += part.y, score[2] += part.z, score[3] += part.w;
    }
    float top = largest;
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      score[j] = key + j < n_seen ? score[j] * scale : -INFINITY;
      top = fmaxf(top, score[j]);
    }
    top = warp_max<kRowThreads>(top);
    const float base = softmax_base(top), shrink = exp2_fast(largest - base);
    largest = top;
    total *= shrink;
    uint32_t pairs[2];
    GPU_UNROLL
    for (int j = 0; j < 2; ++j) {
      pairs[j] = pack_bf16(exp2_fast(score[2 * j] - base), exp2_fast(score[2 * j + 1] - base));
      // The rounded weights are added, since these multiply the values: divided by `total` they sum to 1.
      total += bf16_bits_to_float(uint16_t(pairs[j])) + bf16_bits_to_float(uint16_t(pairs[j] >> 16));
    }
    *reinterpret_cast<uint2*>(weights + row * Tile::weight_stride + key) = uint2{pairs[0], pairs[1]};
    if (key == 0) keep[row] = shrink;
  }

  GPU_FN float row_total() const { return warp_sum<kRowThreads>(total); }
};

// o = o * keep + weights * values, this warp's columns.
template <class Tile>
GPU_FN void add_values(const uint16_t* weights, const float* keep, const uint16_t* values, int n_groups,
                       float (&o)[Tile::tiles][kValues][2][4]) {
  GPU_UNROLL
  for (int i = 0; i < Tile::tiles; ++i) {
    const int row = first_row_of_warp<Tile>(i) + lane_of_thread() / 4;
    const float upper = keep[row], lower = keep[row + 8];
    GPU_UNROLL
    for (int v = 0; v < 2 * kValues; ++v) {
      float(&sum)[4] = o[i][v / 2][v % 2];
      sum[0] *= upper, sum[1] *= upper, sum[2] *= lower, sum[3] *= lower;
    }
  }
  GPU_UNROLL
  for (int k = 0; k < Tile::keys; k += 16) {
    uint32_t a[Tile::tiles][4];
    GPU_UNROLL
    for (int i = 0; i < Tile::tiles; ++i) {
      load_a(a[i], weights + first_row_of_warp<Tile>(i) * Tile::weight_stride + k, Tile::weight_stride);
    }
    GPU_UNROLL
    for (int v = 0; v < kValues; ++v) {
      if (group_of_warp(v) >= n_groups) break;
      uint32_t b[4];
      load_b(b, values + k * kStride + 16 * group_of_warp(v), kStride);
      GPU_UNROLL
      for (int i = 0; i < Tile::tiles; ++i) {
        mma_bf16(o[i][v][0], a[i], b[0], b[1]);
        mma_bf16(o[i][v][1], a[i], b[2], b[3]);
      }
    }
  }
}

template <class Tile>
GPU_FN void write_sums(const MlaProblem& p, int piece, int first_row, int end_row, const float* factors,
                       const float (&o)[Tile::tiles][kValues][2][4]) {
  GPU_UNROLL
  for (int i = 0; i < Tile::tiles; ++i) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = first_row_of_warp<Tile>(i) + lane_of_thread() / 4 + 8 * half;
      if (first_row + row >= end_row) continue;
      float* to = p.sum_of(piece, first_row + row) + 2 * (lane_of_thread() % 4);
      const float factor = factors[row];
      GPU_UNROLL
      for (int v = 0; v < kValues; ++v) {
        if (16 * group_of_warp(v) >= p.r) break;
        GPU_UNROLL
        for (int j = 0; j < 2; ++j) {
          const float* sum = o[i][v][j] + 2 * half;
          *reinterpret_cast<float2*>(to + 16 * group_of_warp(v) + 8 * j) = float2{sum[0] * factor, sum[1] * factor};
        }
      }
    }
  }
}

// A block for each Tile::rows rows of a group, or what is left of them, and each piece.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads) attend_tiles(MlaProblem p) {
  GPU_DYNAMIC_SHARED(uint16_t, shared);
  uint16_t* const buffers = shared;  // two tiles of the cache
  uint16_t* const weights = buffers + 2 * Tile::buffer_values;
  float* const scores = reinterpret_cast<float*>(weights + Tile::weight_values);
  float* const keep = scores + kColumnWarps * Tile::rows * Tile::score_stride;

  const int blocks = (p.group_rows + Tile::rows - 1) / Tile::rows;  // of a group
  const int first_row = int(blockIdx.x) / blocks * p.group_rows + int(blockIdx.x) % blocks * Tile::rows;
  const int end_row = p.end_of_group(first_row), piece = int(blockIdx.y);
  const int size = p.piece_size(first_row), begin = piece * size;
  const int end = at_most(begin + size, p.limit(at_most(first_row + Tile::rows, end_row) - 1));
  if (begin >= end) return;  // no row of this block sees the piece, and merge_pieces knows it

  const int32_t* pages = pages_of(p.at, first_row / p.n_heads);
  load_rows<Tile>(p, pages, begin, end, buffers);
  uint32_t q[Tile::tiles][kSteps][4];
  gather_queries<Tile>(p, first_row, end_row, q);
  Softmax<Tile> softmax;
  const int row = first_row + softmax.row, limit = p.limit(at_most(row, end_row - 1));
  float o[Tile::tiles][kValues][2][4] = {};

  int buffer = 0;
  for (int first = begin; first < end; first += Tile::keys, buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // the tile is here, and nobody reads the other buffer or the last weights any more
    if (first + Tile::keys < end) {
      load_rows<Tile>(p, pages, first + Tile::keys, end, buffers + (buffer ^ 1) * Tile::buffer_values);
    }
    const uint16_t* tile = buffers + buffer * Tile::buffer_values;
    multiply_keys<Tile>(q, tile, p.width() / 16, scores);
    __syncthreads();
    softmax.take(scores, p.scale, limit - first, weights, keep);
    __syncthreads();
    add_values<Tile>(weights, keep, tile, p.r / 16, o);
  }

  __syncthreads();  // nobody reads `keep` any more
  const bool writes = softmax.key == 0 && row < end_row;
  const float factor = p.finish(piece, row, softmax.largest, softmax.row_total(), writes);
  if (softmax.key == 0) keep[softmax.row] = factor;
  __syncthreads();
  write_sums<Tile>(p, piece, first_row, end_row, keep, o);
}

}  // namespace
}  // namespace hearth::gpu
