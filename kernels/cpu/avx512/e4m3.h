// What the kernels for F8_E4M3 share: how its codes become wider numbers, and which blocks need care.
//
// A code seeeemmm with a nonzero exponent only has to be moved: its bits, below constant upper bits of a wider
// exponent, are 2^-8 of the number. Zeros, subnormals and NaN have to be looked up, so blocks are first checked for any
// (6 % of the groups of four blocks have one where weights are Gaussian).
#pragma once

#include "kernels/cpu/avx512/simd.h"

namespace hearth {
namespace {

constexpr float kE4m3Scale = 256.0f;  // a weight divided by what the kernels here make of its bits

// Twice (magnitude + 1), modulo 256, which drops the sign: at most 16 for the magnitudes 0 .. 7 (zero, subnormals) and
// 127 (NaN), which becomes 0, more for all others.
HEARTH_INLINE __m512i special_distance(__m512i codes) {
  return _mm512_add_epi8(_mm512_add_epi8(codes, codes), _mm512_set1_epi8(2));
}
HEARTH_INLINE bool any_special(__m512i least_distance) {
  return _mm512_cmple_epu8_mask(least_distance, _mm512_set1_epi8(16)) != 0;
}
// Whether one of four blocks' 128 weights is a zero, a subnormal or NaN.
HEARTH_INLINE bool has_special(const uint8_t* const (&codes)[4]) {
  __m512i least = _mm512_set1_epi8(-1);
  HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
    HEARTH_UNROLL for (int at = 0; at < 128; at += 64) {
      least = _mm512_min_epu8(least, special_distance(load512(codes[r] + at)));
    }
  }
  return any_special(least);
}

constexpr int kAndOr = 0xEA;  // (a & b) | c, for vpternlog

// The 32 codes in the upper bytes of 32 words, as bfloat16 (2^-8 of the number).
HEARTH_INLINE __m512i e4m3_to_bf16(__m512i words) {
  const __m512i in_place = _mm512_srai_epi16(words, 4);  // sssss eeee mmm ....
  return _mm512_ternarylogic_epi32(in_place, _mm512_set1_epi16(int16_t(0x87f0)), _mm512_set1_epi16(0x3800), kAndOr);
}

// mmm * 2^-17 as bfloat16: 2^-8 of the subnormals and of zero.
constexpr int16_t e4m3_subnormal(int mantissa) {
  if (mantissa == 0) return 0;
  const int exponent = mantissa >= 4 ? 2 : mantissa >= 2 ? 1 : 0;
  return int16_t((127 - 17 + exponent) << 7 | ((mantissa << (7 - exponent)) & 0x7f));
}
// Corrects the zeros, subnormals and NaN in a result of e4m3_to_bf16.
HEARTH_INLINE __m512i with_specials(__m512i bf16) {
  alignas(64) static constexpr int16_t kSubnormals[32] = {e4m3_subnormal(0), e4m3_subnormal(1), e4m3_subnormal(2),
                                                          e4m3_subnormal(3), e4m3_subnormal(4), e4m3_subnormal(5),
                                                          e4m3_subnormal(6), e4m3_subnormal(7)};
  const __m512i exponent = _mm512_set1_epi16(0x0780), magnitude = _mm512_set1_epi16(0x07f0);
  const __mmask32 small = _mm512_testn_epi16_mask(bf16, exponent);
  const __mmask32 nan = _mm512_cmpeq_epi16_mask(_mm512_and_si512(bf16, magnitude), magnitude);
  const __m512i value = _mm512_permutexvar_epi16(_mm512_srli_epi16(bf16, 4), _mm512_load_si512(kSubnormals));
  const __m512i sign = _mm512_and_si512(bf16, _mm512_set1_epi16(int16_t(0x8000)));
  const __m512i fixed = _mm512_mask_mov_epi16(bf16, small, _mm512_or_si512(value, sign));
  return _mm512_mask_mov_epi16(fixed, nan, _mm512_set1_epi16(0x7fc0));
}

}  // namespace
}  // namespace hearth
