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
#include "kernels/cpu/avx512/integers.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/product.h"
#include "kernels/cpu/latent_integers.h"
#include "quant/round_up.h"

namespace hearth::HEARTH_AVX512 {
namespace {

// ---- rounding

// How large the magnitudes of n integers may be together, so that no sum of their products with integers within `most`
// leaves 32 bits. Rounding adds up to n / 2.
float most_together(float most, int64_t n) {
  return 2147483647.0f / most - float(n);
}

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

static_assert(kIntegerTile / 2 <= kDepthBlock);

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
    pair_queries(work, n - i, b.width, b.q + i, b.n);
  }
}

void attend(const IntegerQueries& b, const IntegerKeys& keys, const IntegerValues& values, int64_t n,
            const int32_t* visible) {
  constexpr float together = (2147483647.0f / kValueMost - kIntegerTile) * kValueMost;  // rounding adds half of each
  const int64_t depth = b.width / 2;
  multiply(Factors<IntegerPair>{in_pairs(keys.rows), keys.stride / 2, 1, b.q, b.n, n, depth, b.n},
           ScaledSteps{b.scores, b.n, kDepthBlock, keys.units, b.units});
  const auto most = [](int64_t) { return kValueMost; };  // of every value
  for (int64_t i = 0; i < b.n; i += 16) softmax(b, values.units, most, together, n, visible, i);
  multiply(Factors<IntegerPair>{reinterpret_cast<const IntegerPair*>(b.scores), 1, b.n, values.rows, values.stride, b.n,
                                (n + 1) / 2, b.value_width},
           AddedSteps{b.o, b.value_width, b.keep, b.weight_units});
}

constexpr IntegerAttention kIntegers = {read_rows, expand, set_queries, attend};

bool rounds_activations(const Weight& w) {
  return row_of(engine(), w.format->id).rows_input == Input::x8;
}

}  // namespace

bool attends_in_integers(const Weight& k_b, const Weight& v_b, FormatId cache) {
  return cache == FormatId::bf16 && rounds_activations(k_b) && rounds_activations(v_b);
}

void install_integer_attention(Ops& ops) {
  mla::install_integers<engine, mla::float_kernel<kAttention>, kLatentIntegers, attends_in_integers>(ops);
  ops.scratch.mha_attend = [](const ScratchLimits& limits) {
    const size_t a = attention::scratch_bytes(kIntegers, limits), b = attention::scratch_bytes(kAttention, limits);
    return a > b ? a : b;
  };
  ops.mha_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                      const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
    const attention::MhaCall call = {exec, q_nope, q_rope, k_b, v_b, cache, at, scale, o};
    if (attends_in_integers(k_b, v_b, cache.format)) {
      attention::mha_attend(kIntegers, call);
    } else {
      attention::mha_attend(kAttention, call);
    }
  };
}

}  // namespace hearth::HEARTH_AVX512
