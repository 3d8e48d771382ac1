// The steps of absorbed attention in integers (kernels/cpu/latent_integers.h), for processors with VNNI. Both products
// are of pairs of 16-bit integers (vpdpwssd), as in attend_integers.cpp:
//
//   scores  [positions][queries]  rows     x  queries, in pairs of columns [width / 2][queries]
//   sums    [queries][columns]    weights  x  rows, in pairs of positions [n / 2][columns]
//
// Bound: vpdpwssd, twice as many products per cycle as FMAs make. bfloat16 products (vdpbf16ps), for which rows would
// be what they are, would have to be made twice to keep 16 bits of queries and weights: no faster than floats, of which
// Zen 4 multiplies half as many in the same cycle. A row of 512 + 64 columns takes about 250 cycles to become integers,
// and then 34 for each query.
#include "kernels/cpu/latent_integers.h"

#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/integers.h"
#include "kernels/cpu/avx512/kernels.h"
#include "quant/round_up.h"

namespace hearth::HEARTH_AVX512 {
namespace {

HEARTH_INLINE __mmask32 first_of_32(int64_t n) {
  return n >= 32 ? __mmask32(0xffffffff) : n <= 0 ? __mmask32(0) : __mmask32((1u << n) - 1);
}

// Calls f(i, mask) for columns [i, i + 32) of n, the mask saying which of them exist.
template <class F>
HEARTH_INLINE void for_columns(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) f(i, __mmask32(0xffffffff));
  if (i < n) f(i, first_of_32(n - i));
}

HEARTH_INLINE float root(float x) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}

// ---- rows of the cache

// Columns of a row as two vectors of floats: of each 32, the even ones and the odd ones.
HEARTH_INLINE __m512 even_floats(__m512i row) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(row, 16));
}
HEARTH_INLINE __m512 odd_floats(__m512i row) {
  return _mm512_castsi512_ps(_mm512_and_si512(row, _mm512_set1_epi32(int(0xffff0000))));
}

HEARTH_INLINE void add_squares(const std::byte* x, __mmask32 exist, float factor, __m512& even, __m512& odd) {
  const __m512i v = _mm512_maskz_loadu_epi16(exist, x);
  __m512 a = even_floats(v), b = odd_floats(v);
  if (factor != 1) {
    a = _mm512_mul_ps(a, _mm512_set1_ps(factor));
    b = _mm512_mul_ps(b, _mm512_set1_ps(factor));
  }
  even = _mm512_fmadd_ps(a, a, even);
  odd = _mm512_fmadd_ps(b, b, odd);
}

// Sums of four vectors.
HEARTH_INLINE __m128 sums_of(__m512 a, __m512 b, __m512 c, __m512 d) {
  const auto halves = [](__m512 x, __m512 y) HEARTH_INLINE_LAMBDA {
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  };
  const __m512 ab = halves(a, b), cd = halves(c, d);
  const __m512 quarters = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const __m512 pairs = _mm512_add_ps(quarters, _mm512_permute_ps(quarters, 0x4e));
  const __m512 all = _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0xb1));  // of each vector in a fourth
  return _mm512_castps512_ps128(
      _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), all));
}

// The units of vectors from the sums of their squares, of which none is too large or too small: the next powers of two.
HEARTH_INLINE __m128 units_of(__m128 squares) {
  const __m128i bits = _mm_castps_si128(_mm_mul_ps(squares, _mm_set1_ps(1 / (kRowLength * kRowLength))));
  // The exponent of the next power of two (with its bias of 127), then half of it, rounded up.
  const __m128i exponent = _mm_srli_epi32(_mm_add_epi32(bits, _mm_set1_epi32(0x7fffff)), 23);
  const __m128i half = _mm_srli_epi32(_mm_add_epi32(exponent, _mm_set1_epi32(128)), 1);
  return _mm_castsi128_ps(_mm_slli_epi32(half, 23));
}

// The unit of n bfloat16 that are not as one expects. NaN if one is NaN or infinite.
[[gnu::noinline]] float unusual_unit(const std::byte* x, int64_t n) {
  constexpr float kLeast = 0x1p-116f;
  static_assert(kLeast >= kLeastUnit);
  for (const float factor : {0x1p-70f, 0x1p70f}) {  // so that no square is too large, or too small
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for_columns(n, [&](int64_t i, __mmask32 exist) { add_squares(x + 2 * i, exist, factor, even, odd); });
    const float sum = _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
    if (sum < 1e-25f && factor < 1) continue;
    if (!(sum < __builtin_inff())) break;
    const float unit = _mm_cvtss_f32(units_of(_mm_set_ss(sum > 1e-25f ? sum : 1e-25f))) / factor;
    return unit > kLeast ? unit : kLeast;
  }
  return __builtin_nanf("");
}

// Of two rows: their latents' units, then those of their rope parts.
struct RowUnits {
  float c[2], rope[2];
};
RowUnits row_units(const std::byte* a, const std::byte* b, int64_t r, int64_t dr) {
  __m512 sums[4][2];
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
  for_columns(r, [&](int64_t i, __mmask32 exist) HEARTH_INLINE_LAMBDA {
    add_squares(a + 2 * i, exist, 1, sums[0][0], sums[0][1]);
    add_squares(b + 2 * i, exist, 1, sums[1][0], sums[1][1]);
  });
  for_columns(dr, [&](int64_t i, __mmask32 exist) HEARTH_INLINE_LAMBDA {
    add_squares(a + 2 * (r + i), exist, 1, sums[2][0], sums[2][1]);
    add_squares(b + 2 * (r + i), exist, 1, sums[3][0], sums[3][1]);
  });
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) sums[i][0] = _mm512_add_ps(sums[i][0], sums[i][1]);
  const __m128 squares = sums_of(sums[0][0], sums[1][0], sums[2][0], sums[3][0]);
  RowUnits units;
  _mm_storeu_ps(units.c, units_of(squares));
  const __mmask8 usual = _mm_cmp_ps_mask(squares, _mm_set1_ps(1e35f), _CMP_LT_OQ) &
                         _mm_cmp_ps_mask(squares, _mm_set1_ps(1e-25f), _CMP_GT_OQ);
  if (usual != 15) [[unlikely]] {
    const std::byte* const parts[4] = {a, b, a + 2 * r, b + 2 * r};
    for (int i = 0; i < 4; ++i) {
      if (!(usual >> i & 1)) (i < 2 ? units.c[i] : units.rope[i - 2]) = unusual_unit(parts[i], i < 2 ? r : dr);
    }
  }
  return units;
}

// The even and the odd columns of 32, each in the low half of a lane.
struct Columns {
  __m512i even, odd;
  HEARTH_INLINE __m512i row() const { return pair(even, odd); }
};
HEARTH_INLINE Columns round_columns(const std::byte* x, __mmask32 exist, __m512 factor) {
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);  // in whose sum with a small number the low half is that, rounded
  const __m512i v = _mm512_maskz_loadu_epi16(exist, x);
  return {_mm512_castps_si512(_mm512_fmadd_ps(even_floats(v), factor, magic)),
          _mm512_castps_si512(_mm512_fmadd_ps(odd_floats(v), factor, magic))};
}

float largest_word(__m512i words) {
  const __m512i low = _mm512_and_si512(words, _mm512_set1_epi32(0xffff)), high = _mm512_srli_epi32(words, 16);
  return float(_mm512_reduce_max_epu32(_mm512_max_epu32(low, high)));
}

// Two rows, one after the other. Where there is no second one, zeros take its place.
void read_two(const std::byte* a, const std::byte* b, int64_t r, int64_t dr, int64_t p, const LatentTile& tile) {
  const bool both = b != nullptr;
  if (!both) b = a;
  const RowUnits units = row_units(a, b, r, dr);
  int16_t *to_a = tile.rows + p * tile.width, *to_b = to_a + tile.width;
  IntegerPair* pairs = tile.pairs + p / 2 * tile.c_width;
  __m512i most_a = _mm512_setzero_si512(), most_b = _mm512_setzero_si512();
  __m512 factor_a = _mm512_set1_ps(inverse(units.c[0])), factor_b = _mm512_set1_ps(inverse(units.c[1]));
  const __mmask32 second = both ? __mmask32(0xffffffff) : __mmask32(0);
  for_columns(r, [&](int64_t i, __mmask32 exist) HEARTH_INLINE_LAMBDA {
    const Columns x = round_columns(a + 2 * i, exist, factor_a);
    const Columns y = round_columns(b + 2 * i, exist & second, factor_b);
    const __m512i row_a = x.row(), row_b = y.row();
    _mm512_storeu_si512(to_a + i, row_a);
    _mm512_storeu_si512(to_b + i, row_b);
    _mm512_storeu_si512(pairs + i, pair(x.even, y.even));
    _mm512_storeu_si512(pairs + i + 16, pair(x.odd, y.odd));
    most_a = _mm512_max_epu16(most_a, _mm512_abs_epi16(row_a));
    most_b = _mm512_max_epu16(most_b, _mm512_abs_epi16(row_b));
  });
  factor_a = _mm512_set1_ps(inverse(units.rope[0]));
  factor_b = _mm512_set1_ps(inverse(units.rope[1]));
  for_columns(dr, [&](int64_t i, __mmask32 exist) HEARTH_INLINE_LAMBDA {
    const Columns x = round_columns(a + 2 * (r + i), exist, factor_a);
    const Columns y = round_columns(b + 2 * (r + i), exist & second, factor_b);
    _mm512_storeu_si512(to_a + tile.c_width + i, x.row());
    _mm512_storeu_si512(to_b + tile.c_width + i, y.row());
  });
  memcpy(tile.units + p, units.c, sizeof units.c);
  memcpy(tile.rope_units + p, units.rope, sizeof units.rope);
  tile.most[p] = largest_word(most_a);
  tile.most[p + 1] = largest_word(most_b);
}

// Rows are asked for so far ahead, also those of the tile after this one.
constexpr int64_t kAhead = 128;

void read(const LatentRows& rows, int64_t first, int64_t n, const LatentTile& tile) {
  const int64_t r = rows.cache->kv_lora_rank, dr = rows.cache->rope_dim;
  for (int64_t p = 0; p < n; p += 2) {
    for (int64_t next = first + p + kAhead; next < first + p + kAhead + 2 && next < rows.n; ++next) {
      const char* row = reinterpret_cast<const char*>(row_at(rows, next));
      for (int64_t i = 0; i < 2 * (r + dr); i += 64) _mm_prefetch(row + i, _MM_HINT_T1);
    }
    const std::byte* second = p + 1 < n ? row_at(rows, first + p + 1) : nullptr;
    read_two(row_at(rows, first + p), second, r, dr, p, tile);
  }
}

// ---- queries

// How long a query may be, so that no sum of its products with the integers of a row leaves 32 bits. Rounding makes a
// vector of n numbers longer by half of sqrt(n) at most. (The last factor is for this file's own sums.)
float query_length(int64_t n) {
  const float rounding = 0.5f * root(float(n));
  return (2147483647.0f / (kRowLength + rounding) - rounding) * 0.9999f;
}

// The unit of n numbers, a multiple of 16. NaN if one is NaN or infinite.
float query_unit(const float* x, int64_t n, float length) {
  __m512 most = _mm512_set1_ps(kLeastUnit), sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  const float largest = _mm512_reduce_max_ps(most);
  const __m512 shrink = _mm512_set1_ps(1 / largest);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), shrink);
    sum = _mm512_fmadd_ps(v, v, sum);
  }
  const float of_largest = root(_mm512_reduce_add_ps(sum)) / length, least = 1.0f / 32767;
  if (!(largest < __builtin_inff()) || !(of_largest < __builtin_inff())) return __builtin_nanf("");
  const float unit = largest * (of_largest > least ? of_largest : least);
  return unit > kLeastUnit ? unit : kLeastUnit;
}

void set_queries(const float* rows, int64_t n, int64_t c_width, int64_t width, int16_t* work, const LatentQueries& b) {
  const float length = query_length(c_width), rope_length = query_length(width - c_width);
  for (int64_t i = 0; i < b.n; i += 16) {
    for (int64_t j = 0; j < 16; ++j) {
      b.units[i + j] = b.rope_units[i + j] = 0;
      if (i + j >= n) continue;
      const float *c = rows + (i + j) * width, *rope = c + c_width;
      b.units[i + j] = query_unit(c, c_width, length);
      b.rope_units[i + j] = query_unit(rope, width - c_width, rope_length);
      round_row(c, c_width, b.units[i + j], work + j * width);
      round_row(rope, width - c_width, b.rope_units[i + j], work + j * width + c_width);
    }
    pair_queries(work, n - i, width, b.q + i, b.n);
  }
}

// ---- attention

void attend(const LatentQueries& b, const LatentTile& tile, int64_t n, const int32_t* visible, bool first) {
  const IntegerPair* rows = in_pairs(tile.rows);
  const int64_t stride = tile.width / 2, depth = tile.c_width / 2;
  multiply(Factors<IntegerPair>{rows, stride, 1, b.q, b.n, n, depth, b.n},
           ScaledSteps{b.scores, b.n, kDepthBlock, tile.units, b.units});
  multiply(Factors<IntegerPair>{rows + depth, stride, 1, b.q + depth * b.n, b.n, n, stride - depth, b.n},
           ScaledSteps{b.scores, b.n, kDepthBlock, tile.rope_units, b.rope_units, true});
  // Rounding adds half of an integer to each weight, and this file's sums of floats have an error of their own.
  constexpr float kTogether = 2147483647.0f - kLatentTile * 0.5f * 32767 - 5e5f;
  const auto most = [&](int64_t p) { return tile.most[p]; };
  for (int64_t i = 0; i < b.n; i += 16) softmax(b, tile.units, most, kTogether, n, visible, i);
  static_assert(kLatentTile / 2 <= kDepthBlock);
  multiply(Factors<IntegerPair>{reinterpret_cast<const IntegerPair*>(b.scores), 1, b.n, tile.pairs, tile.c_width, b.n,
                                (n + 1) / 2, tile.c_width},
           AddedSteps{b.o, tile.c_width, first ? nullptr : b.keep, b.weight_units});
}

void add_part(const float* part, float added, float kept, int64_t r, float* o) {
  alignas(64) static constexpr auto kOrder = [] {  // of 32 columns, first the even ones -> one after the other
    struct {
      int32_t pick[2][16];
    } order{};
    for (int i = 0; i < 32; ++i) order.pick[i / 16][i % 16] = i / 2 + i % 2 * 16;
    return order;
  }();
  const __m512 a = _mm512_set1_ps(added), k = _mm512_set1_ps(kept);
  const __mmask16 reads = kept == 0 ? 0 : 0xffff;
  for (int64_t c = 0; c < r; c += 32) {
    const __m512 even = _mm512_loadu_ps(part + c), odd = _mm512_loadu_ps(part + c + 16);
    for (int half = 0; half < 2; ++half) {
      const __mmask16 exist = __mmask16(first_of_32(r - c) >> 16 * half);
      float* to = o + c + 16 * half;
      const __m512 v = _mm512_permutex2var_ps(even, _mm512_load_si512(kOrder.pick[half]), odd);
      const __m512 old = _mm512_maskz_loadu_ps(exist & reads, to);
      _mm512_mask_storeu_ps(to, exist, _mm512_fmadd_ps(v, a, _mm512_mul_ps(old, k)));
    }
  }
}

}  // namespace

const LatentEngine kLatentIntegers = {read, set_queries, attend, add_part};

}  // namespace hearth::HEARTH_AVX512
