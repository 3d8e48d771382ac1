// How absorbed attention over one sequence is cut into pieces of its positions, and what each leaves behind for every
// row, a (token, head) pair.
#pragma once

#include <cstdint>

#include "quant/fp.h"

namespace hearth::gpu {

struct MlaPieces {
  int n = 0;  // at most; 0: none
  // The positions of a piece are a multiple of `granule`, and at least `shortest`.
  int granule = 1, shortest = 1;
  const int32_t* positions = nullptr;  // [T]: a token sees the positions up to its own
  int n_rows = 0, n_heads = 0;         // T H, H
  // For each piece and row, if there is more than one piece: the sum of 2^(score - largest) * value, the largest score
  // or what was taken for it, and the sum of the powers. [n, rows, stride], [n, rows] twice.
  float *sums = nullptr, *largest = nullptr, *total = nullptr;
  int stride = 0;

  // One past the last position that a row sees.
  HEARTH_HD int limit(int row) const { return positions[row / n_heads] + 1; }
  // Positions of a piece for rows of which the last sees so many: shared evenly in whole granules.
  HEARTH_HD int size(int n_positions) const {
    const int granules = (n_positions + granule - 1) / granule;
    const int even = (granules + n - 1) / n * granule;
    return even > shortest ? even : shortest;
  }
  HEARTH_HD float* sum_of(int piece, int row) const { return sums + (int64_t(piece) * n_rows + row) * stride; }
};

}  // namespace hearth::gpu
