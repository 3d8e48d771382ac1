// What the kernels of mla_attend.cu share: one call, and how the cache is cut into pieces.
#pragma once

#include "kernels/cuda/attention/heads.cuh"

namespace hearth::gpu {

constexpr int kMaxRank = 512, kMaxWidth = 576;  // r, and r + dr

// One call. A row is a (token, head) pair: row t * H + h.
struct MlaProblem {
  Heads<const float> q_c, q_rope;
  const void* cache;
  int r, dr;
  const int32_t* ids;
  int n_tokens, n_heads;
  float scale;  // of scores to powers of 2
  Heads<float> o_c;
  int n_pieces, granule;  // how many at most, and the multiple of positions that they hold
  // Of each piece and row, where there is more than one piece: sum of 2^(score - largest) * value, the largest score,
  // and the sum of the powers. [n_pieces, rows, partial_stride], [n_pieces, rows] twice.
  float *partial, *largest, *total;
  int partial_stride;

  GPU_FN int n_rows() const { return n_tokens * n_heads; }
  GPU_FN int width() const { return r + dr; }
  // One past the last position that a row sees.
  GPU_FN int limit(int row) const { return ids[0] + at_most(row, n_rows() - 1) / n_heads + 1; }
  // Positions of a piece: what the device knows there are, dealt out evenly in whole granules.
  GPU_FN int piece_size() const {
    const int granules = (ids[0] + n_tokens + granule - 1) / granule;
    return (granules + n_pieces - 1) / n_pieces * granule;
  }
  // Where a row's sum goes: if there is only one piece, it is the output.
  GPU_FN float* sum_of(int piece, int row) const {
    return n_pieces == 1 ? head_at(o_c, row / n_heads, row % n_heads)
                         : partial + (int64_t(piece) * n_rows() + row) * partial_stride;
  }
  // Keeps the state of a row's softmax, if others have to be merged with it; returns the factor of its sum.
  GPU_FN float finish(int piece, int row, float row_largest, float row_total, bool writes) const {
    if (n_pieces == 1) return 1.0f / row_total;
    if (writes && row < n_rows()) {
      largest[piece * n_rows() + row] = row_largest;
      total[piece * n_rows() + row] = row_total;
    }
    return 1.0f;
  }
};

}  // namespace hearth::gpu
