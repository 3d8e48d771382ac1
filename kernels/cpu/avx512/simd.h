// Small tools over 512 bits, local to each file that includes them. The folder is compiled twice, with and without
// VNNI; HEARTH_AVX512 is the namespace of each.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "kernels/cpu/inline.h"

#ifdef __AVX512VNNI__
#define HEARTH_AVX512 avx512_vnni
#else
#define HEARTH_AVX512 avx512
#endif

namespace hearth {
namespace {

HEARTH_INLINE __m512i load512(const void* p) {
  return _mm512_loadu_si512(p);
}
HEARTH_INLINE __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HEARTH_INLINE __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
HEARTH_INLINE __m512i join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
HEARTH_INLINE __m512i in_both_halves(__m256i v) {
  return _mm512_broadcast_i64x4(v);
}
HEARTH_INLINE __m512i in_all_lanes(__m128i v) {
  return _mm512_broadcast_i32x4(v);
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

// acc + sums of four products u * s: u unsigned bytes, s signed ones within +-127.
HEARTH_INLINE __m512i dot4(__m512i acc, __m512i u, __m512i s) {
#ifdef __AVX512VNNI__
  return _mm512_dpbusd_epi32(acc, u, s);
#else
  // Sums of two fit 16 bits while u <= 128 (2 * 128 * 127 = 32512), so larger u go in two parts.
  const __m512i ones = _mm512_set1_epi16(1), top = _mm512_set1_epi8(char(0x80));
  const __m512i low = _mm512_maddubs_epi16(_mm512_andnot_si512(top, u), s);
  const __m512i high = _mm512_maddubs_epi16(_mm512_and_si512(top, u), s);
  acc = _mm512_add_epi32(acc, _mm512_madd_epi16(low, ones));
  return _mm512_add_epi32(acc, _mm512_madd_epi16(high, ones));
#endif
}
// The same for u < 128, which the format ensures.
HEARTH_INLINE __m512i dot4_small(__m512i acc, __m512i u, __m512i s) {
#ifdef __AVX512VNNI__
  return _mm512_dpbusd_epi32(acc, u, s);
#else
  return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1)));
#endif
}
// acc + sums of two products of 16 bits.
HEARTH_INLINE __m512i dot2(__m512i acc, __m512i a, __m512i b) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(acc, a, b);
#else
  return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}

// 16 rows of 16 dwords -> 16 vectors of one dword per row.
HEARTH_INLINE void transpose(__m512i (&v)[16]) {
  __m512i t[16];
  HEARTH_UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  HEARTH_UNROLL for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    const __m512i a = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88), b = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xDD);
    t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
    t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) v[i] = t[i];
}

// e^x to about 1e-7 relative; 0 below -87 (so that e^-inf is 0), e^88 above 88; NaN stays NaN.
HEARTH_INLINE __m512 exp16(__m512 x) {
  const __m512 lowest = _mm512_set1_ps(-87.0f);
  const __m512 in = _mm512_max_ps(lowest, _mm512_min_ps(_mm512_set1_ps(88.0f), x));  // a NaN stays: second operand
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(in, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), in);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  }
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ), p, n);
}

}  // namespace
}  // namespace hearth
