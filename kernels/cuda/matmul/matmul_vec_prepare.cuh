// Activations in the form that matmul_vec's inner loop reads: in 16 bits with a scale for every 16, or as floats. With
// 8 bits each product would lose as much as 4-bit weights have lost already, and the router would choose other experts
// for some tokens.
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/matmul/matmul_vec_job.h"

namespace hearth::gpu::vec {

// The two bytes of a level, both signed, as dp4a takes them: level = 256 high + low.
GPU_FN uint32_t high_byte(int q) {
  return uint32_t(q + 128) >> 8 & 255;
}
GPU_FN uint32_t low_byte(int q) {
  return uint32_t(q) & 255;
}

// kLanes neighbouring lanes have n each of the 16 values of a group (zeros past the row's end) -> their levels, and the
// group's scale and sum. Magnitudes are compared as integers, which order as the numbers do, except that NaN is the
// largest; a comparison of floats would lose it. NaN then becomes the scale, so the results are NaN too.
template <int kLanes, int n>
GPU_FN GroupScale quantize(const float (&x)[n], int (&q)[n]) {
  int largest = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) largest = max(largest, int(float_bits(x[i]) & 0x7fffffffu));
  largest = warp_max<kLanes>(largest);
  const float magnitude = float_from_bits(uint32_t(largest));
  const float inverse = magnitude > 0 ? kMostLevel / magnitude : 0.0f;
  int sum = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) {
    q[i] = max(-kMostLevel, min(kMostLevel, round_to_int(x[i] * inverse)));
    sum += q[i];
  }
  return {magnitude / kMostLevel, float(warp_sum<kLanes>(sum))};
}

// Rows are prepared four neighbouring values at a time: the first of `at`'s in the row.
GPU_FN unsigned first_of_four(unsigned apart, unsigned at) {
  if (apart == kFloatRows) return at / kLanes / 2 * kFloatPiece + at % kLanes * 8 + at / kLanes % 2 * 4;
  const GroupPlace place{at / (8 * kLanes) * kLanes + at / 4 % kLanes, at / (4 * kLanes) % 2};
  return 16 * place.group(apart) + at % 4 * 4;
}
// How many there are, in whole pieces: a multiple of 32.
GPU_FN unsigned fours_of(unsigned apart, int k) {
  return apart == kFloatRows ? unsigned(k + kFloatPiece - 1) / kFloatPiece * (kFloatPiece / 4)
                             : unsigned(k + kLevelPiece - 1) / kLevelPiece * (kLevelPiece / 4);
}

// A prepared row of `source`, by `n_threads` threads (whole warps); this thread is number `thread`. They write in
// order.
template <class Source>
GPU_FN void prepare(const Source& source, int k, Apart apart_, std::byte* row, int thread, int n_threads) {
  const auto apart = unsigned(apart_);
  const unsigned n = fours_of(apart, k);
  for (unsigned at = unsigned(thread); at < n; at += unsigned(n_threads)) {
    const unsigned i = first_of_four(apart, at);
    float four[4];
    source.four(i, four);
    if (apart == kFloatRows) {
      reinterpret_cast<float4*>(row)[at] = {four[0], four[1], four[2], four[3]};
      continue;
    }
    int q[4];
    const GroupScale group = quantize<4>(four, q);
    if (int(i) >= k) continue;
    uint32_t high = 0, low = 0;
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      high |= high_byte(q[j]) << 8 * j;
      low |= low_byte(q[j]) << 8 * j;
    }
    const GroupPlace place{at / (8 * kLanes) * kLanes + at / 4 % kLanes, at / (4 * kLanes) % 2};
    std::byte* out = row + place.level_at() + at % 4 * 4;
    *reinterpret_cast<uint32_t*>(out) = high;
    *reinterpret_cast<uint32_t*>(out + kLowBytes) = low;
    if (at % 4 == 0) *reinterpret_cast<GroupScale*>(row + place.scale_at()) = group;
  }
}

}  // namespace hearth::gpu::vec
