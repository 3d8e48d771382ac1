// The steps of attention in integers (kernels/cpu/attend_integers.h), for processors with VNNI. The four products are
// those of attend.cpp, with pairs of 16-bit integers (vpdpwssd) in place of floats:
//
//   keys    [positions][nope]     latents  x  W^UK, in pairs of latent columns [r / 2][nope]
//   values  [positions][v]        latents  x  W^UV, in the same form
//   scores  [positions][queries]  keys     x  queries, in pairs of columns [width / 2][queries]
//   sums    [queries][columns]    weights  x  values, in pairs of positions [n / 2][columns]
//
// Bound: vpdpwssd, of which Zen 4 and Intel's processors do as many per cycle as FMAs.
#include "kernels/cpu/attend_integers.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/product.h"
#include "quant/round_up.h"

namespace hearth::HEARTH_AVX512 {
namespace {

// ---- rounding

// How large the magnitudes of n integers may be together, so that no sum of their products with integers within `most`
// leaves 32 bits. Rounding adds up to n / 2.
float most_together(float most, int64_t n) {
  return 2147483647.0f / most - float(n);
}

// Less is never a unit, so that its inverse is finite.
constexpr float kLeastUnit = 1e-35f;

// The unit with which n numbers (a multiple of 16) become integers within `most` and `together`. NaN if one is NaN or
// infinite.
float unit_of(const float* x, int64_t n, float most, float together) {
  __m512 largest = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 magnitude = _mm512_abs_ps(_mm512_loadu_ps(x + i));
    largest = _mm512_max_ps(largest, magnitude);
    sum = _mm512_add_ps(sum, magnitude);
  }
  const float a = _mm512_reduce_max_ps(largest) / most, b = _mm512_reduce_add_ps(sum) / together;
  if (!(b < __builtin_inff())) return __builtin_nanf("");
  const float unit = a > b ? a : b;
  return unit > kLeastUnit ? unit : kLeastUnit;
}

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
void round_row(const float* x, int64_t n, float unit, int16_t* out) {
  const __m512 factor = _mm512_set1_ps(inverse(unit));
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i q = round_16(_mm512_loadu_ps(x + i), factor);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtepi32_epi16(q));
  }
}

// Two rows of n numbers -> pairs.
void pair_rows(const float* a, float unit_a, const float* b, float unit_b, int64_t n, IntegerPair* out) {
  const __m512 factor_a = _mm512_set1_ps(inverse(unit_a)), factor_b = _mm512_set1_ps(inverse(unit_b));
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i first = round_16(_mm512_loadu_ps(a + i), factor_a);
    const __m512i second = round_16(_mm512_loadu_ps(b + i), factor_b);
    _mm512_storeu_si512(out + i, pair(first, second));
  }
}

// floats [n_rows][width] -> pairs of rows [n_rows / 2][width], in the same place, with a unit for each column.
void pair_columns(float* rows, int64_t n_rows, int64_t width, float* units) {
  IntegerPair* out = reinterpret_cast<IntegerPair*>(rows);
  for (int64_t j = 0; j < width; j += 16) {
    __m512 largest = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < n_rows; ++c) {
      const __m512 magnitude = _mm512_abs_ps(_mm512_loadu_ps(rows + c * width + j));
      largest = _mm512_max_ps(largest, magnitude);
      sum = _mm512_add_ps(sum, magnitude);
    }
    const __m512 unit =
        _mm512_max_ps(_mm512_set1_ps(kLeastUnit), _mm512_mul_ps(largest, _mm512_set1_ps(1 / kWeightMost)));
    const __mmask16 finite = _mm512_cmp_ps_mask(sum, _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ);
    _mm512_storeu_ps(units + j, _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_nanf("")), finite, unit));
  }
  for (int64_t c = 0; c < n_rows; c += 2) {
    for (int64_t j = 0; j < width; j += 16) {
      const __m512 unit = _mm512_loadu_ps(units + j);
      const __m512 factor = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(unit, unit, _CMP_ORD_Q), _mm512_set1_ps(1), unit);
      const __m512i first = round_16(_mm512_loadu_ps(rows + c * width + j), factor);
      const __m512i second = round_16(_mm512_loadu_ps(rows + (c + 1) * width + j), factor);
      _mm512_storeu_si512(out + c / 2 * width + j, pair(first, second));
    }
  }
}

void read_rows(const LatentRows& rows, int64_t first, int64_t n, float* row, const IntegerLatents& out) {
  const int64_t r = rows.cache->kv_lora_rank, dr = rows.cache->rope_dim;
  for (int64_t p = 0; p < n; ++p) {
    kAttention.read_rows(rows, first + p, 1, row, round_up(r + dr, 16));
    memcpy(out.rope + p * out.rope_stride, row + r, size_t(dr) * sizeof(float));
    for (int64_t i = r; i < out.c_stride; ++i) row[i] = 0;
    out.units[p] = kLeastUnit;
    for (int64_t i = 0; i < out.c_stride && out.units[p] == out.units[p]; i += kLatentBlock) {
      const int64_t width = out.c_stride - i < kLatentBlock ? out.c_stride - i : kLatentBlock;
      const float unit = unit_of(row + i, width, 32767, most_together(kWeightMost, width));
      if (!(unit <= out.units[p])) out.units[p] = unit;
    }
    round_row(row, out.c_stride, out.units[p], out.c + p * out.c_stride);
  }
}

// ---- products

HEARTH_INLINE __m512i add_pairs(__m512i x, __m512i row, __m512i sum) {
  sum = _mm512_dpwssd_epi32(sum, x, row);
  asm("" : "+v"(sum));  // stays where it is: left alone, GCC 12 copies and spills the sums
  return sum;
}

// c[i][j] = the integer sums * row_units[i] * column_units[j]. Those of several blocks are added as floats.
struct ScaledSteps {
  float* c;
  int64_t c_stride, block;
  const float *row_units, *column_units;

  using Sum = __m512i;
  HEARTH_INLINE __m512i begin(int64_t, int64_t, int64_t) const { return _mm512_setzero_si512(); }
  HEARTH_INLINE __m512i add(__m512i x, __m512i row, __m512i sum) const { return add_pairs(x, row, sum); }
  HEARTH_INLINE void end(int64_t i, int64_t j, int64_t k, __m512i sum) const {
    float* to = c + i * c_stride + j;
    const __m512 unit = _mm512_mul_ps(_mm512_set1_ps(row_units[i]), _mm512_loadu_ps(column_units + j));
    const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), unit);
    _mm512_storeu_ps(to, k <= block ? value : _mm512_add_ps(_mm512_loadu_ps(to), value));
  }
};

// o[i][j] = o[i][j] * keep[i] + the integer sums * units[i], of one tile: the whole depth at once.
struct AddedSteps {
  float* o;
  int64_t o_stride;
  const float *keep, *units;

  using Sum = __m512i;
  HEARTH_INLINE __m512i begin(int64_t, int64_t, int64_t) const { return _mm512_setzero_si512(); }
  HEARTH_INLINE __m512i add(__m512i x, __m512i row, __m512i sum) const { return add_pairs(x, row, sum); }
  HEARTH_INLINE void end(int64_t i, int64_t j, int64_t, __m512i sum) const {
    float* to = o + i * o_stride + j;
    const __m512 kept = _mm512_mul_ps(_mm512_set1_ps(keep[i]), _mm512_loadu_ps(to));
    _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(units[i]), kept));
  }
};
static_assert(kIntegerTile / 2 <= kDepthBlock);

// Rows of int16 as rows of pairs.
const IntegerPair* in_pairs(const int16_t* rows) {
  return reinterpret_cast<const IntegerPair*>(rows);
}

// ---- expansion

// Latents [p, p + n) times the weights -> rows [n][stride] of floats.
void times_latents(const IntegerExpansion& e, int64_t p, int64_t n, int64_t width, int64_t stride) {
  const int64_t depth = e.latents.c_stride / 2;
  multiply(Factors<IntegerPair>{in_pairs(e.latents.c + p * e.latents.c_stride), depth, 1,
                                reinterpret_cast<const IntegerPair*>(e.weights), width, n, depth, width},
           ScaledSteps{e.rows, stride, kLatentBlock / 2, e.latents.units + p, e.weight_units}, kLatentBlock / 2);
}

void pair_weights(const IntegerExpansion& e, int64_t r, int64_t width) {
  memset(e.weights + r * width, 0, size_t((e.latents.c_stride - r) * width) * sizeof(float));
  pair_columns(e.weights, e.latents.c_stride, width, e.weight_units);
}

void expand_keys(const IntegerExpansion& e) {
  const int64_t nope = e.k_b->k, width = round_up(nope, 16), key_width = nope + e.rope_dim, stride = e.keys.stride + 16;
  decode_keys(*e.k_b, e.head, e.weights);
  pair_weights(e, e.k_b->n, width);
  for (int64_t at = 0; at < e.n; at += kIntegerTile) {
    const int64_t n = e.n - at < kIntegerTile ? e.n - at : kIntegerTile;
    times_latents(e, at, n, width, stride);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t p = at + i;
      float* row = e.rows + i * stride;
      memcpy(row + nope, e.latents.rope + p * e.latents.rope_stride, size_t(e.rope_dim) * sizeof(float));
      for (int64_t j = key_width; j < e.keys.stride; ++j) row[j] = 0;
      e.keys.units[p] = unit_of(row, e.keys.stride, kKeyMost, __builtin_inff());
      round_row(row, e.keys.stride, e.keys.units[p], e.keys.rows + p * e.keys.stride);
    }
  }
}

void expand_values(const IntegerExpansion& e) {
  const int64_t width = e.values.stride;
  decode_values(*e.v_b, e.head, e.weights);
  pair_weights(e, e.v_b->k, width);
  for (int64_t at = 0; at < e.n; at += kIntegerTile) {
    const int64_t n = e.n - at < kIntegerTile ? e.n - at : kIntegerTile;
    times_latents(e, at, n, width, width);
    if (n % 2 != 0) memset(e.rows + n * width, 0, size_t(width) * sizeof(float));
    for (int64_t i = 0; i < n; i += 2) {
      const float *a = e.rows + i * width, *b = a + width;
      const float unit_a = unit_of(a, width, kValueMost, __builtin_inff());
      const float unit_b = unit_of(b, width, kValueMost, __builtin_inff());
      pair_rows(a, unit_a, b, unit_b, width, e.values.rows + (at + i) / 2 * width);
      e.values.units[at + i] = unit_a;
      if (i + 1 < n) e.values.units[at + i + 1] = unit_b;
    }
  }
}

void expand(const IntegerExpansion& e) {
  expand_keys(e);
  expand_values(e);
}

// ---- attention

void set_queries(const float* rows, int64_t n, int16_t* work, const IntegerQueries& b) {
  const float together = most_together(kKeyMost, b.width);
  for (int64_t i = 0; i < b.n; i += 16) {
    for (int64_t j = 0; j < 16; ++j) {
      b.units[i + j] = 0;
      if (i + j >= n) continue;
      const float* row = rows + (i + j) * b.width;
      b.units[i + j] = unit_of(row, b.width, 32767, together);
      round_row(row, b.width, b.units[i + j], work + j * b.width);
    }
    for (int64_t c = 0; c < b.width; c += 32) {
      __m512i v[16];
      HEARTH_UNROLL for (int64_t j = 0; j < 16; ++j) {
        v[j] = i + j < n ? load512(work + j * b.width + c) : _mm512_setzero_si512();
      }
      transpose(v);
      HEARTH_UNROLL for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(b.q + (c / 2 + j) * b.n + i, v[j]);
    }
  }
}

// Scores -> weights, for 16 queries down n positions: [n][queries] floats -> [n / 2][queries] pairs, in the same place.
void softmax(const IntegerQueries& b, const float* value_units, int64_t n, const int32_t* visible, int64_t i) {
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
    sum = _mm512_add_ps(sum, scaled);
  }
  // (A NaN stays: second operand.)
  const __m512 together = _mm512_set1_ps(1 / most_together(kValueMost, kIntegerTile));
  const __m512 unit =
      _mm512_max_ps(_mm512_set1_ps(kLeastUnit),
                    _mm512_max_ps(_mm512_mul_ps(most, _mm512_set1_ps(1.0f / 32767)), _mm512_mul_ps(sum, together)));
  const __m512 factor = _mm512_div_ps(_mm512_set1_ps(1), unit);
  IntegerPair* pairs = reinterpret_cast<IntegerPair*>(scores);
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

void attend(const IntegerQueries& b, const IntegerKeys& keys, const IntegerValues& values, int64_t n,
            const int32_t* visible) {
  const int64_t depth = b.width / 2;
  multiply(Factors<IntegerPair>{in_pairs(keys.rows), keys.stride / 2, 1, b.q, b.n, n, depth, b.n},
           ScaledSteps{b.scores, b.n, kDepthBlock, keys.units, b.units});
  for (int64_t i = 0; i < b.n; i += 16) softmax(b, values.units, n, visible, i);
  multiply(Factors<IntegerPair>{reinterpret_cast<const IntegerPair*>(b.scores), 1, b.n, values.rows, values.stride, b.n,
                                (n + 1) / 2, b.value_width},
           AddedSteps{b.o, b.value_width, b.keep, b.weight_units});
}

constexpr IntegerAttention kIntegers = {read_rows, expand, set_queries, attend};

bool rounds_activations(const Weight& w) {
  return row_of(engine(), w.format->id).rows_input == Input::x8;
}

}  // namespace

void install_integer_attention(Ops& ops) {
  ops.scratch.mha_attend = [](const ScratchLimits& limits) {
    const size_t a = attention::scratch_bytes(kIntegers, limits), b = attention::scratch_bytes(kAttention, limits);
    return a > b ? a : b;
  };
  ops.mha_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                      const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
    const attention::MhaCall call = {exec, q_nope, q_rope, k_b, v_b, cache, at, scale, o};
    if (cache.format == FormatId::bf16 && rounds_activations(k_b) && rounds_activations(v_b)) {
      attention::mha_attend(kIntegers, call);
    } else {
      attention::mha_attend(kAttention, call);
    }
  };
}

}  // namespace hearth::HEARTH_AVX512
