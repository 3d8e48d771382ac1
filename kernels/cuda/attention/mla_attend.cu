// Absorbed MLA over the latent cache: q_c [T,H,r], q_rope [T,H,dr], cache rows [r + dr] -> o_c [T,H,r].
//
//   score_p = (q_c . c_p + q_rope . k_rope_p) scale,  o_c = sum_p softmax(score)_p c_p
//
// A sequence's part of the cache is cut into pieces, so that one sequence fills the GPU. How many is settled when the
// call is queued; how long they are follows from the lengths that the device knows. A block takes up to 64 rows of
// queries of one sequence over one piece (mla_tile.cuh), and a second kernel merges the pieces of a row. With one piece
// there is nothing to merge.
//
// What bounds it: with 16 heads the bytes of the cache (1152 per position, for 35 kFLOP), with 128 the tensor cores.
#include "kernels/cuda/attention/mla_attend.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cuda/attention/mla_tile.cuh"
#include "kernels/cuda/host/queue_of.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

// ---- Plain floats: any widths, and a cache that is kept in full precision

constexpr int kPlainWarps = 8;
constexpr int kLaneColumns = kMaxWidth / 32;

GPU_FN float to_float(float x) {
  return x;
}
GPU_FN float to_float(uint16_t x) {
  return bf16_bits_to_float(x);
}

// A block per row of queries and piece, a warp per position: the lanes hold a row of the cache between them, for the
// score and for the sum. Rows are read again for every head.
template <class T>
__global__ void __launch_bounds__(32 * kPlainWarps) attend_plain(MlaProblem p) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(float, sums, kPlainWarps* kMaxWidth);
  GPU_SHARED(float, tops, kPlainWarps);
  GPU_SHARED(float, totals, kPlainWarps);
  const int row = int(blockIdx.x), piece = int(blockIdx.y), t = row / p.n_heads, h = row % p.n_heads;
  const int size = p.piece_size(row), begin = piece * size, end = at_most(begin + size, p.limit(row));
  if (begin >= end) return;

  const int lane = lane_of_thread(), warp = warp_of_thread(), width = p.width();
  const float *q_c = head_at(p.q_c, t, h), *q_rope = head_at(p.q_rope, t, h);
  float q[kLaneColumns], sum[kLaneColumns] = {};
  GPU_UNROLL
  for (int i = 0; i < kLaneColumns; ++i) {
    const int c = lane + 32 * i;
    q[i] = c < p.r ? q_c[c] : c < width ? q_rope[c - p.r] : 0.0f;
  }
  const T* cache = reinterpret_cast<const T*>(p.cache.data);
  const int32_t* pages = pages_of(p.at, t);
  float largest = -INFINITY, total = 0;
  for (int key = begin + warp; key < end; key += kPlainWarps) {
    const T* from = cache + row_number(p.at, pages, key) * width;
    float x[kLaneColumns], score = 0;
    GPU_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
      const int c = lane + 32 * i;
      x[i] = c < width ? to_float(from[c]) : 0.0f;
      score += q[i] * x[i];
    }
    score = warp_sum(score) * p.scale;
    const float top = fmaxf(largest, score), shrink = exp2_fast(largest - top), weight = exp2_fast(score - top);
    largest = top;
    total = total * shrink + weight;
    GPU_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) sum[i] = sum[i] * shrink + weight * x[i];
  }
  GPU_UNROLL
  for (int i = 0; i < kLaneColumns; ++i) sums[warp * kMaxWidth + lane + 32 * i] = sum[i];
  if (lane == 0) tops[warp] = largest, totals[warp] = total;
  __syncthreads();

  largest = -INFINITY, total = 0;
  GPU_UNROLL
  for (int w = 0; w < kPlainWarps; ++w) largest = fmaxf(largest, tops[w]);
  float factor[kPlainWarps];  // of each warp's sums
  GPU_UNROLL
  for (int w = 0; w < kPlainWarps; ++w) {
    factor[w] = exp2_fast(tops[w] - largest);
    total += factor[w] * totals[w];
  }
  const float scale = p.finish(piece, row, largest, total, threadIdx.x == 0);
  float* to = p.sum_of(piece, row);
  for (int c = int(threadIdx.x); c < p.r; c += 32 * kPlainWarps) {
    float value = 0;
    GPU_UNROLL
    for (int w = 0; w < kPlainWarps; ++w) value += factor[w] * sums[w * kMaxWidth + c];
    to[c] = value * scale;
  }
}

// ---- Pieces to outputs

constexpr int kMergeWarps = 4, kMergeColumns = 128;

// A block per row of queries and 128 columns; the warps share the pieces, a lane takes four columns.
__global__ void __launch_bounds__(32 * kMergeWarps) merge_pieces(MlaProblem p) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(float4, sums, 32 * kMergeWarps);
  const int row = int(blockIdx.x), t = row / p.n_heads, lane = lane_of_thread(), warp = warp_of_thread();
  const int size = p.piece_size(row), n = (p.limit(row) + size - 1) / size;  // pieces that hold something for this row
  const MlaPieces& all = p.pieces;
  const auto largest = [&](int piece) { return all.largest[piece * all.n_rows + row]; };

  float top = -INFINITY, total = 0;
  for (int i = lane; i < n; i += 32) top = fmaxf(top, largest(i));
  top = warp_max(top);
  for (int i = lane; i < n; i += 32) total += exp2_fast(largest(i) - top) * all.total[i * all.n_rows + row];
  total = warp_sum(total);

  const int column = int(blockIdx.y) * kMergeColumns + 4 * lane;
  float4 sum{0, 0, 0, 0};
  if (column < p.r) {
    for (int i = warp; i < n; i += kMergeWarps) {
      const float factor = exp2_fast(largest(i) - top);
      const float4 part = *reinterpret_cast<const float4*>(all.sum_of(i, row) + column);
      sum.x += factor * part.x, sum.y += factor * part.y, sum.z += factor * part.z, sum.w += factor * part.w;
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  const int c = int(blockIdx.y) * kMergeColumns + int(threadIdx.x);
  if (c >= p.r) return;
  const float* parts = reinterpret_cast<const float*>(sums) + threadIdx.x;
  float value = 0;
  GPU_UNROLL
  for (int w = 0; w < kMergeWarps; ++w) value += parts[w * kMergeColumns];
  head_at(p.o_c, t, row % p.n_heads)[c] = value / total;
}

// ---- Which kernel, how many pieces

using Rows16 = Tile<1, 1>;
using Rows32 = Tile<2, 1>;
using Rows64 = Tile<2, 2>;

struct Plan {
  void (*kernel)(MlaProblem);
  int rows, threads;  // of a block
  size_t shared_bytes;
  int granule;   // positions of a tile
  int shortest;  // positions of a piece below which more pieces do not pay: their sums weigh more than rows
  int blocks_per_processor;
};

template <class Tile, class Widths>
Plan tensor_plan(int shortest, int blocks_per_processor) {
  return {attend_tiles<Tile, Widths>, Tile::rows, Tile::threads, Tile::shared_bytes, kKeys, shortest,
          blocks_per_processor};
}

bool takes_tensor_cores(FormatId format, int64_t r, int64_t dr) {
  return format == FormatId::bf16 && r % 16 == 0 && dr % 16 == 0 && r <= kMaxRank && r + dr <= kMaxWidth;
}

Plan plan(FormatId format, int64_t r, int64_t dr, int64_t n_rows) {
  if (!takes_tensor_cores(format, r, dr)) {
    const auto kernel = format == FormatId::f32 ? attend_plain<float> : attend_plain<uint16_t>;
    return {kernel, 1, 32 * kPlainWarps, 0, 32, 64, 8};
  }
  if (r != PublishedWidths::r || dr != PublishedWidths::dr) {  // 64 rows would take more registers than there are
    return n_rows <= Rows16::rows ? tensor_plan<Rows16, OtherWidths>(64, 2) : tensor_plan<Rows32, OtherWidths>(64, 1);
  }
  if (n_rows <= Rows16::rows) return tensor_plan<Rows16, PublishedWidths>(64, 2);
  if (n_rows <= Rows32::rows) return tensor_plan<Rows32, PublishedWidths>(64, 1);
  return tensor_plan<Rows64, PublishedWidths>(128, 1);
}

// How a call's rows are shared among blocks.
struct Rows {
  int64_t n, group;  // all, and those of one sequence

  Rows(int64_t n_tokens, int64_t n_heads, bool together) : n(n_tokens * n_heads), group(together ? n : n_heads) {}
  int64_t blocks(const Plan& plan) const { return n / group * ((group + plan.rows - 1) / plan.rows); }
};

// Pieces that fill the GPU once with a call's blocks of rows.
int64_t n_pieces(const Plan& plan, const Rows& rows, int64_t bound, int multiprocessors) {
  const int64_t fill = int64_t(multiprocessors) * plan.blocks_per_processor / rows.blocks(plan);
  return std::max<int64_t>(1, std::min(fill, bound / plan.shortest));
}

int64_t partial_stride(int64_t r) {
  return round_up(r, 4);
}

// Sums, and two values of the softmax, of each row of each piece.
size_t partial_bytes(int64_t pieces, int64_t rows, int64_t r) {
  return size_t(pieces * rows * (partial_stride(r) + 2)) * sizeof(float);
}

}  // namespace

size_t mla_attend_scratch(const ScratchLimits& l) {
  size_t bytes = 0;
  for (const FormatId format : {FormatId::f32, FormatId::bf16}) {
    for (int64_t t = 1; t <= l.max_tokens; ++t) {
      for (const bool together : {true, false}) {
        const Rows rows(t, l.n_heads, together);
        const Plan plan = gpu::plan(format, l.kv_lora_rank, l.qk_rope_head_dim, rows.group);
        const int64_t pieces = n_pieces(plan, rows, l.n_ctx, l.multiprocessors);
        if (pieces > 1) bytes = std::max(bytes, partial_bytes(pieces, rows.n, l.kv_lora_rank));
      }
    }
  }
  return bytes;
}

MlaPieces mla_attend_pieces(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                            const LatentCache& cache, const Positions& at, float scale, Heads<float> o_c,
                            int64_t most_pieces) {
  const int64_t r = cache.kv_lora_rank, dr = cache.rope_dim;
  const Rows rows(q_c.n_tokens, q_c.n_heads, at.together);
  const Queue& queue = queue_of(exec);
  const Plan plan = gpu::plan(cache.format, r, dr, rows.group);
  const int64_t n = n_pieces(plan, rows, at.bound, queue.multiprocessors);
  assert((n == 1 || partial_bytes(n, rows.n, r) <= exec.scratch.size()) && "fewer ScratchLimits::multiprocessors");
  MlaPieces pieces;
  pieces.n = int(n);
  pieces.granule = plan.granule;
  pieces.shortest = plan.shortest;
  pieces.positions = at.ids;
  pieces.n_rows = int(rows.n);
  pieces.n_heads = int(q_c.n_heads);
  pieces.stride = int(partial_stride(r));
  pieces.sums = reinterpret_cast<float*>(exec.scratch.data());
  pieces.largest = pieces.sums + n * rows.n * partial_stride(r);
  pieces.total = pieces.largest + n * rows.n;
  const MlaProblem problem{
      q_c, q_rope, cache, int(r), int(dr), at, int(q_c.n_tokens), int(q_c.n_heads), int(rows.group), scale * kLog2e,
      o_c, pieces};
  launch_early("mla_attend", plan.kernel, dim3(unsigned(rows.blocks(plan)), unsigned(n)), dim3(unsigned(plan.threads)),
               plan.shared_bytes, queue, problem);
  if (n == 1) return {};
  if (n <= most_pieces) return pieces;
  launch_early("mla_merge", merge_pieces, dim3(unsigned(rows.n), unsigned((r + kMergeColumns - 1) / kMergeColumns)),
               dim3(32 * kMergeWarps), 0, queue, problem);
  return {};
}

void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                const Positions& at, float scale, Heads<float> o_c) {
  mla_attend_pieces(exec, q_c, q_rope, cache, at, scale, o_c, 0);
}

}  // namespace hearth::gpu
