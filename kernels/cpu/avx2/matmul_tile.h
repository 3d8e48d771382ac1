// Many tokens: 32 rows x 256 weights are decoded once into bytes [k / 4][32 rows][4] with their scales. This tile stays
// in L1 while all tokens pass over it, four at a time: two vectors of eight rows times four broadcast activations are
// eight accumulators. They hold 16-bit sums of one run of weights (decoders.h: kRun); then vpmaddwd with the integer
// scales, or with ones, adds these to 32-bit sums. Bound: byte products.
//
// Before that an offset is subtracted from the 16-bit sums: the offset times the sums of the same activations, which
// are computed once for each chunk and token. The 16-bit sums may wrap in between; after the subtraction they fit.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

constexpr int kTokensAtOnce = 4;
constexpr int kVectors = 2;  // vectors of eight rows multiplied at once

struct alignas(64) Tile {
  uint8_t q[kChunk / 4][kPanelRows][4];
  int32_t scale_pairs[16][kPanelRows];  // 256-blocks: a group's scale as two equal words
  int32_t min_pairs[8][kPanelRows];     // and the mins of groups 2g, 2g + 1 as words
  float d[kPanelRows], dmin[kPanelRows];
  float scale[8][kPanelRows], added[8][kPanelRows];  // smaller blocks
};

// 8 rows of 8 dwords -> 8 vectors of one dword per row.
HEARTH_INLINE void transpose(__m256i (&v)[8]) {
  __m256i t[8];
  HEARTH_UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  HEARTH_UNROLL for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
    t[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
  }
  HEARTH_UNROLL for (int i = 0; i < 8; ++i) v[i] = t[i];
}

// v: 8 dwords of each of 8 rows. The first n of them go to out[0 .. n - 1][first_row ..].
template <class T>
HEARTH_INLINE void put_transposed(__m256i (&v)[8], int n, T (*out)[kPanelRows], int first_row) {
  transpose(v);
  HEARTH_UNROLL for (int j = 0; j < 8; ++j) {
    if (j < n) store256(out[j] + first_row, v[j]);
  }
}

// The scales of 8 rows: of the blocks of 256 at p, or of n_groups groups in smaller blocks.
template <class D>
HEARTH_INLINE void decode_scales(const uint8_t* const* rows, const uint8_t* const* p, int first_row, int n_groups,
                                 Tile& tile) {
  __m256i v[8], w[8];
  if constexpr (D::kBlock == 256) {
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) {
      const __m256i scales = D::scales(p[r]);  // 16 words
      tile.d[first_row + r] = block_factor<D>(rows[r], p[r]);
      v[r] = D::kGroup == 32 ? scales : _mm256_unpacklo_epi16(scales, scales);  // 0 .. 3 and 8 .. 11 as pairs
      w[r] = _mm256_unpackhi_epi16(scales, scales);                             // 4 .. 7 and 12 .. 15
    }
    if constexpr (D::kGroup == 32) {
      put_transposed(v, 8, tile.scale_pairs, first_row);
    } else {
      transpose(v);
      transpose(w);
      HEARTH_UNROLL for (int j = 0; j < 4; ++j) {
        store256(tile.scale_pairs[j] + first_row, v[j]);
        store256(tile.scale_pairs[4 + j] + first_row, w[j]);
        store256(tile.scale_pairs[8 + j] + first_row, v[4 + j]);
        store256(tile.scale_pairs[12 + j] + first_row, w[4 + j]);
      }
    }
    if constexpr (D::kMins) {
      HEARTH_UNROLL for (int r = 0; r < 8; ++r) {
        tile.dmin[first_row + r] = half_to_float(p[r] + D::kDmin);
        v[r] = D::mins(p[r]);
        if constexpr (D::kGroup == 32) {  // each minimum stands twice: keep one, as pairs in the first four dwords
          const __m256i odd = _mm256_srli_epi64(v[r], 32), even = _mm256_and_si256(v[r], _mm256_set1_epi64x(0xffff));
          const __m256i pairs = _mm256_or_si256(even, _mm256_slli_epi32(odd, 16));  // in every second dword
          v[r] = _mm256_permutevar8x32_epi32(pairs, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
        }
      }
      put_transposed(v, D::kGroup == 32 ? 4 : 8, tile.min_pairs, first_row);
    }
  } else {
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) {
      v[r] = _mm256_castps_si256(group_scales<D>(rows[r], p[r], n_groups));
      if constexpr (D::kMins) w[r] = _mm256_castps_si256(group_halves<D>(p[r], D::kAddedAt, n_groups));
    }
    put_transposed(v, 8, tile.scale, first_row);
    if constexpr (D::kMins) put_transposed(w, 8, tile.added, first_row);
  }
}

// Decodes one chunk of n weights of 32 rows, whose blocks are `at` bytes after the beginnings of the rows.
template <class D>
void decode_tile(const uint8_t* const* rows, size_t at, int64_t n, Tile& tile) {
  const int n_vectors = int(n / 32);
  for (int first = 0; first < kPanelRows; first += 8) {
    const uint8_t* p[8];
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) p[r] = rows[first + r] + at;
    decode_scales<D>(rows + first, p, first, n_vectors, tile);
    const auto put = [&](int i) HEARTH_INLINE_LAMBDA {
      __m256i v[8];
      HEARTH_UNROLL for (int r = 0; r < 8; ++r) v[r] = D::vector(p[r], i);
      transpose(v);
      HEARTH_UNROLL for (int j = 0; j < 8; ++j) store256(tile.q[8 * i + j][first], v[j]);
    };
    if (n_vectors == 8) {
      HEARTH_UNROLL for (int i = 0; i < 8; ++i) put(i);
    } else {
      for (int i = 0; i < n_vectors; ++i) put(i);
    }
  }
}

// Offset times the sums of a chunk's activations: for each run the sum of the even pairs and that of the odd pairs, as
// two words.
template <class D>
HEARTH_INLINE void find_starts(const X8& x, int32_t* out) {
  const __m256i offset = _mm256_set1_epi8(D::kOffset);
  __m256i sum16[2];  // of 16 each, in the order 0 2 4 6 1 3 5 7 of dwords
  HEARTH_UNROLL for (int half = 0; half < 2; ++half) {
    __m256i v[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_maddubs_epi16(offset, load256(x.q + 128 * half + 32 * i));
    }
    const __m256i a = _mm256_add_epi16(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    const __m256i b = _mm256_add_epi16(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    sum16[half] = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  }
  if constexpr (D::kRun == 16) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    store256(out, _mm256_permutevar8x32_epi32(sum16[0], order));
    store256(out + 8, _mm256_permutevar8x32_epi32(sum16[1], order));
  } else {
    static_assert(D::kRun == 32);
    store256(out, _mm256_add_epi16(_mm256_permute2x128_si256(sum16[0], sum16[1], 0x20),
                                   _mm256_permute2x128_si256(sum16[0], sum16[1], 0x31)));
  }
}

// acc = the products of a run: 16-bit sums; for signed bytes, whose run is one step, sums of two products.
template <class D, int T>
HEARTH_INLINE void multiply_run(const uint8_t* q, const X8* const* x, int at, __m256i (&acc)[T][kVectors]) {
  HEARTH_UNROLL for (int s = 0; s < D::kRun / 4; ++s) {
    __m256i w[kVectors];
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) w[j] = load256(q + 4 * kPanelRows * s + 32 * j);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m256i a = four_bytes(x[t]->q + at + 4 * s);
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        const __m256i pairs = multiply_pairs<D>(w[j], a);
        acc[t][j] = s == 0 ? pairs : _mm256_add_epi16(acc[t][j], pairs);
        // Without this the compiler computes all products first, and spills them.
        asm("" : "+x"(acc[t][j]));
      }
    }
  }
}

// out[t][row ..] (+)= kVectors vectors of rows of the tile times the first n activations of one chunk of T tokens.
template <class D, int T>
HEARTH_INLINE void multiply_tile(const Tile& tile, int row, const X8* const* x, const int32_t (*starts)[256 / D::kRun],
                                 int n, bool first, float* out) {
  constexpr bool kIntegers = D::kBlock == 256;  // sums of a whole chunk
  __m256i sum[T][kVectors];
  __m256 total[T][kVectors];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
      sum[t][j] = _mm256_setzero_si256();
      total[t][j] = _mm256_setzero_ps();
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  for (int g = 0; g < n / D::kGroup; ++g) {
    __m256i factor[kVectors];
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
      factor[j] = kIntegers ? load256(tile.scale_pairs[g] + row + 8 * j) : ones;
    }
    HEARTH_UNROLL for (int in_group = 0; in_group < D::kGroup; in_group += D::kRun) {
      const int at = g * D::kGroup + in_group;
      __m256i acc[T][kVectors];
      multiply_run<D, T>(tile.q[at / 4][row], x, at, acc);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
          if constexpr (D::kOffset != 0) {
            acc[t][j] = _mm256_sub_epi16(acc[t][j], _mm256_set1_epi32(starts[t][at / D::kRun]));
          }
          sum[t][j] = _mm256_add_epi32(sum[t][j], _mm256_madd_epi16(acc[t][j], factor[j]));
        }
      }
    }
    if constexpr (!kIntegers) {
      HEARTH_UNROLL for (int t = 0; t < T; ++t) {
        HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
          const __m256 scale = _mm256_load_ps(tile.scale[g] + row + 8 * j);
          total[t][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t][j]), scale, total[t][j]);
          sum[t][j] = _mm256_setzero_si256();
          if constexpr (D::kMins) {
            const __m256 added = _mm256_load_ps(tile.added[g] + row + 8 * j);
            total[t][j] = _mm256_fmadd_ps(added, _mm256_broadcast_ss(x[t]->sum32 + g), total[t][j]);
          }
        }
      }
    }
  }
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
      if constexpr (kIntegers) {
        total[t][j] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[t][j]), _mm256_load_ps(tile.d + row + 8 * j));
        if constexpr (D::kMins) {
          const int16_t* sums = D::kGroup == 32 ? x[t]->small_sum32 : x[t]->small_sum16;
          __m256i mins = _mm256_setzero_si256();
          HEARTH_UNROLL for (int g = 0; g < (D::kGroup == 32 ? 4 : 8); ++g) {
            const __m256i pairs = load256(tile.min_pairs[g] + row + 8 * j);
            mins = _mm256_add_epi32(mins, _mm256_madd_epi16(pairs, four_bytes(sums + 2 * g)));
          }
          const __m256 dmin = _mm256_load_ps(tile.dmin + row + 8 * j);
          total[t][j] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins), dmin, total[t][j]);
        }
      }
      float* to = out + t * kPanelRows + row + 8 * j;
      const __m256 old = first ? _mm256_setzero_ps() : _mm256_load_ps(to);
      _mm256_store_ps(to, _mm256_fmadd_ps(total[t][j], _mm256_set1_ps(x[t]->scale), old));
    }
  }
}

template <class D, int T>
void multiply_tokens(const Tile& tile, const X8* const* x, const int32_t (*starts)[256 / D::kRun], int n, bool first,
                     float* out) {
  for (int row = 0; row < kPanelRows; row += 8 * kVectors) multiply_tile<D, T>(tile, row, x, starts, n, first, out);
}

// One panel of up to 32 rows to sums [n_tokens][32].
template <class D>
void multiply_panel_rows(const PanelCall& c, int64_t first_row, float* sums) {
  Tile tile;
  alignas(32) int32_t starts[kTokensAtOnce][256 / D::kRun];
  const int n_batches = int((c.n_tokens + kTokensAtOnce - 1) / kTokensAtOnce);
  BlockStream ahead(c, first_row, kPanelRows, (c.k + kChunk - 1) / kChunk * n_batches);
  const uint8_t* rows[kPanelRows];
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const int64_t i = first_row + r < c.n_rows ? first_row + r : c.n_rows - 1;
    rows[r] = c.w + size_t(i) * c.row_bytes;
  }
  for (int64_t k = 0, b = 0; k < c.k; k += kChunk, ++b) {
    const int64_t n = c.k - k < kChunk ? c.k - k : kChunk;
    decode_tile<D>(rows, kHeaderOf<D> + size_t(k / D::kBlock) * D::kBytes, n, tile);
    for (int i = 0; i < n_batches; ++i) {  // spread evenly over batches of at most four
      const int64_t t0 = c.n_tokens * i / n_batches, T = c.n_tokens * (i + 1) / n_batches - t0;
      const X8* x[kTokensAtOnce];
      for (int64_t t = 0; t < T; ++t) {
        x[t] = static_cast<const X8*>(c.x[t0 + t]) + b;
        if constexpr (D::kOffset != 0) find_starts<D>(*x[t], starts[t]);
      }
      ahead.ask();
      const auto tokens = T == 4   ? multiply_tokens<D, 4>
                          : T == 3 ? multiply_tokens<D, 3>
                          : T == 2 ? multiply_tokens<D, 2>
                                   : multiply_tokens<D, 1>;
      tokens(tile, x, starts, int(n), b == 0, sums + t0 * kPanelRows);
    }
  }
}

template <class D>
void multiply_panels(const PanelCall& c) {
  alignas(64) float sums[kPanelRows * kPanelTokens];  // dense: a strided output would thrash L1
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
