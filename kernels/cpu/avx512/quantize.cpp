// Activations in 8 bits, and the gate.
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/simd.h"

namespace hearth::HEARTH_AVX512 {

void quantize(const float* x, int64_t n, X8* out) {
  // Magnitudes are compared as integers, which order as the numbers do, except that NaN is the largest; a comparison of
  // floats would lose it. NaN then becomes the scale, so the results are NaN too.
  __m512i largest = _mm512_setzero_si512();
  __m512 v[16];
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) {
    const int64_t left = n - 16 * i;
    const __mmask16 there = left >= 16 ? __mmask16(0xffff) : left <= 0 ? __mmask16(0) : __mmask16((1 << left) - 1);
    v[i] = _mm512_maskz_loadu_ps(there, x + 16 * i);
    largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(v[i])));
  }
  const float max = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(largest))));
  const float scale = max / 127, inverse = max > 0 ? 127 / max : 0;
  out->scale = scale;
  alignas(64) int32_t sums[16];
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) {
    // What is not a number becomes the least integer, of which a sum must not overflow.
    const __m512i q =
        _mm512_max_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(v[i], _mm512_set1_ps(inverse))), _mm512_set1_epi32(-127));
    _mm_store_si128(reinterpret_cast<__m128i*>(out->q + 16 * i), _mm512_cvtsepi32_epi8(q));
    sums[i] = _mm512_reduce_add_epi32(q);
  }
  const __m512i sum16 = _mm512_load_si512(sums), zero = _mm512_setzero_si512();
  const __m512i pairs = _mm512_add_epi32(sum16, _mm512_shuffle_epi32(sum16, _MM_PERM_CDAB));
  const __m256i sum32 = _mm512_castsi512_si256(
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0), pairs));
  out->minus_sum = -_mm512_reduce_add_epi32(sum16);
  _mm512_store_si512(out->minus_sum16, _mm512_sub_epi32(zero, sum16));
  _mm256_store_si256(reinterpret_cast<__m256i*>(out->minus_sum32), _mm256_sub_epi32(_mm256_setzero_si256(), sum32));
  _mm256_storeu_ps(out->sum32, _mm256_cvtepi32_ps(sum32));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->small_sum16), _mm512_cvtepi32_epi16(sum16));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out->small_sum32), _mm256_cvtepi32_epi16(sum32));
}

void silu_product(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 there = n - i >= 16 ? __mmask16(0xffff) : __mmask16((1 << (n - i)) - 1);
    const __m512 g = _mm512_maskz_loadu_ps(there, gate + i), u = _mm512_maskz_loadu_ps(there, up + i);
    const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
    _mm512_mask_storeu_ps(gate + i, there, _mm512_mul_ps(silu, u));
  }
}

}  // namespace hearth::HEARTH_AVX512
