// Places by falling value, without comparing floats: NaN, which no comparison of floats places anywhere, has a place
// too.
#pragma once

#include "kernels/cuda/kernel.h"

namespace hearth::gpu {

// An integer of the same order as the float, which is not NaN: more than 0. Zeros of both signs are the same.
GPU_FN uint32_t order_of(float v) {
  const uint32_t bits = float_bits(v + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
inline constexpr uint32_t kLowestOrder = 0x007fffff;  // of -infinity

}  // namespace hearth::gpu
