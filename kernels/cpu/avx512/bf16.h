// Numbers as bfloat16 in the order of bf16_place, and what bf16.cpp offers to other files. For processors with
// AVX512-BF16.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"

namespace hearth {
namespace avx512_bf16 {

void round(const float* x, int64_t n, uint16_t* out);

}  // namespace avx512_bf16

namespace {

struct Bf16Order {
  uint16_t pick[64];
  constexpr Bf16Order() : pick() {
    for (int i = 0; i < 64; ++i) pick[bf16_place(i)] = uint16_t(i);
  }
};

// 64 bfloat16 in natural order -> in the order of bf16_place.
HEARTH_INLINE void reorder(__m512i low, __m512i high, __m512i (&out)[2]) {
  alignas(64) static constexpr Bf16Order kOrder;
  HEARTH_UNROLL for (int i = 0; i < 2; ++i) {
    out[i] = _mm512_permutex2var_epi16(low, _mm512_load_si512(kOrder.pick + 32 * i), high);
  }
}
// The same for 64 floats, which are rounded.
HEARTH_INLINE void round_64(const __m512 (&v)[4], __m512i (&out)[2]) {
  reorder(__m512i(_mm512_cvtne2ps_pbh(v[1], v[0])), __m512i(_mm512_cvtne2ps_pbh(v[3], v[2])), out);
}

// A mask of the first n lanes of 16, or of 32; n may be negative or too large.
HEARTH_INLINE __mmask16 first_of_16(int64_t n) {
  return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1);
}
HEARTH_INLINE __mmask32 first_of_32(int64_t n) {
  return n >= 32 ? __mmask32(0xffffffff) : n <= 0 ? __mmask32(0) : __mmask32((1u << n) - 1);
}

}  // namespace
}  // namespace hearth
