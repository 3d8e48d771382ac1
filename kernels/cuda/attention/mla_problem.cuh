// What the kernels of mla_attend.cu share: one call, and how the cache is cut into pieces.
#pragma once

#include "kernels/cuda/attention/heads.cuh"

namespace hearth::gpu {

constexpr int kMaxRank = 512, kMaxWidth = 576;  // r, and r + dr

// One call. A row is a (token, head) pair: row t * H + h. Rows of one sequence are a group: all of them, or one
// token's.
struct MlaProblem {
  Heads<const float> q_c, q_rope;
  LatentCache cache;
  int r, dr;
  Positions at;
  int n_tokens, n_heads, group_rows;
  float scale;  // softmax scale * log2(e), above zero: weights are 2^score
  Heads<float> o_c;
  // The number of pieces, at most; the positions of a piece are a multiple of `granule`, and at least `shortest`.
  int n_pieces, granule, shortest;
  // For each piece and row, if there is more than one piece: the sum of 2^(score - largest) * value, the largest score
  // or what was taken for it, and the sum of the powers. [n_pieces, rows, partial_stride], [n_pieces, rows] twice.
  float *partial, *largest, *total;
  int partial_stride;

  GPU_FN int n_rows() const { return n_tokens * n_heads; }
  GPU_FN int width() const { return r + dr; }
  // One past the last position that a row sees.
  GPU_FN int limit(int row) const { return at.ids[row / n_heads] + 1; }
  GPU_FN int end_of_group(int row) const { return (row / group_rows + 1) * group_rows; }
  // Positions of a piece for the rows of a group: those that its last row sees, shared evenly in whole granules.
  GPU_FN int piece_size(int row) const {
    const int granules = (limit(end_of_group(row) - 1) + granule - 1) / granule;
    const int even = (granules + n_pieces - 1) / n_pieces * granule;
    return even > shortest ? even : shortest;
  }
  // Where a row's sum goes: to `partial`, or to the output if there is only one piece.
  GPU_FN float* sum_of(int piece, int row) const {
    return n_pieces == 1 ? head_at(o_c, row / n_heads, row % n_heads)
                         : partial + (int64_t(piece) * n_rows() + row) * partial_stride;
  }
  // Stores the state of a row's softmax if there are pieces to merge. Returns the factor for the row's sum.
  GPU_FN float finish(int piece, int row, float row_largest, float row_total, bool writes) const {
    if (n_pieces == 1) return 1.0f / row_total;
    if (writes) {
      largest[piece * n_rows() + row] = row_largest;
      total[piece * n_rows() + row] = row_total;
    }
    return 1.0f;
  }
};

}  // namespace hearth::gpu
