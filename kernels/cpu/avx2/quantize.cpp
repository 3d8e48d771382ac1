// Activations in 8 bits, and the gate.
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/simd.h"

namespace hearth::avx2 {

namespace {

// Sums of groups first .. first + 7 of 16. pairs: sums of two neighbours, of 128.
HEARTH_INLINE void put_sums(const __m256i (&pairs)[4], int first, X8* out) {
  const auto add = [](__m256i a, __m256i b) HEARTH_INLINE_LAMBDA {
    return _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  };
  const __m256i a = add(pairs[0], pairs[1]), b = add(pairs[2], pairs[3]);
  // A dword for each group, in the order 0 2 4 6 1 3 5 7.
  const __m256i sums = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  const __m256i in_order = _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  store256(out->pair_sum16 + first, in_order);
  const __m256i sum16 = _mm256_madd_epi16(in_order, _mm256_set1_epi16(1));
  const auto words = [](__m128i low, __m128i high) HEARTH_INLINE_LAMBDA { return _mm_packs_epi32(low, high); };
  const __m128i low = _mm256_castsi256_si128(sum16), high = _mm256_extracti128_si256(sum16, 1);
  const __m128i sum32 = _mm_hadd_epi32(low, high);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out->small_sum16 + first), words(low, high));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out->small_sum32 + first / 2), words(sum32, sum32));
  _mm_storeu_ps(out->sum32 + first / 2, _mm_cvtepi32_ps(sum32));
}

}  // namespace

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
  HEARTH_UNROLL for (int half = 0; half < kChunk; half += 128) {
    __m256i pairs[4];  // sums of two
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
      const int at = half + 32 * i;
      const __m256i a = _mm256_packs_epi32(rounded(at), rounded(at + 8));
      const __m256i b = _mm256_packs_epi32(rounded(at + 16), rounded(at + 24));
      const __m256i q =
          _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
      store256(out->q + at, q);
      pairs[i] = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    }
    put_sums(pairs, half / 16, out);
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
