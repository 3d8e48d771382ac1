// What attention in integers, naive (attend_integers.cpp) and absorbed (latent_integers.cpp), does alike: numbers
// become 16-bit integers, pairs of which are multiplied by vpdpwssd, and scores become weights. Local to each file.
#pragma once

#include "kernels/cpu/avx512/product.h"
#include "kernels/cpu/avx512/simd.h"

namespace hearth {
namespace {

// ---- rounding

// Less is never a unit, so that its inverse is finite.
constexpr float kLeastUnit = 1e-35f;

// What numbers are multiplied with to become integers: 0 makes none of those that have no unit.
HEARTH_INLINE float inverse(float unit) {
  return unit == unit ? 1 / unit : 0.0f;
}

// x times the inverse of its unit as integers; NaN and infinity times 0 as 0.
HEARTH_INLINE __m512i round_16(__m512 x, __m512 inverse) {
  const __m512 y = _mm512_mul_ps(x, inverse);
  return _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(y, y, _CMP_ORD_Q), y);
}
HEARTH_INLINE __m512i pair(__m512i first, __m512i second) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, first, _mm512_slli_epi32(second, 16));
}

// n numbers, a multiple of 16 -> integers in their natural order.
[[maybe_unused]] void round_row(const float* x, int64_t n, float unit, int16_t* out) {
  const __m512 factor = _mm512_set1_ps(inverse(unit));
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i q = round_16(_mm512_loadu_ps(x + i), factor);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtepi32_epi16(q));
  }
}

// Rows [n][width] of int16, of which the first 16 count, and zeros for those that are missing -> pairs
// [width / 2][stride] of 16 columns.
[[maybe_unused]] void pair_queries(const int16_t* rows, int64_t n, int64_t width, int32_t* out, int64_t stride) {
  for (int64_t c = 0; c < width; c += 32) {
    __m512i v[16];
    HEARTH_UNROLL for (int64_t j = 0; j < 16; ++j) {
      v[j] = j < n ? load512(rows + j * width + c) : _mm512_setzero_si512();
    }
    transpose(v);
    HEARTH_UNROLL for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(out + (c / 2 + j) * stride, v[j]);
  }
}

// ---- products

// Rows of int16 as rows of pairs.
[[maybe_unused]] const int32_t* in_pairs(const int16_t* rows) {
  return reinterpret_cast<const int32_t*>(rows);
}

HEARTH_INLINE __m512i add_pairs(__m512i x, __m512i row, __m512i sum) {
  sum = _mm512_dpwssd_epi32(sum, x, row);
  asm("" : "+v"(sum));  // stays where it is: left alone, GCC 12 copies and spills the sums
  return sum;
}

// c[i][j] = the integer sums * row_units[i] * column_units[j]. Those of several blocks are added as floats; `added`: to
// what c holds.
struct ScaledSteps {
  float* c;
  int64_t c_stride, block;
  const float *row_units, *column_units;
  bool added = false;

  using Sum = __m512i;
  HEARTH_INLINE __m512i begin(int64_t, int64_t, int64_t) const { return _mm512_setzero_si512(); }
  HEARTH_INLINE __m512i add(__m512i x, __m512i row, __m512i sum) const { return add_pairs(x, row, sum); }
  HEARTH_INLINE void end(int64_t i, int64_t j, int64_t k, __m512i sum) const {
    float* to = c + i * c_stride + j;
    const __m512 unit = _mm512_mul_ps(_mm512_set1_ps(row_units[i]), _mm512_loadu_ps(column_units + j));
    const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), unit);
    _mm512_storeu_ps(to, k <= block && !added ? value : _mm512_add_ps(_mm512_loadu_ps(to), value));
  }
};

// o[i][j] = o[i][j] * keep[i] + the integer sums * units[i], of one tile: the whole depth at once. keep null: o is not
// read.
struct AddedSteps {
  float* o;
  int64_t o_stride;
  const float *keep, *units;

  using Sum = __m512i;
  HEARTH_INLINE __m512i begin(int64_t, int64_t, int64_t) const { return _mm512_setzero_si512(); }
  HEARTH_INLINE __m512i add(__m512i x, __m512i row, __m512i sum) const { return add_pairs(x, row, sum); }
  HEARTH_INLINE void end(int64_t i, int64_t j, int64_t, __m512i sum) const {
    float* to = o + i * o_stride + j;
    const __m512 kept = keep ? _mm512_mul_ps(_mm512_set1_ps(keep[i]), _mm512_loadu_ps(to)) : _mm512_setzero_ps();
    _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(units[i]), kept));
  }
};

// ---- softmax

// Scores -> weights, for queries [i, i + 16) down n positions: [n][queries] floats -> [n / 2][queries] pairs, in the
// same place, times the values' units. Query i sees the first visible[i] of them; null: all. The integers of a query,
// each times what most_of(p) says of its position's values, add up to no more than `together`.
template <class Queries, class Most>
void softmax(const Queries& b, const float* value_units, const Most& most_of, float together, int64_t n,
             const int32_t* visible, int64_t i) {
  float* scores = b.scores + i;
  const __m512 before = _mm512_loadu_ps(b.largest + i), hidden = _mm512_set1_ps(-__builtin_inff());
  const __m512i limit = visible ? load512(visible + i) : _mm512_set1_epi32(int(n));
  __m512 largest = before;
  for (int64_t p = 0; p < n; ++p) {
    const __mmask16 sees = _mm512_cmpgt_epi32_mask(limit, _mm512_set1_epi32(int(p)));
    const __m512 s = _mm512_mask_mov_ps(hidden, sees, _mm512_loadu_ps(scores + p * b.n));
    largest = _mm512_max_ps(largest, s);
  }
  const __m512 keep = exp16(_mm512_sub_ps(before, largest));
  __m512 total = _mm512_mul_ps(_mm512_loadu_ps(b.total + i), keep);
  __m512 most = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
  for (int64_t p = 0; p < n; ++p) {
    const __mmask16 sees = _mm512_cmpgt_epi32_mask(limit, _mm512_set1_epi32(int(p)));
    const __m512 score = _mm512_loadu_ps(scores + p * b.n);
    const __m512 weight = _mm512_maskz_mov_ps(sees, exp16(_mm512_sub_ps(score, largest)));
    total = _mm512_add_ps(total, weight);
    // Where a value has no unit, those who see it get none either.
    const __m512 scaled = _mm512_maskz_mul_ps(sees, weight, _mm512_set1_ps(value_units[p]));
    _mm512_storeu_ps(scores + p * b.n, scaled);
    most = _mm512_max_ps(most, scaled);
    sum = _mm512_fmadd_ps(scaled, _mm512_set1_ps(most_of(p)), sum);
  }
  // (A NaN stays: second operand.)
  const __m512 by_most = _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 32767));
  const __m512 by_sum = _mm512_mul_ps(sum, _mm512_set1_ps(1 / together));
  const __m512 unit = _mm512_max_ps(_mm512_set1_ps(kLeastUnit), _mm512_max_ps(by_most, by_sum));
  const __m512 factor = _mm512_div_ps(_mm512_set1_ps(1), unit);
  int32_t* pairs = reinterpret_cast<int32_t*>(scores);
  for (int64_t p = 0; p < n; p += 2) {
    const __m512i first = round_16(_mm512_loadu_ps(scores + p * b.n), factor);
    const __m512i second =
        p + 1 < n ? round_16(_mm512_loadu_ps(scores + (p + 1) * b.n), factor) : _mm512_setzero_si512();
    _mm512_storeu_si512(pairs + p / 2 * b.n, pair(first, second));
  }
  _mm512_storeu_ps(b.largest + i, largest);
  _mm512_storeu_ps(b.total + i, total);
  _mm512_storeu_ps(b.keep + i, keep);
  _mm512_storeu_ps(b.weight_units + i, unit);
}

}  // namespace
}  // namespace hearth
