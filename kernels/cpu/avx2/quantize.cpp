// Activations in 8 bits, and the gate.
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/simd.h"

namespace hearth::avx2 {

void quantize(const float* x, int64_t n, X8* out) {
  alignas(32) float padded[kChunk];
  if (n < kChunk) {
    memcpy(padded, x, size_t(n) * sizeof(float));
    memset(padded + n, 0, size_t(kChunk - n) * sizeof(float));
    x = padded;
  }
  // Magnitudes are compared as integers, which order as the numbers do, except that NaN is the largest; a comparison of
  // floats would lose it. NaN then becomes the scale, so the results are NaN too.
  __m256i magnitudes = _mm256_setzero_si256();
  const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
  for (int i = 0; i < kChunk; i += 8) {
    magnitudes = _mm256_max_epi32(magnitudes, _mm256_and_si256(no_sign, _mm256_castps_si256(_mm256_loadu_ps(x + i))));
  }
  alignas(32) int32_t lanes[8];
  store256(lanes, magnitudes);
  int32_t largest = 0;
  for (const int32_t lane : lanes) largest = lane > largest ? lane : largest;
  float max;
  memcpy(&max, &largest, sizeof max);
  out->scale = max / 127;
  const __m256 inverse = _mm256_set1_ps(max > 0 ? 127 / max : 0);
  const auto rounded = [&](int i) HEARTH_INLINE_LAMBDA {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
  };
  const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
  for (int i = 0; i < kChunk; i += 32) {
    const __m256i a = _mm256_packs_epi32(rounded(i), rounded(i + 8));
    const __m256i b = _mm256_packs_epi32(rounded(i + 16), rounded(i + 24));
    const __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    store256(out->q + i, q);
    alignas(32) int32_t four[8];  // sums of four
    store256(four, _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, q), ones16));
    const int32_t low = four[0] + four[1] + four[2] + four[3], high = four[4] + four[5] + four[6] + four[7];
    const int at = i / 16;
    out->minus_sum16[at] = -low;
    out->minus_sum16[at + 1] = -high;
    out->minus_sum32[at / 2] = -(low + high);
    out->sum16[at] = float(low);
    out->sum16[at + 1] = float(high);
    out->sum32[at / 2] = float(low + high);
    out->small_sum16[at] = int16_t(low);
    out->small_sum16[at + 1] = int16_t(high);
    out->small_sum32[at / 2] = int16_t(low + high);
  }
}

void silu_product(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256i there = first_lanes(n - i < 8 ? n - i : 8);
    const __m256 g = _mm256_maskload_ps(gate + i, there), u = _mm256_maskload_ps(up + i, there);
    _mm256_maskstore_ps(gate + i, there, _mm256_mul_ps(silu8(g), u));
  }
}

}  // namespace hearth::avx2
