// Rounds activations to the integers of rounded_row.h.
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/matmul/rounded_row.h"

namespace hearth::gpu {

// The two bytes of a level, both signed, as dp4a takes them: level = 256 high + low.
GPU_FN uint32_t high_byte(int q) {
  return uint32_t(q + 128) >> 8 & 255;
}
GPU_FN uint32_t low_byte(int q) {
  return uint32_t(q) & 255;
}

// `lanes` neighbouring lanes have n each of the 16 values of a group (zeros past the row's end) -> their levels, and
// the group's scale and sum. Magnitudes are compared as integers, which order as the numbers do, except that NaN is the
// largest; a comparison of floats would lose it. NaN then becomes the scale, so the results are NaN too.
template <int lanes, int n>
GPU_FN GroupScale quantize(const float (&x)[n], int (&q)[n]) {
  int largest = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) largest = max(largest, int(float_bits(x[i]) & 0x7fffffffu));
  largest = warp_max<lanes>(largest);
  const float magnitude = float_from_bits(uint32_t(largest));
  const float inverse = magnitude > 0 ? kMostLevel / magnitude : 0.0f;
  int sum = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) {
    q[i] = max(-kMostLevel, min(kMostLevel, round_to_int(x[i] * inverse)));
    sum += q[i];
  }
  return {magnitude / kMostLevel, float(warp_sum<lanes>(sum))};
}

// The high and the low bytes of four levels.
struct LevelBytes {
  uint32_t high = 0, low = 0;

  GPU_FN explicit LevelBytes(const int (&q)[4]) {
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      high |= high_byte(q[j]) << 8 * j;
      low |= low_byte(q[j]) << 8 * j;
    }
  }
};

// Values `first` to first + 3 of a row of k go into its rounded form, by whole warps: four neighbouring lanes have the
// 16 of a group. Behind the row's end they are zeros, and the groups there nobody's.
GPU_FN void store_rounded(const float (&four)[4], int first, int k, std::byte* out) {
  int q[4];
  const GroupScale group = quantize<4>(four, q);
  const RoundedRow row(k);
  const int g = first / kGroupValues;
  if (g >= row.n_groups) return;
  const LevelBytes bytes(q);
  std::byte* const levels = out + row.levels_at(g) + first % kGroupValues;
  *reinterpret_cast<uint32_t*>(levels) = bytes.high;
  *reinterpret_cast<uint32_t*>(levels + kGroupValues) = bytes.low;
  if (first % kGroupValues == 0) *reinterpret_cast<GroupScale*>(out + row.scale_at(g)) = group;
}

}  // namespace hearth::gpu
