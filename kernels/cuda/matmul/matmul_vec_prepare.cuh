// Activations in the form that matmul_vec's inner loop reads: in 16 bits with a scale for every 16, or as floats. With
// 8 bits each product would lose as much as 4-bit weights have lost already, and the router would choose other experts
// for some tokens.
#pragma once

#include "kernels/cuda/matmul/matmul_vec_job.h"
#include "kernels/cuda/matmul/rounded_row.cuh"

namespace hearth::gpu::vec {

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
    const LevelBytes bytes(q);
    const GroupPlace place{at / (8 * kLanes) * kLanes + at / 4 % kLanes, at / (4 * kLanes) % 2};
    std::byte* out = row + place.level_at() + at % 4 * 4;
    *reinterpret_cast<uint32_t*>(out) = bytes.high;
    *reinterpret_cast<uint32_t*>(out + kLowBytes) = bytes.low;
    if (at % 4 == 0) *reinterpret_cast<GroupScale*>(row + place.scale_at()) = group;
  }
}

}  // namespace hearth::gpu::vec
