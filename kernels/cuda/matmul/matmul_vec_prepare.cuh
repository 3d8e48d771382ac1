// Activations in the form that matmul_vec's inner loop reads: in 16 bits with a scale for every 16, or as floats. With
// 8 bits each product would lose as much as 4-bit weights have lost already, and the router would choose other experts
// for some tokens.
#pragma once

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

// x [k] -> a prepared row, by `n_threads` threads (whole warps); this thread is number `thread`.
template <bool floats>
GPU_FN void prepare(const float* x, int k, std::byte* row, int thread, int n_threads) {
  if constexpr (floats) {
    auto* out = reinterpret_cast<float*>(row);
    for (int i = thread; i < (k + 7) / 8 * 8; i += n_threads) out[i] = i < k ? x[i] : 0.0f;
  } else {
    for (int first = thread / 32 * 32; first < k / 4; first += n_threads) {
      const int i = 4 * (first + thread % 32);
      float four[4];
      int q[4];
      GPU_UNROLL
      for (int j = 0; j < 4; ++j) four[j] = i < k ? x[i + j] : 0.0f;
      const GroupScale group = quantize<4>(four, q);
      if (i < k) {
        uint32_t high = 0, low = 0;
        GPU_UNROLL
        for (int j = 0; j < 4; ++j) {
          high |= high_byte(q[j]) << 8 * j;
          low |= low_byte(q[j]) << 8 * j;
        }
        *reinterpret_cast<uint32_t*>(row + i) = high;
        *reinterpret_cast<uint32_t*>(row + k + i) = low;
        if (i % 16 == 0) reinterpret_cast<GroupScale*>(row + 2 * k)[i / 16] = group;
      }
    }
  }
}

}  // namespace hearth::gpu::vec
