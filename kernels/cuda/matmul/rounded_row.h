// A row of activations as integers (Exec::rounded): in groups of 16 neighbours, each value 16 bits, as two signed bytes
// that dp4a takes, and a scale for each group. A norm leaves it beside the floats, in the row's order; matmul_vec's
// blocks copy it into the order in which they read it. 40 bytes for a group of 16: Ops::OneToken::rounded_bytes has
// room.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/rounding.h"
#include "quant/fp.h"

namespace hearth::gpu {

// x is about scale * q, q = 256 high + low.
struct alignas(8) GroupScale {
  float scale, sum;  // of the 16 q
};

// [groups][high, low][16] int8, then [groups] GroupScale; behind the row's end zeros.
struct RoundedRow {
  int64_t n_groups;

  HEARTH_HD explicit RoundedRow(int64_t k) : n_groups((k + kGroupValues - 1) / kGroupValues) {}
  HEARTH_HD int64_t levels_at(int64_t group) const { return group * kGroupBytes; }
  HEARTH_HD int64_t scale_at(int64_t group) const {
    return n_groups * kGroupBytes + group * int64_t(sizeof(GroupScale));
  }

  static constexpr int64_t kGroupBytes = 2 * kGroupValues;
};

}  // namespace hearth::gpu
