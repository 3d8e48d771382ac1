// Small tools over 256 bits, local to each file that includes them.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/inline.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

HEARTH_INLINE __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HEARTH_INLINE __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
HEARTH_INLINE void store256(void* p, __m256i v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}
HEARTH_INLINE __m256i in_both_halves(__m128i v) {
  return _mm256_broadcastsi128_si256(v);
}
// The four bytes at p in all lanes.
HEARTH_INLINE __m256i four_bytes(const void* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

// 16 nibbles as words.
HEARTH_INLINE __m256i nibble_words(const uint8_t* p) {
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15)));
}

HEARTH_INLINE uint16_t half_bits(const void* fp16) {
  uint16_t bits;
  memcpy(&bits, fp16, 2);
  return bits;
}
HEARTH_INLINE float half_to_float(const void* fp16) {
  return _cvtsh_ss(half_bits(fp16));
}

// The sums of the eight lanes of a, b, c, d. Always the same tree, so that equal lanes give equal bits wherever the
// sum is taken: ((0+1)+(2+3)) + ((4+5)+(6+7)).
HEARTH_INLINE __m128 sum4(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1));
}

// A mask whose first n lanes are set, 0 <= n <= 8.
HEARTH_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// e^x to about 1e-7 relative; 0 below -87.3 (so that e^-inf is 0), e^88 above 88; NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7, whose remainder is below
// r^8/8! = 5e-9; then n is added to the exponent. n ln 2 is subtracted in two parts, the first with few enough bits
// that its product with n is exact.
HEARTH_INLINE __m256 exp8(__m256 x) {
  const __m256 lowest = _mm256_set1_ps(-87.3f), highest = _mm256_set1_ps(88.0f);
  const __m256 in = _mm256_max_ps(lowest, _mm256_min_ps(highest, x));  // a NaN stays, being the second operand
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(in, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), in);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
  __m256 p = _mm256_set1_ps(1.0f / 5040);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), scaled);
}

// x / (1 + e^-x)
HEARTH_INLINE __m256 silu8(__m256 x) {
  const __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), x));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

}  // namespace
}  // namespace hearth
