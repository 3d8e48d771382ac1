// What the kernels of mla_attend.cu share: one call, and how the cache is cut into pieces.
#pragma once

#include "kernels/cuda/attention/heads.cuh"
#include "kernels/cuda/attention/mla_pieces.h"

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
  MlaPieces pieces;

  GPU_FN int width() const { return r + dr; }
  GPU_FN int limit(int row) const { return pieces.limit(row); }
  GPU_FN int end_of_group(int row) const { return (row / group_rows + 1) * group_rows; }
  // Positions of a piece for the rows of a group: by those that its last row sees.
  GPU_FN int piece_size(int row) const { return pieces.size(limit(end_of_group(row) - 1)); }
  // Where a row's sum goes: to the pieces, or to the output if there is only one.
  GPU_FN float* sum_of(int piece, int row) const {
    return pieces.n == 1 ? head_at(o_c, row / n_heads, row % n_heads) : pieces.sum_of(piece, row);
  }
  // Stores the state of a row's softmax if there are pieces to merge. Returns the factor for the row's sum.
  GPU_FN float finish(int piece, int row, float row_largest, float row_total, bool writes) const {
    if (pieces.n == 1) return 1.0f / row_total;
    if (writes) {
      pieces.largest[piece * pieces.n_rows + row] = row_largest;
      pieces.total[piece * pieces.n_rows + row] = row_total;
    }
    return 1.0f;
  }
};

}  // namespace hearth::gpu
