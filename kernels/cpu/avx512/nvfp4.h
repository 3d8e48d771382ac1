// NVFP4's groups of 16 weights as floats: half a scale times levels, which is exact.
#pragma once

#include "kernels/cpu/avx512/decoders.h"

namespace hearth {
namespace {

// Weights at .. at + 15 of a row; at is a multiple of 16.
HEARTH_INLINE __m512 nvfp4_group(const uint8_t* row, int64_t at) {
  const uint8_t* block = row + size_t(at) / BlockNVFP4::kElems * sizeof(BlockNVFP4);
  const int group = int(at % BlockNVFP4::kElems / 16), code = block[group];
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + offsetof(BlockNVFP4, qs) + 8 * group));
  const __m128i low = _mm_and_si128(_mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15));
  const __m512 levels = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(e2m1_table(), low)));
  // e4m3's exponent and mantissa, put in the places of half precision's, are 2^-8 of the number.
  const float half_scale = code == 0x7f ? 0.0f : _cvtsh_ss(uint16_t((code & 0x7f) << 7)) * 128.0f;
  return _mm512_mul_ps(levels, _mm512_set1_ps(half_scale));
}

}  // namespace
}  // namespace hearth
