// Some tokens, two to eight: 16 rows x 256 weights are transposed, unpacked and multiplied with all tokens at once, in
// registers. For so few of them a tile in L1 (matmul_tile.h) costs more than it saves, and sums across a vector, as in
// matmul_vec.h, have to be made for each token.
#pragma once

#include <utility>

#include "kernels/cpu/avx512/matmul_tile.h"

namespace hearth {
namespace {

constexpr int kOnceTokens = 8;
constexpr int kOnceRows = 16;

// Where a decoder has each of the 256 weights' sixteens: in which vector, in which of its lanes.
template <class D>
struct Places {
  int vector[16], lane[16];
  constexpr Places() : vector(), lane() {
    for (int i = 0; i < 4; ++i) {
      for (int l = 0; l < 4; ++l) vector[D::sub16(i, l)] = i, lane[D::sub16(i, l)] = l;
    }
  }
};
template <class D>
constexpr Places<D> kPlaces;

// sum[t] += 16 rows' weights of group G times the activations; the same sums in the same order as multiply_tile's.
template <class D, int T, int G>
HEARTH_INLINE void multiply_group(const __m512i (*stored)[16], const TileScales& scales, const X8* const* x,
                                  __m512 (&sum)[T]) {
  __m512i acc[T];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t] = group_start<D>(*x[t], G);
  HEARTH_UNROLL for (int i = 0; i < D::kGroup / 4; ++i) {
    const int sixteen = (D::kGroup * G + 4 * i) / 16;
    const __m512i w = D::column(stored, kPlaces<D>.vector[sixteen], 4 * kPlaces<D>.lane[sixteen] + i % 4);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      acc[t] = dot4_of<D>(acc[t], w, in_every_dword(x[t]->q + D::kGroup * G + 4 * i));
    }
  }
  const __m512 scale = _mm512_load_ps(scales.scale[G]);
  HEARTH_UNROLL for (int t = 0; t < T; ++t) sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t]), scale, sum[t]);
  if constexpr (D::kMins && !kIntegerMins<D>) {
    const __m512 min = _mm512_load_ps(scales.min[G]);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      sum[t] = _mm512_fnmadd_ps(_mm512_set1_ps(x[t]->sum32[G]), min, sum[t]);
    }
  }
}

template <class D, int T, int... Groups>
HEARTH_INLINE void multiply_groups(std::integer_sequence<int, Groups...>, const __m512i (*stored)[16],
                                   const TileScales& scales, const X8* const* x, __m512 (&sum)[T]) {
  (multiply_group<D, T, Groups>(stored, scales, x, sum), ...);
}

// acc[t] += one chunk of 16 rows times T tokens.
template <class D, int T>
HEARTH_INLINE void multiply_chunk(const uint8_t* const* rows, const uint8_t* const (&p)[16], const X8* const* x,
                                  TileScales& scales, __m512 (&acc)[T]) {
  __m512i stored[D::kStored][16];
  unpack_scales<D>(rows, p, scales, 0);
  HEARTH_UNROLL for (int s = 0; s < D::kStored; ++s) {
    HEARTH_UNROLL for (int r = 0; r < 16; ++r) stored[s][r] = D::stored(p[r], s);
    transpose(stored[s]);
  }
  __m512 sum[T];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) sum[t] = _mm512_setzero_ps();
  if constexpr (kIntegerMins<D>) {
    __m512i mins[T];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) mins[t] = _mm512_setzero_si512();
    HEARTH_UNROLL for (int g = 0; g < 128 / D::kGroup; ++g) {
      const __m512i pair = _mm512_load_si512(scales.min_pairs[g]);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        const int16_t* sums = D::kGroup == 16 ? x[t]->small_sum16 : x[t]->small_sum32;
        mins[t] = dot2(mins[t], pair, in_every_dword(sums + 2 * g));
      }
    }
    const __m512 dmin = _mm512_load_ps(scales.dmin);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) sum[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins[t]), dmin, sum[t]);
  }
  multiply_groups<D, T>(std::make_integer_sequence<int, int(kChunk) / D::kGroup>(), stored, scales, x, sum);
  HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t] = _mm512_fmadd_ps(sum[t], _mm512_set1_ps(x[t]->scale), acc[t]);
}

template <class D, int T>
void multiply_once(const PanelCall& c) {
  alignas(64) TileScales scales;
  for (int64_t i = 0; i < c.n_rows; i += kOnceRows) {
    BlockStream ahead(c, i, kOnceRows, (c.k + kChunk - 1) / kChunk);
    const uint8_t* rows[kOnceRows];
    for (int64_t r = 0; r < kOnceRows; ++r)
      rows[r] = c.w + size_t(i + r < c.n_rows ? i + r : c.n_rows - 1) * c.row_bytes;
    __m512 acc[T];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t k = 0, b = 0; k < c.k; k += kChunk, ++b) {
      ahead.ask();
      const X8* x[T];
      HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const X8*>(c.x[t < c.n_tokens ? t : 0]) + b;
      const uint8_t* p[16];
      HEARTH_UNROLL for (int r = 0; r < 16; ++r) p[r] = rows[r] + kHeaderOf<D> + size_t(k / D::kBlock) * D::kBytes;
      Tail<D> tails[D::kBlock == 256 ? 1 : 16];
      if (D::kBlock != 256 && c.k - k < kChunk) {
        for (int r = 0; r < 16; ++r) {
          tails[D::kBlock == 256 ? 0 : r].copy(p[r], c.k - k);
          p[r] = tails[D::kBlock == 256 ? 0 : r].bytes;
        }
      }
      multiply_chunk<D, T>(rows, p, x, scales, acc);
    }
    const int64_t n_rows = c.n_rows - i < kOnceRows ? c.n_rows - i : kOnceRows;
    const __mmask16 there = __mmask16((1u << n_rows) - 1);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      if (t < c.n_tokens) _mm512_mask_storeu_ps(c.out + t * c.out_stride + i, there, acc[t]);
    }
  }
}

// A kernel for each number of tokens would be much code: some are computed with the next larger one.
template <class D>
void multiply_some(const PanelCall& c) {
  if (c.n_tokens <= 3) return multiply_once<D, 3>(c);
  if (c.n_tokens <= 4) return multiply_once<D, 4>(c);
  if (c.n_tokens <= 6) return multiply_once<D, 6>(c);
  multiply_once<D, 8>(c);
}

}  // namespace
}  // namespace hearth
