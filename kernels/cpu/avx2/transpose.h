// Dwords of eight rows side by side: what lies in rows becomes vectors that hold one dword of each row.
#pragma once

#include "kernels/cpu/avx2/simd.h"

namespace hearth {
namespace {

// 8 rows of 8 dwords -> 8 vectors of one dword per row.
HEARTH_INLINE void transpose(__m256i (&v)[8]) {
  __m256i t[8];
  HEARTH_UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  HEARTH_UNROLL for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
    t[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
  }
  HEARTH_UNROLL for (int i = 0; i < 8; ++i) v[i] = t[i];
}

// The 16 bytes `at` bytes after each of eight pointers -> 4 vectors of one dword per row. Row r + 4 is loaded into the
// upper half of row r's register, so that no dword has to cross the halves afterwards.
HEARTH_INLINE void load_transposed(const uint8_t* const* p, int at, __m256i (&out)[4]) {
  __m256i v[4];
  HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
    v[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p[r] + at)), load128(p[r + 4] + at), 1);
  }
  const __m256i low01 = _mm256_unpacklo_epi32(v[0], v[1]), low23 = _mm256_unpacklo_epi32(v[2], v[3]);
  const __m256i high01 = _mm256_unpackhi_epi32(v[0], v[1]), high23 = _mm256_unpackhi_epi32(v[2], v[3]);
  out[0] = _mm256_unpacklo_epi64(low01, low23);
  out[1] = _mm256_unpackhi_epi64(low01, low23);
  out[2] = _mm256_unpacklo_epi64(high01, high23);
  out[3] = _mm256_unpackhi_epi64(high01, high23);
}

// The half-precision numbers in the lower words of eight dwords, as floats.
HEARTH_INLINE __m256 low_halves(__m256i v) {
  const __m256i in_quarters = _mm256_shuffle_epi8(
      v, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13)));
  return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(in_quarters, 0x08)));
}

}  // namespace
}  // namespace hearth
