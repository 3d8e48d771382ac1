// Absorbed MLA on tensor cores: up to 64 rows of queries against one piece of a bf16 cache (mla_attend.cu has the
// plan).
//
// All heads attend over the same rows of the cache, and the first r numbers of a row are its value too, so a tile of
// 32 rows is copied into shared memory once and serves as keys, then as values. Four warps share a tile by columns:
// each multiplies its quarter of the queries, which it keeps in registers, with its quarter of the keys. So scores are
// sums of four parts. Each warp keeps the parts of 8 rows of scores, takes up the other warps' parts of them, and makes
// the rows' weights; what they exchange are registers as they are. Then each warp sums the values of its quarter.
//
//   exchange [row warp][owner], 3 KB each:
//     first [part 0..2][8 positions 0..3][lane] float2: scores (lane / 4, 2 (lane % 4)) and the one to its right;
//     then, when the owner's lanes have taken those up, weights [8 rows, kWeightStride] in bf16
#pragma once

#include "kernels/cuda/attention/mla_problem.cuh"

namespace hearth::gpu {
namespace {

constexpr int kKeys = 32;  // positions of a tile
constexpr int kColumnWarps = 4;
// Groups of 16 columns per warp, of a key and of a value. A warp has every fourth group.
constexpr int kSteps = kMaxWidth / 16 / kColumnWarps, kValues = kMaxRank / 16 / kColumnWarps;
// Values between rows in shared memory: 73 times 16 bytes, an odd multiple, so that ldmatrix reads every bank once.
constexpr int kStride = kMaxWidth + 8;
constexpr int kBufferValues = kKeys * kStride;
constexpr int kOwned = (kColumnWarps - 1) * kKeys / 8 * 32;  // float2 that are exchanged for 8 rows of scores
constexpr int kWeightStride = kKeys + 8;

// Row warps x 16-row tiles per warp.
template <int row_warps_, int tiles_>
struct Tile {
  static constexpr int row_warps = row_warps_, tiles = tiles_;
  static constexpr int rows = 16 * row_warps * tiles;
  static constexpr int threads = 32 * kColumnWarps * row_warps;
  static constexpr int owners = 2 * tiles;  // of each row warp's scores: 8 rows each
  static_assert(owners <= kColumnWarps);
  static constexpr int exchanged = owners * kOwned;  // of a row warp
  static constexpr size_t shared_bytes = sizeof(uint16_t) * 2 * kBufferValues + sizeof(float2) * row_warps * exchanged +
                                         (sizeof(float) + sizeof(int)) * rows;
  static_assert(shared_bytes + 1024 <= kMaxSharedBytes);  // newer GPUs keep 1 KB of a block's for themselves
};

// Widths that the compiler knows, those of all published models, and any others.
struct PublishedWidths {
  static constexpr int r = 512, dr = 64;
  GPU_FN static constexpr int all() { return r + dr; }
  GPU_FN explicit PublishedWidths(const MlaProblem&) {}
};
struct OtherWidths {
  int r, dr;
  GPU_FN int all() const { return r + dr; }
  GPU_FN explicit OtherWidths(const MlaProblem& p) : r(p.r), dr(p.dr) {}
};

GPU_FN int column_warp() {
  return warp_of_thread() % kColumnWarps;
}

// The first of the 16 rows of this warp's fragment `tile`; the kColumnWarps warps that share rows have the same.
template <class Tile>
GPU_FN int first_row_of_warp(int tile) {
  return (warp_of_thread() / kColumnWarps * Tile::tiles + tile) * 16;
}

GPU_FN int group_of_warp(int i) {
  return column_warp() + kColumnWarps * i;
}

// What a thread copies of each tile: of a row every eighth chunk of 16 bytes, so that eight lanes copy 128 bytes.
// Where the rows lie is looked up a tile ahead.
template <class Tile, class Widths>
struct RowCopies {
  static constexpr int kAtOnce = Tile::threads / 8, kPasses = kKeys / kAtOnce;

  int end;  // of the piece
  int page[kPasses];

  GPU_FN void look_up(const MlaProblem& p, const int32_t* pages, int first) {
    const int key = computed_anew(int(threadIdx.x)) / 8;
    GPU_UNROLL
    for (int i = 0; i < kPasses; ++i) page[i] = pages[at_most(first + key + i * kAtOnce, end - 1) >> p.at.page_bits];
  }

  // Positions `first` and on, those that were looked up; zeros from `end` on.
  GPU_FN void start(const MlaProblem& p, int first, uint16_t* to) const {
    const Widths widths(p);
    const int thread = computed_anew(int(threadIdx.x)), c = thread % 8 * 8;
    GPU_UNROLL
    for (int i = 0; i < kPasses; ++i) {
      const int key = thread / 8 + i * kAtOnce, position = first + key;
      const bool valid = position < end;
      const int row = (page[i] << p.at.page_bits) + (position & ((1 << p.at.page_bits) - 1));
      const uint16_t* from = reinterpret_cast<const uint16_t*>(p.cache.data) + int64_t(row) * widths.all() + c;
      GPU_UNROLL
      for (int j = 0; j < kMaxWidth / 64; ++j) {
        if (64 * j + c < widths.all()) cp_async_16(to + key * kStride + c + 64 * j, from + 64 * j, valid);
      }
    }
    cp_async_commit();
  }
};

template <class Tile, class Widths>
GPU_FN void gather_queries(const MlaProblem& p, int first_row, int end_row, uint32_t (&q)[Tile::tiles][kSteps][4]) {
  const Widths widths(p);
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
      if (column < widths.r) {
        gather_a(q[i][s], c[0], c[1], column, widths.r);
      } else {
        gather_a(q[i][s], rope[0], rope[1], column - widths.r, widths.dr);
      }
    }
  }
}

// Where a lane's float2 lies: of `owner` the part of warp owner ^ (part + 1), of positions 8 * group and on.
GPU_FN int slot(int owner, int part, int group, int lane) {
  return owner * kOwned + (part * kKeys / 8 + group) * 32 + lane;
}

GPU_FN uint16_t* weights_of(float2* exchange, int owner) {
  return reinterpret_cast<uint16_t*>(exchange + owner * kOwned);
}

// This warp's columns of q k^T: its part of its own rows' scores, and the others' to the exchange.
template <class Tile, class Widths>
GPU_FN void multiply_keys(const Widths& widths, const uint32_t (&q)[Tile::tiles][kSteps][4], const uint16_t* keys,
                          float2 (&own)[kKeys / 8], float2* exchange) {
  const int thread = computed_anew(int(threadIdx.x)), column_warp = thread / 32 % kColumnWarps;
  GPU_UNROLL
  for (int k = 0; k < 2; ++k) {
    float sum[Tile::tiles][2][4] = {};
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (16 * group_of_warp(s) >= widths.all()) break;
      uint32_t b[4];
      load_b_transposed(b, keys + 16 * k * kStride + 16 * group_of_warp(s), kStride);
      GPU_UNROLL
      for (int i = 0; i < Tile::tiles; ++i) {
        mma_bf16(sum[i][0], q[i][s], b[0], b[1]);
        mma_bf16(sum[i][1], q[i][s], b[2], b[3]);
      }
    }
    GPU_UNROLL
    for (int owner = 0; owner < Tile::owners; ++owner) {
      GPU_UNROLL
      for (int j = 0; j < 2; ++j) {
        const float* pair = sum[owner / 2][j] + owner % 2 * 2;
        if (owner == 0 || column_warp == owner) own[2 * k + j] = float2{pair[0], pair[1]};
        if (column_warp != owner) {
          exchange[slot(owner, (column_warp ^ owner) - 1, 2 * k + j, thread % 32)] = float2{pair[0], pair[1]};
        }
      }
    }
  }
}

// The softmax of the 8 rows of scores that a warp owns. Four lanes have a row, 8 positions each: `total` is only of
// this lane's.
template <class Tile>
struct Softmax {
  float base = -INFINITY, total = 0;

  GPU_FN static bool owns() { return column_warp() < Tile::owners; }
  GPU_FN static int row() {  // of the block
    const int thread = computed_anew(int(threadIdx.x)), column_warp = thread / 32 % kColumnWarps;
    return thread / (32 * kColumnWarps) * 16 * Tile::tiles + column_warp * 8 + thread % 32 / 4;
  }

  // Scores of a tile, of positions `first` and on -> weights, in the exchange, and keep [rows], the factor by which the
  // sums so far shrink. limits [rows]: one past the last position that a row sees.
  GPU_FN void take(const float2 (&own)[kKeys / 8], float2* exchange, float scale, int first, const int* limits,
                   float* keep) {
    const int n_seen = limits[row()] - first;
    const int thread = computed_anew(int(threadIdx.x)), lane = thread % 32, column_warp = thread / 32 % kColumnWarps;
    float score[8];
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      float2 part[kColumnWarps - 1];
      GPU_UNROLL
      for (int i = 0; i < kColumnWarps - 1; ++i) part[i] = exchange[slot(column_warp, i, j, lane)];
      // Warps 0 and 1, and 2 and 3, in every owner: a row's bits do not depend on where in a block it is.
      score[2 * j] = (own[j].x + part[0].x) + (part[1].x + part[2].x);
      score[2 * j + 1] = (own[j].y + part[0].y) + (part[1].y + part[2].y);
    }
    __syncwarp();  // weights come where scores were
    if (n_seen < kKeys) {
      GPU_UNROLL
      for (int j = 0; j < 8; ++j) {
        if (8 * (j / 2) + 2 * (lane % 4) + j % 2 >= n_seen) score[j] = -INFINITY;
      }
    }
    float top = score[0];
    GPU_UNROLL
    for (int j = 1; j < 8; ++j) top = fmaxf(top, score[j]);
    top = warp_max<4>(top) * scale;
    float shrink = 1;
    if (top > base + kSlack) {
      shrink = exp2_fast(base - top);
      base = top;
      total *= shrink;
    }
    const float zero = softmax_base(base);
    uint16_t* weights = weights_of(exchange, column_warp) + lane / 4 * kWeightStride + lane % 4 * 2;
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      const uint32_t pair =
          pack_bf16(exp2_fast(score[2 * j] * scale - zero), exp2_fast(score[2 * j + 1] * scale - zero));
      // The rounded weights are added, since these multiply the values: divided by `total` they sum to 1.
      total += bf16_bits_to_float(uint16_t(pair)) + bf16_bits_to_float(uint16_t(pair >> 16));
      *reinterpret_cast<uint32_t*>(weights + 8 * j) = pair;
    }
    if (lane % 4 == 0) keep[row()] = shrink;
  }

  GPU_FN float row_total() const { return warp_sum<4>(total); }
};

// o = o * keep, if there is anything to do.
template <class Tile>
GPU_FN void shrink_sums(const float* keep, float (&o)[Tile::tiles][kValues][2][4]) {
  float factor[Tile::tiles][2];
  bool any = false;
  GPU_UNROLL
  for (int i = 0; i < Tile::owners; ++i) {
    float& f = factor[i / 2][i % 2];
    f = keep[first_row_of_warp<Tile>(i / 2) + i % 2 * 8 + lane_of_thread() / 4];
    any |= f != 1;
  }
  if (!__ballot_sync(kAllLanes, any)) return;
  GPU_UNROLL
  for (int i = 0; i < Tile::tiles; ++i) {
    GPU_UNROLL
    for (int v = 0; v < 2 * kValues; ++v) {
      float(&sum)[4] = o[i][v / 2][v % 2];
      sum[0] *= factor[i][0], sum[1] *= factor[i][0], sum[2] *= factor[i][1], sum[3] *= factor[i][1];
    }
  }
}

// o += weights * values, this warp's columns.
template <class Tile, class Widths>
GPU_FN void add_values(const Widths& widths, float2* exchange, const uint16_t* values,
                       float (&o)[Tile::tiles][kValues][2][4]) {
  GPU_UNROLL
  for (int k = 0; k < 2; ++k) {
    uint32_t a[Tile::tiles][4];
    GPU_UNROLL
    for (int i = 0; i < Tile::tiles; ++i) {
      const int lane = lane_of_thread();
      const uint16_t* upper = weights_of(exchange, 2 * i + lane / 8 % 2);  // or lower
      ldmatrix_x4(a[i], upper + lane % 8 * kWeightStride + lane / 16 * 8 + 16 * k);
    }
    GPU_UNROLL
    for (int v = 0; v < kValues; ++v) {
      if (16 * group_of_warp(v) >= widths.r) break;
      uint32_t b[4];
      load_b(b, values + 16 * k * kStride + 16 * group_of_warp(v), kStride);
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
template <class Tile, class Widths>
__global__ void __launch_bounds__(Tile::threads, 1) attend_tiles(MlaProblem p) {
  launch_dependents();
  wait_for_earlier();
  GPU_DYNAMIC_SHARED(uint16_t, shared);  // two tiles of the cache, the exchange, a factor and a limit of each row
  float2* const all = reinterpret_cast<float2*>(shared + 2 * kBufferValues);
  float2* const exchange = all + warp_of_thread() / kColumnWarps * Tile::exchanged;
  float* const keep = reinterpret_cast<float*>(all + Tile::row_warps * Tile::exchanged);
  int* const limits = reinterpret_cast<int*>(keep + Tile::rows);

  const int blocks = (p.group_rows + Tile::rows - 1) / Tile::rows;  // of a group
  const int first_row = int(blockIdx.x) / blocks * p.group_rows + int(blockIdx.x) % blocks * Tile::rows;
  const int end_row = p.end_of_group(first_row), piece = int(blockIdx.y);
  const int size = p.piece_size(first_row), begin = piece * size;
  const int end = at_most(begin + size, p.limit(at_most(first_row + Tile::rows, end_row) - 1));
  if (begin >= end) return;  // no row of this block sees the piece, and merge_pieces knows it

  const Widths widths(p);
  const int32_t* pages = pages_of(p.at, first_row / p.n_heads);
  RowCopies<Tile, Widths> copies{end, {}};
  copies.look_up(p, pages, begin);
  copies.start(p, begin, shared + (begin & kKeys ? kBufferValues : 0));
  copies.look_up(p, pages, begin + kKeys);
  if (int(threadIdx.x) < Tile::rows) limits[threadIdx.x] = p.limit(at_most(first_row + int(threadIdx.x), end_row - 1));
  uint32_t q[Tile::tiles][kSteps][4];
  gather_queries<Tile, Widths>(p, first_row, end_row, q);
  Softmax<Tile> softmax;
  float o[Tile::tiles][kValues][2][4] = {};

  for (int first = begin; first < end; first += kKeys) {
    uint16_t* const tile = shared + (first & kKeys ? kBufferValues : 0);
    uint16_t* const next = shared + (first & kKeys ? 0 : kBufferValues);
    cp_async_wait<0>();
    __syncthreads();  // the tile is here, and nobody reads the other buffer or the last weights any more
    if (first + kKeys < end) {
      copies.start(p, first + kKeys, next);
      copies.look_up(p, pages, first + 2 * kKeys);
    }
    float2 own[kKeys / 8];
    multiply_keys<Tile>(widths, q, tile, own, exchange);
    __syncthreads();
    if (softmax.owns()) softmax.take(own, exchange, p.scale, first, limits, keep);
    __syncthreads();
    shrink_sums<Tile>(keep, o);
    add_values<Tile>(widths, exchange, tile, o);
  }

  __syncthreads();  // nobody reads `keep` any more
  if (softmax.owns()) {
    const bool first_lane = lane_of_thread() % 4 == 0;
    const int row = first_row + softmax.row();
    const float factor = p.finish(piece, row, softmax.base, softmax.row_total(), first_lane && row < end_row);
    if (first_lane) keep[softmax.row()] = factor;
  }
  __syncthreads();
  write_sums<Tile>(p, piece, first_row, end_row, keep, o);
}

}  // namespace
}  // namespace hearth::gpu
