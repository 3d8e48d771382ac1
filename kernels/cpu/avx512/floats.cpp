// The formats of one number per weight: float activations as they are, products in float32.
//
// F32, F16, BF16: both ways add in the same order, sixteen lanes over kTile weights, then the lanes, then the tiles. So
// an output has the same bits whatever other tokens the call has.
//
// F8_E4M3 has a scale for each 128 weights. For few tokens it multiplies the sums of a block (multiply_e4m3_rows),
// which leaves four instructions for sixteen weights. For many tokens it is multiplied into the weights, once for all
// tokens. The two ways round differently.
#include "kernels/cpu/avx512/e4m3.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/matmul_vec.h"
#include "kernels/cpu/avx512/nvfp4.h"

namespace hearth::HEARTH_AVX512 {
namespace {

constexpr int64_t kTile = 512;  // 8 decoded rows of so many weights are 16 KB, for L1

// load(row, at, there): weights at .. at + 15 of a row, zero where the mask `there` has no bit.
struct F32 {  // in halves: a file's rows are aligned to 32 bytes, and one load across cache lines costs more than two
  static constexpr int kBlock = 1, kBytes = 4;
  HEARTH_INLINE static __m512 load(const uint8_t* row, int64_t at, __mmask16 there) {
    const uint8_t* p = row + 4 * at;
    if (there == 0xffff) return _mm512_castsi512_ps(join(load256(p), load256(p + 32)));
    return _mm512_maskz_loadu_ps(there, p);
  }
};
struct F16 {
  static constexpr int kBlock = 1, kBytes = 2;
  HEARTH_INLINE static __m512 load(const uint8_t* row, int64_t at, __mmask16 there) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, row + 2 * at));
  }
};
struct BF16 {
  static constexpr int kBlock = 1, kBytes = 2;
  HEARTH_INLINE static __m512 load(const uint8_t* row, int64_t at, __mmask16 there) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, row + 2 * at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
};
struct NVFP4 {
  static constexpr int kBlock = 64, kBytes = sizeof(BlockNVFP4);
  HEARTH_INLINE static __m512 load(const uint8_t* row, int64_t at, __mmask16) { return nvfp4_group(row, at); }
};
// e4m3's exponent and mantissa, put in the places of half precision's, are 2^-8 of the number, subnormals included.
HEARTH_INLINE __m512 e4m3_by_half(__m128i e4m3) {
  const __m256i b = _mm256_cvtepu8_epi16(e4m3), low7 = _mm256_set1_epi16(0x7f);
  const __m256i magnitude = _mm256_and_si256(b, low7);
  const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(low7, b), 8);
  __m256i half = _mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign);
  half = _mm256_mask_mov_epi16(half, _mm256_cmpeq_epi16_mask(magnitude, low7), _mm256_set1_epi16(0x7e00));  // NaN
  return _mm512_cvtph_ps(half);
}
struct F8_E4M3 {
  static constexpr int kBlock = 128, kBytes = sizeof(BlockF8_E4M3);
  HEARTH_INLINE static __m512 load(const uint8_t* row, int64_t at, __mmask16) {
    const uint8_t* block = row + at / kBlock * kBytes;
    float d;
    memcpy(&d, block, 4);
    const __m512 w = e4m3_by_half(load128(block + 4 + at % kBlock));
    // The first product is exact, the number itself; only the second, with d, rounds.
    return _mm512_mul_ps(_mm512_mul_ps(w, _mm512_set1_ps(kE4m3Scale)), _mm512_set1_ps(d));
  }
};

HEARTH_INLINE __mmask16 lanes_left(int64_t n) {
  return n >= 16 ? __mmask16(0xffff) : __mmask16((1 << n) - 1);
}

// Four rows of weights (load(r, at, there)) times T tokens over [0, n): y[t * y_stride + r] = the sum or, unless
// `first`, += the sum.
template <int T, class Load>
HEARTH_INLINE void dot_tile(const Load& load, const float* const* x, int64_t n, bool first, float* y, int64_t y_stride,
                            int64_t n_rows) {
  __m512 acc[T][4];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm512_setzero_ps();
  }
  const auto step = [&](int64_t at, __mmask16 there) HEARTH_INLINE_LAMBDA {
    __m512 w[4];
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) w[r] = load(r, at, there);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m512 v = _mm512_maskz_loadu_ps(there, x[t] + at);
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm512_fmadd_ps(w[r], v, acc[t][r]);
    }
  };
  int64_t at = 0;
  for (; at + 16 <= n; at += 16) step(at, __mmask16(0xffff));
  if (at < n) step(at, lanes_left(n - at));
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    float* to = y + t * y_stride;
    const __mmask8 there = __mmask8(n_rows < 4 ? (1 << n_rows) - 1 : 15);
    alignas(16) float part[4];
    store_rows(lane_per_row(acc[t]), part, 4);
    const __m128 sums = _mm_load_ps(part);
    _mm_mask_storeu_ps(to, there, first ? sums : _mm_add_ps(_mm_maskz_loadu_ps(there, to), sums));
  }
}

template <class D, int T>
void multiply_float_rows(const RowsCall& c) {
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* ahead = ahead_of(c, i);
    for (int64_t k = 0; k < c.k; k += kTile) {
      const int64_t n = c.k - k < kTile ? c.k - k : kTile;
      const float* x[T];
      HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const float*>(c.x[t]) + k;
      const auto load = [&](int r, int64_t at, __mmask16 there) HEARTH_INLINE_LAMBDA {
        if (r == 0) {
          constexpr int kSlice = 4 * 16 * D::kBytes / D::kBlock;  // what the four rows of this step hold
          HEARTH_UNROLL for (int b = 0; b < kSlice; b += 64) {
            _mm_prefetch(reinterpret_cast<const char*>(ahead + b), _MM_HINT_T1);
          }
          ahead += kSlice;
        }
        return D::load(rows.p[r], k + at, there);
      };
      dot_tile<T>(load, x, n, k == 0, c.y + i, c.y_stride, c.n_rows - i);
    }
  }
}

// ---- few tokens, F8_E4M3

// The same 2^-8 of the number in three instructions, not for zeros, subnormals and NaN: sign, exponent and mantissa go
// to their places in a float, below constant upper bits of its exponent.
HEARTH_INLINE __m512 e4m3_by_bits(__m128i e4m3) {
  const __m512i b = _mm512_slli_epi32(_mm512_cvtepi8_epi32(e4m3), 20);  // sssss eeee mmm 0..
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(b, _mm512_set1_epi32(int(0x87f00000)), _mm512_set1_epi32(0x38000000), kAndOr));
}
// sums[t][r] += d * (block r . x[t]) over 128 weights, a sum of sixteen lanes each.
template <int T, class Convert>
HEARTH_INLINE void add_e4m3_blocks(const uint8_t* const (&q)[4], const float* const (&x)[T], int64_t k,
                                   const Convert& convert, __m512 (&sums)[T][4]) {
  __m512 block[T][4];
  HEARTH_UNROLL for (int at = 0; at < 128; at += 16) {
    __m512 w[4];
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) w[r] = convert(load128(q[r] + at));
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m512 v = _mm512_loadu_ps(x[t] + k + at);
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
        block[t][r] = at == 0 ? _mm512_mul_ps(w[r], v) : _mm512_fmadd_ps(w[r], v, block[t][r]);
      }
    }
  }
  HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
    float d;
    memcpy(&d, q[r] - 4, 4);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      sums[t][r] = _mm512_fmadd_ps(block[t][r], _mm512_set1_ps(d), sums[t][r]);
    }
  }
}

template <int T>
void multiply_e4m3_rows(const RowsCall& c) {
  const float* x[T];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const float*>(c.x[t]);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* q[4] = {rows.p[0] + 4, rows.p[1] + 4, rows.p[2] + 4, rows.p[3] + 4};
    const uint8_t* ahead = ahead_of(c, i);
    __m512 sums[T][4];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) sums[t][r] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < c.k; k += 128) {
      prefetch_slice<4 * F8_E4M3::kBytes>(ahead);
      if (has_special(q)) [[unlikely]] {
        add_e4m3_blocks<T>(q, x, k, e4m3_by_half, sums);
      } else {
        add_e4m3_blocks<T>(q, x, k, e4m3_by_bits, sums);
      }
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) q[r] += F8_E4M3::kBytes;
    }
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m512 whole = _mm512_mul_ps(lane_per_row(sums[t]), _mm512_set1_ps(kE4m3Scale));
      store_rows(whole, c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

// ---- many tokens

// Rows of a decoded tile, four at a time.
template <int T>
void dot_rows(const float (*tile)[kTile], int n_rows, const float* const* x, int64_t n, bool first, float* out,
              int64_t out_stride) {
  for (int i = 0; i < n_rows; i += 4) {
    const auto load = [&](int r, int64_t at, __mmask16)
                          HEARTH_INLINE_LAMBDA { return _mm512_load_ps(tile[i + r] + at); };
    dot_tile<T>(load, x, n, first, out + i, out_stride, n_rows - i);
  }
}

template <class D>
void multiply_float_panels(const PanelCall& c) {
  constexpr int kRows = 8, kTokens = 5;  // registers: twenty sums and four weights
  alignas(64) float tile[kRows][kTile];
  for (int64_t first = 0; first < c.n_rows; first += kRows) {
    for (int64_t k = 0; k < c.k; k += kTile) {
      const int64_t n = c.k - k < kTile ? c.k - k : kTile;
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t i = first + r < c.n_rows ? first + r : c.n_rows - 1;
        const uint8_t* row = c.w + size_t(i) * c.row_bytes;
        for (int64_t at = 0; at < n; at += 16) {
          _mm512_store_ps(tile[r] + at, D::load(row, k + at, lanes_left(n - at)));
        }
      }
      for (int64_t t = 0; t < c.n_tokens;) {
        const int64_t here = c.n_tokens - t < kTokens ? c.n_tokens - t : kTokens;
        const float* x[kTokens];
        for (int64_t j = 0; j < here; ++j) x[j] = static_cast<const float*>(c.x[t + j]) + k;
        const auto tokens = here == 5   ? dot_rows<5>
                            : here == 4 ? dot_rows<4>
                            : here == 3 ? dot_rows<3>
                            : here == 2 ? dot_rows<2>
                                        : dot_rows<1>;
        const int n_rows = int(c.n_rows - first < kRows ? c.n_rows - first : kRows);
        tokens(tile, n_rows, x, n, k == 0, c.out + t * c.out_stride + first, c.out_stride);
        t += here;
      }
    }
  }
}

template <class D>
constexpr FormatEngine row(FormatId id) {
  return {id,
          Input::f32,
          Input::f32,
          {multiply_float_rows<D, 1>, multiply_float_rows<D, 2>, multiply_float_rows<D, 4>},
          multiply_float_panels<D>,
          16};
}
constexpr FormatEngine e4m3_row() {
  return {FormatId::f8_e4m3,
          Input::f32,
          Input::f32,
          {multiply_e4m3_rows<1>, multiply_e4m3_rows<2>, multiply_e4m3_rows<4>},
          multiply_float_panels<F8_E4M3>,
          24};
}

}  // namespace

constexpr FormatEngine kRows[] = {
    row<F32>(FormatId::f32),     row<F16>(FormatId::f16), row<BF16>(FormatId::bf16), e4m3_row(),
    row<NVFP4>(FormatId::nvfp4),
};
const FormatRows kFloats = {kRows, int(sizeof kRows / sizeof kRows[0])};

}  // namespace hearth::HEARTH_AVX512
