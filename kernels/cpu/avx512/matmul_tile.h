// Many tokens: 32 rows x 256 weights are decoded once into unsigned bytes [k / 4][32 rows][4] with a float scale for
// each group and row. This tile stays in L1 while all tokens pass over it, six at a time: two vectors of rows times six
// broadcast activations are twelve accumulators. Bound: byte products.
#pragma once

#include "kernels/cpu/avx512/decoders.h"
#include "kernels/cpu/avx512/matmul_vec.h"
#include "kernels/cpu/engine.h"

namespace hearth {
namespace {

constexpr int kTokensAtOnce = 6;

// A table of 16 values for each of 16 rows, transposed: the first `Values` of them to out[value][first_row ..].
template <int Values, class T>
HEARTH_INLINE void transpose_table(const T (*rows)[16], T (*out)[kPanelRows], int first_row) {
  __m512i v[16];
  HEARTH_UNROLL for (int r = 0; r < 16; ++r) v[r] = load512(rows[r]);
  transpose(v);
  HEARTH_UNROLL for (int g = 0; g < Values; ++g) _mm512_store_si512(out[g] + first_row, v[g]);
}

// The scales of a row's blocks at p and, if Mins, its minimums, as floats.
template <class D, bool Mins = true>
HEARTH_INLINE void row_scales(const uint8_t* row, const uint8_t* p, float* scale, float* min) {
  if constexpr (D::kBlock == 256) {
    // A scale for every 16; where the group is 32, every second one is wanted.
    const auto put = [](__m256i values, float factor, float* to) HEARTH_INLINE_LAMBDA {
      __m512i wide = _mm512_cvtepi16_epi32(values);
      if constexpr (D::kGroup == 32) {
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
        wide = _mm512_permutexvar_epi32(even, wide);
      }
      _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(wide), _mm512_set1_ps(factor)));
    };
    put(D::scales(p), block_factor<D>(row, p), scale);
    if constexpr (D::kMins && Mins) put(D::mins(p), half_to_float(D::dmin(p)), min);
  } else {
    _mm256_storeu_ps(scale, group_scales<D>(row, p));
    if constexpr (D::kMins && Mins) _mm256_storeu_ps(min, D::mins(p));
  }
}

// The integer minimums of a block of 256, one word for each group, in pairs; and their factor dmin.
template <class D>
HEARTH_INLINE void integer_mins(const uint8_t* p, int32_t* pairs, float* dmin) {
  __m256i mins = D::mins(p);  // of each 16
  if constexpr (D::kGroup == 32) {
    const __m256i even = _mm256_setr_epi16(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
    mins = _mm256_permutexvar_epi16(even, mins);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs), mins);
  *dmin = half_to_float(D::dmin(p));
}

// The headers of 16 rows' Q4_K or Q5_K blocks at once, one row in each dword. Scales and minimums have 6 bits each.
HEARTH_INLINE void unpack_headers(const uint8_t* const (&p)[16], TileScales& tile, int first_row) {
  __m512i z[4];  // lane L: the 16 bytes of row 4 L + i
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    z[i] = _mm512_castsi128_si512(load128(p[i]));
    z[i] = _mm512_inserti32x4(z[i], load128(p[4 + i]), 1);
    z[i] = _mm512_inserti32x4(z[i], load128(p[8 + i]), 2);
    z[i] = _mm512_inserti32x4(z[i], load128(p[12 + i]), 3);
  }
  const __m512i low01 = _mm512_unpacklo_epi32(z[0], z[1]), low23 = _mm512_unpacklo_epi32(z[2], z[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(z[0], z[1]), high23 = _mm512_unpackhi_epi32(z[2], z[3]);
  const __m512i factors = _mm512_unpacklo_epi64(low01, low23);  // d, dmin
  const __m512i scales = _mm512_unpackhi_epi64(low01, low23), mins = _mm512_unpacklo_epi64(high01, high23);
  const __m512i later = _mm512_unpackhi_epi64(high01, high23);  // the lower bits of groups 4 to 7
  const auto byte_of = [](__m512i v, int g, int bits) HEARTH_INLINE_LAMBDA {
    return _mm512_and_si512(_mm512_srli_epi32(v, unsigned(8 * g)), _mm512_set1_epi32((1 << bits) - 1));
  };
  const auto late = [&](__m512i v, __m512i low, int g) HEARTH_INLINE_LAMBDA {
    const __m512i high = _mm512_and_si512(_mm512_srli_epi32(v, unsigned(8 * g + 2)), _mm512_set1_epi32(0x30));
    return _mm512_or_si512(high, byte_of(low, g, 4));
  };
  const auto halves = [](__m512i v) HEARTH_INLINE_LAMBDA { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); };
  const __m512 d = halves(factors);
  _mm512_store_ps(tile.dmin + first_row, halves(_mm512_srli_epi32(factors, 16)));
  const __m512i later_mins = _mm512_srli_epi32(later, 4);
  __m512i min[8];
  HEARTH_UNROLL for (int g = 0; g < 4; ++g) {
    const auto store = [&](int at, __m512i scale) HEARTH_INLINE_LAMBDA {
      _mm512_store_ps(tile.scale[at] + first_row, _mm512_mul_ps(_mm512_cvtepi32_ps(scale), d));
    };
    store(g, byte_of(scales, g, 6));
    store(4 + g, late(scales, later, g));
    min[g] = byte_of(mins, g, 6);
    min[4 + g] = late(mins, later_mins, g);
  }
  HEARTH_UNROLL for (int g = 0; g < 4; ++g) {
    const __m512i pair = _mm512_or_si512(min[2 * g], _mm512_slli_epi32(min[2 * g + 1], 16));
    _mm512_store_si512(tile.min_pairs[g] + first_row, pair);
  }
}

// Scales and minimums of 16 rows, row by row.
template <class D>
HEARTH_INLINE void unpack_row_scales(const uint8_t* const* rows, const uint8_t* const (&p)[16], TileScales& tile,
                                     int first_row) {
  constexpr int kTables = D::kGroup == 16 ? 16 : 8;
  alignas(64) float scales[16][16], mins[16][16];
  alignas(64) int32_t min_pairs[16][16];
  for (int r = 0; r < 16; ++r) {
    row_scales<D, !kIntegerMins<D>>(rows[r], p[r], scales[r], mins[r]);
    if constexpr (kIntegerMins<D>) integer_mins<D>(p[r], min_pairs[r], tile.dmin + first_row + r);
  }
  transpose_table<kTables>(scales, tile.scale, first_row);
  if constexpr (kIntegerMins<D>) {
    transpose_table<kTables / 2>(min_pairs, tile.min_pairs, first_row);
  } else if constexpr (D::kMins) {
    transpose_table<8>(mins, tile.min, first_row);
  }
}

// The scales and minimums of 16 rows' blocks at p, to rows first_row .. of a tile.
template <class D>
HEARTH_INLINE void unpack_scales(const uint8_t* const* rows, const uint8_t* const (&p)[16], TileScales& tile,
                                 int first_row) {
  if constexpr (kIntegerMins<D> && D::kGroup == 32) {
    unpack_headers(p, tile, first_row);
  } else {
    unpack_row_scales<D>(rows, p, tile, first_row);
  }
}

// Where the blocks of 16 rows are, `at` bytes after the rows' headers: copied to `tails` where they hold fewer than
// 256 weights.
template <class D, int n_tails>
HEARTH_INLINE void find_blocks(const uint8_t* const* rows, size_t at, int64_t n, Tail<D> (&tails)[n_tails],
                               const uint8_t* (&p)[16]) {
  for (int r = 0; r < 16; ++r) {
    p[r] = rows[r] + kHeaderOf<D> + at;
    if (D::kBlock != 256 && n < kChunk) {
      tails[r % n_tails].copy(p[r], n);
      p[r] = tails[r % n_tails].bytes;
    }
  }
}

// The stored vectors of the blocks at p, transposed.
template <class D>
HEARTH_INLINE void transpose_stored(const uint8_t* const (&p)[16], __m512i (&stored)[D::kStored][16]) {
  HEARTH_UNROLL for (int s = 0; s < D::kStored; ++s) {
    __m512i v[16];
    HEARTH_UNROLL for (int r = 0; r < 16; ++r) v[r] = D::stored(p[r], s);
    transpose(v);
    HEARTH_UNROLL for (int j = 0; j < 16; ++j) stored[s][j] = v[j];
  }
}

// DecodeTile.
template <class D>
[[gnu::noinline]] void decode_tile(const uint8_t* const* rows, size_t at, int64_t n, int first_row, Tile& tile) {
  alignas(64) __m512i stored[D::kStored][16];
  Tail<D> tails[D::kBlock == 256 ? 1 : 16];
  const uint8_t* p[16];
  find_blocks<D>(rows + first_row, at, n, tails, p);
  unpack_scales<D>(rows + first_row, p, tile, first_row);
  transpose_stored<D>(p, stored);
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    HEARTH_UNROLL for (int j = 0; j < 16; ++j) {
      _mm512_store_si512(tile.q[4 * D::sub16(i, j / 4) + j % 4][first_row], D::column(stored, i, j));
    }
  }
}

// Four bytes, to all lanes.
HEARTH_INLINE __m512i in_every_dword(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
// Where the products of a group of weights start: at minus the offset times the sum of its activations.
template <class D>
HEARTH_INLINE __m512i group_start(const X8& x, int g) {
  if constexpr (D::kOffset < 0) return _mm512_setzero_si512();
  const int32_t* minus_sum = D::kGroup == 16 ? x.minus_sum16 : x.minus_sum32;
  return _mm512_slli_epi32(_mm512_set1_epi32(minus_sum[g]), unsigned(D::kOffset < 0 ? 0 : D::kOffset));
}

// out[t][32 rows] += the tile's first n_groups groups times one chunk of T tokens.
template <class D, int T>
void multiply_tile(const Tile& tile, const X8* const* x, int n_groups, bool first, float* out) {
  constexpr int kSteps = D::kGroup / 4;
  __m512 sum[T][2];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
  if constexpr (kIntegerMins<D>) {
    __m512i acc[T][2];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm512_setzero_si512();
    HEARTH_UNROLL for (int g = 0; g < 128 / D::kGroup; ++g) {
      const __m512i m0 = _mm512_load_si512(tile.min_pairs[g]), m1 = _mm512_load_si512(tile.min_pairs[g] + 16);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        const __m512i two = in_every_dword((D::kGroup == 16 ? x[t]->small_sum16 : x[t]->small_sum32) + 2 * g);
        acc[t][0] = dot2(acc[t][0], m0, two);
        acc[t][1] = dot2(acc[t][1], m1, two);
      }
    }
    const __m512 d0 = _mm512_load_ps(tile.dmin), d1 = _mm512_load_ps(tile.dmin + 16);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      sum[t][0] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(acc[t][0]), d0, sum[t][0]);
      sum[t][1] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(acc[t][1]), d1, sum[t][1]);
    }
  }
  for (int g = 0; g < n_groups; ++g) {
    __m512i acc[T][2];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = group_start<D>(*x[t], g);
    const uint8_t* q = tile.q[g * kSteps][0];
    HEARTH_UNROLL for (int s = 0; s < kSteps; ++s) {
      const __m512i w0 = _mm512_load_si512(q + 128 * s), w1 = _mm512_load_si512(q + 128 * s + 64);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        const __m512i a = in_every_dword(x[t]->q + 4 * (g * kSteps + s));
        acc[t][0] = dot4_of<D>(acc[t][0], w0, a);
        acc[t][1] = dot4_of<D>(acc[t][1], w1, a);
      }
    }
    const __m512 s0 = _mm512_load_ps(tile.scale[g]), s1 = _mm512_load_ps(tile.scale[g] + 16);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      sum[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][0]), s0, sum[t][0]);
      sum[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][1]), s1, sum[t][1]);
    }
    if constexpr (D::kMins && !kIntegerMins<D>) {
      const __m512 m0 = _mm512_load_ps(tile.min[g]), m1 = _mm512_load_ps(tile.min[g] + 16);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        const __m512 of = _mm512_set1_ps(x[t]->sum32[g]);
        sum[t][0] = _mm512_fnmadd_ps(of, m0, sum[t][0]);
        sum[t][1] = _mm512_fnmadd_ps(of, m1, sum[t][1]);
      }
    }
  }
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    const __m512 scale = _mm512_set1_ps(x[t]->scale);
    float* to = out + t * kPanelRows;
    const __m512 old0 = first ? _mm512_setzero_ps() : _mm512_load_ps(to);
    const __m512 old1 = first ? _mm512_setzero_ps() : _mm512_load_ps(to + 16);
    _mm512_store_ps(to, _mm512_fmadd_ps(sum[t][0], scale, old0));
    _mm512_store_ps(to + 16, _mm512_fmadd_ps(sum[t][1], scale, old1));
  }
}

// One panel of up to 32 rows to sums [n_tokens][32].
template <class D>
HEARTH_INLINE void multiply_panel_rows(const PanelCall& c, int64_t first_row, float* sums) {
  Tile tile;
  const int n_batches = int((c.n_tokens + kTokensAtOnce - 1) / kTokensAtOnce);
  BlockStream ahead(c, first_row, kPanelRows, (c.k + kChunk - 1) / kChunk * n_batches);
  const uint8_t* rows[kPanelRows];
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const int64_t i = first_row + r < c.n_rows ? first_row + r : c.n_rows - 1;
    rows[r] = c.w + size_t(i) * c.row_bytes;
  }
  for (int64_t k = 0, b = 0; k < c.k; k += kChunk, ++b) {
    const int64_t n = c.k - k < kChunk ? c.k - k : kChunk;
    for (int half = 0; half < kPanelRows; half += 16) {
      decode_tile<D>(rows, size_t(k / D::kBlock) * D::kBytes, n, half, tile);
    }
    const int n_groups = int((n + D::kGroup - 1) / D::kGroup);
    for (int64_t i = 0, t = 0; i < n_batches; ++i) {  // spread evenly, the larger batches first
      const int64_t size = (c.n_tokens - t + n_batches - i - 1) / (n_batches - i);
      const X8* x[kTokensAtOnce];
      for (int64_t j = 0; j < kTokensAtOnce; ++j) x[j] = static_cast<const X8*>(c.x[j < size ? t + j : t]) + b;
      ahead.ask();
      const auto tokens = size == 6   ? multiply_tile<D, 6>
                          : size == 5 ? multiply_tile<D, 5>
                                      : multiply_tile<D, 4>;  // fewer only at the end
      tokens(tile, x, n_groups, b == 0, sums + t * kPanelRows);
      t += size;
    }
  }
}

template <class D>
void multiply_panels(const PanelCall& c) {
  // Dense: a strided output would thrash L1.
  alignas(64) float sums[kPanelRows * (kPanelTokens + kTokensAtOnce)];
  for (int64_t i = 0; i < c.n_rows; i += kPanelRows) {
    multiply_panel_rows<D>(c, i, sums);
    const int64_t n_rows = c.n_rows - i < kPanelRows ? c.n_rows - i : kPanelRows;
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      memcpy(c.out + t * c.out_stride + i, sums + t * kPanelRows, size_t(n_rows) * sizeof(float));
    }
  }
}

}  // namespace
}  // namespace hearth
