// The rows that a block prepares for itself: copied, where a norm has rounded them; plain, normalised, or merged from
// the pieces of attention. A block reads all of what they are made of, and so does every other block; what that costs
// hides behind the first bytes of the weights, which are on their way, and it saves a launch.
#pragma once

#include "kernels/cuda/matmul/matmul_vec_prepare.cuh"

namespace hearth::gpu::vec {

// x or norm * (x + add) * factor.
struct SumRow {
  const float *x, *add, *norm;
  float factor;
  int k;

  GPU_FN float sum(int i) const { return add ? x[i] + add[i] : x[i]; }
  GPU_FN void four(unsigned first, float (&values)[4]) const {
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int i = int(first) + j;
      values[j] = 0;
      if (i < k) values[j] = norm ? norm[i] * (sum(i) * factor) : x[i];
    }
  }
};

// The four values that the thread has merged.
struct MergedRow {
  float4 sum;
  int k;

  GPU_FN void four(unsigned first, float (&values)[4]) const {
    const float all[4] = {sum.x, sum.y, sum.z, sum.w};
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) values[j] = int(first) + j < k ? all[j] : 0.0f;
  }
};

// Row `row` of the pieces, columns `column` to `column` + 3: the sum over the pieces, by two halves of the block's
// warps. The second half hands its sums over in `room`; the first gets the result. Loads do not wait for one another.
GPU_FN float4 merged(const MlaPieces& pieces, int row, int column, int k, float4* room) {
  GPU_SHARED(float, factors, kMaxPieces);  // of each piece's sums
  const int lane = lane_of_thread(), limit = pieces.limit(row), size = pieces.size(limit);
  const int n = (limit + size - 1) / size;  // pieces that hold something
  if (warp_of_thread() == 0) {
    static_assert(kMaxPieces == 64);
    float largest[2], total = 0;  // of pieces `lane` and `lane` + 32
    GPU_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int piece = lane + 32 * i;
      largest[i] = piece < n ? pieces.largest[piece * pieces.n_rows + row] : -INFINITY;
    }
    const float top = warp_max(fmaxf(largest[0], largest[1]));
    GPU_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int piece = lane + 32 * i;
      largest[i] = exp2_fast(largest[i] - top);
      if (piece < n) total += largest[i] * pieces.total[piece * pieces.n_rows + row];
    }
    total = warp_sum(total);
    GPU_UNROLL
    for (int i = 0; i < 2; ++i) factors[lane + 32 * i] = largest[i] / total;
  }
  __syncthreads();

  const int half = warp_of_thread() / (kWarps / 2), thread = int(threadIdx.x) % (kThreads / 2);
  const float* from = pieces.sum_of(0, row) + column;
  const int64_t apart = int64_t(pieces.n_rows) * pieces.stride;
  float4 sum{0, 0, 0, 0};
  if (column < k) {
    GPU_UNROLL
    for (int piece = half; piece < n; piece += 2) {
      const float4 part = *reinterpret_cast<const float4*>(from + piece * apart);
      const float f = factors[piece];
      sum.x += f * part.x, sum.y += f * part.y, sum.z += f * part.z, sum.w += f * part.w;
    }
  }
  if (half == 1) room[thread] = sum;
  __syncthreads();
  if (half == 1) return sum;
  const float4 other = room[thread];
  return {sum.x + other.x, sum.y + other.y, sum.z + other.z, sum.w + other.w};
}

// A rounded row, prepared. Threads write one after the other; what they read lies in pieces of 16 bytes.
GPU_FN void copy_rounded(const std::byte* from, int k, unsigned apart, std::byte* row) {
  const RoundedRow rounded(k);
  const unsigned n_groups = unsigned(rounded.n_groups), pieces = unsigned(k + kLevelPiece - 1) / kLevelPiece;
  constexpr unsigned kSlots = 4 * kLanes;  // of 16 bytes in a piece, before its scales
  GPU_UNROLL_TWICE
  for (unsigned at = threadIdx.x; at < pieces * kSlots; at += kThreads) {
    const GroupPlace place{at / kSlots * kLanes + at % kLanes, at / (2 * kLanes) % 2};
    const unsigned group = place.group(apart), byte = at / kLanes % 2;  // high, low
    if (group >= n_groups) continue;
    *reinterpret_cast<uint4*>(row + place.level_at() + byte * kLowBytes) =
        reinterpret_cast<const uint4*>(from + rounded.levels_at(group))[byte];
  }
  for (unsigned at = threadIdx.x; at < pieces * 2 * kLanes; at += kThreads) {
    const GroupPlace place{at / 2, at % 2};
    const unsigned group = place.group(apart);
    if (group >= n_groups) continue;
    *reinterpret_cast<GroupScale*>(row + place.scale_at()) =
        *reinterpret_cast<const GroupScale*>(from + rounded.scale_at(group));
  }
}

// By all threads of the block: row number `matrix` of the input, prepared; behind it room for merging. `partial`: for
// the block's sums. The caller's barrier comes after it.
GPU_FN void prepare_own(const Input& input, int matrix, int k, Apart apart, std::byte* row,
                        float (&partial)[kMaxWarps]) {
  const int thread = int(threadIdx.x);
  if (input.pieces.n > 0) {
    auto* room = reinterpret_cast<float4*>(row + prepared_bytes(apart, k));
    const int column = int(first_of_four(unsigned(apart), unsigned(thread) % (kThreads / 2)));
    const MergedRow merged_row{merged(input.pieces, matrix, column, k, room), k};
    if (thread < kThreads / 2) prepare(merged_row, k, apart, row, thread, kThreads / 2);
    return;
  }
  if (input.rounded && apart != kFloatRows) {
    copy_rounded(input.rounded, k, unsigned(apart), row);
    return;
  }
  SumRow source{input.x + matrix * input.x_matrix, input.add, input.norm, 1.0f, k};
  if (input.norm) {
    float squares = 0;
    GPU_UNROLL
    for (int i = thread; i < k; i += kThreads) {
      const float v = source.sum(i);
      squares += v * v;
    }
    source.factor = 1.0f / sqrtf(block_sum(squares, partial) / float(k) + input.eps);
  }
  prepare(source, k, apart, row, thread, kThreads);
}

}  // namespace hearth::gpu::vec
