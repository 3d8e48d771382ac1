// Activations as matmul_vec's inner loop reads them: in 8 bits with a scale for every 16, or as they are.
#pragma once

#include "kernels/cuda/matmul_vec_job.h"

namespace hearth::gpu::vec {

// Four neighbouring lanes have 4 of 16 values each (zeros where `there` is false): their bytes, and the group's scale.
// Magnitudes are compared as integers: the order is that of the numbers, and NaN, which a comparison of numbers would
// lose, is the largest. It becomes the scale, so that what was not a number stays none.
template <int kLanes, int n>
GPU_FN GroupScale quantize(const float (&x)[n], int (&q)[n]) {
  int largest = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) largest = max(largest, int(float_bits(x[i]) & 0x7fffffffu));
  GPU_UNROLL
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  }
  const float magnitude = float_from_bits(uint32_t(largest));
  const float inverse = magnitude > 0 ? 127 / magnitude : 0.0f;
  int sum = 0;
  GPU_UNROLL
  for (int i = 0; i < n; ++i) {
    q[i] = max(-127, min(127, round_to_int(x[i] * inverse)));
    sum += q[i];
  }
  GPU_UNROLL
  for (int offset = kLanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  return {magnitude / 127, float(sum)};
}

// x [k] -> a prepared row, by `n_threads` threads (whole warps) of which this is number `thread`.
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
        const uint32_t word =
            (uint32_t(q[0]) & 255) | (uint32_t(q[1]) & 255) << 8 | (uint32_t(q[2]) & 255) << 16 | uint32_t(q[3]) << 24;
        *reinterpret_cast<uint32_t*>(row + i) = word;
        if (i % 16 == 0) reinterpret_cast<GroupScale*>(row + k)[i / 16] = group;
      }
    }
  }
}

}  // namespace hearth::gpu::vec
