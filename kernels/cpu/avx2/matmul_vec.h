// Few tokens: four rows side by side, straight from the stored blocks. Sums are integers over the 256 weights of a
// block of 256, and over four weights in smaller blocks. Bound: bytes, and for blocks of 256 the unpacking, which is
// shared by the tokens. Step b of a group of rows prefetches the b-th slice of a later group, which may lie in the next
// matrix (RowsCall::next).
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

// Four sums, to y[0..3] or as many as there are rows.
HEARTH_INLINE void store_rows(__m128 sums, float* y, int64_t n_rows) {
  if (n_rows >= 4) return _mm_storeu_ps(y, sums);
  float all[4];
  _mm_storeu_ps(all, sums);
  for (int64_t r = 0; r < n_rows; ++r) y[r] = all[r];
}

// ---- 256-blocks

// The scales or minimums of four rows' blocks, kept in memory because a broadcast from there costs no shuffle.
struct RowScales {
  alignas(32) int16_t words[4][16];

  // The scales or minimums for vector i of row r, as words.
  template <class D>
  HEARTH_INLINE __m256i of(int r, int i) const {
    if constexpr (D::kGroup == 32) return four_bytes(words[r] + 2 * i);
    const char a = char(4 * (i % 4)), b = char(a + 1), c = char(a + 2), d = char(a + 3);
    return _mm256_shuffle_epi8(in_both_halves(load128(words[r] + i / 4 * 8)),
                               _mm256_setr_epi8(a, b, a, b, a, b, a, b, a, b, a, b, a, b, a, b,  //
                                                c, d, c, d, c, d, c, d, c, d, c, d, c, d, c, d));
  }
};

HEARTH_INLINE __m128 halves_of_rows(const uint8_t* const* p, int at) {
  __m128i v = _mm_cvtsi32_si128(half_bits(p[0] + at));
  v = _mm_insert_epi16(v, half_bits(p[1] + at), 1);
  v = _mm_insert_epi16(v, half_bits(p[2] + at), 2);
  v = _mm_insert_epi16(v, half_bits(p[3] + at), 3);
  return _mm_cvtph_ps(v);
}

template <class D>
HEARTH_INLINE __m128 factors_of_rows(const FourRows& rows, const uint8_t* const* p) {
  if constexpr (kOwnUnit<D>) {
    return _mm_setr_ps(block_factor<D>(rows.p[0], p[0]), block_factor<D>(rows.p[1], p[1]),
                       block_factor<D>(rows.p[2], p[2]), block_factor<D>(rows.p[3], p[3]));
  } else {
    return halves_of_rows(p, D::kD);
  }
}

template <class D, int Tokens>
void multiply_blocks(const RowsCall& c) {
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* blocks[4];
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) blocks[r] = rows.p[r] + kHeaderOf<D>;
    const uint8_t* ahead = ahead_of(c, i);
    __m256 acc[4][Tokens];
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) acc[r][t] = _mm256_setzero_ps();
    }
    for (int64_t b = 0; b * kChunk < c.k; ++b) {
      prefetch_slice<4 * D::kBytes>(ahead);
      const X8* x[Tokens];
      alignas(16) float d[Tokens][4], dmin[Tokens][4];  // both times the activations' scale
      const __m128 own_d = factors_of_rows<D>(rows, blocks);
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
        x[t] = static_cast<const X8*>(c.x[t]) + b;
        const __m128 scale = _mm_set1_ps(x[t]->scale);
        _mm_store_ps(d[t], _mm_mul_ps(own_d, scale));
        if constexpr (D::kMins) _mm_store_ps(dmin[t], _mm_mul_ps(halves_of_rows(blocks, D::kDmin), scale));
      }
      RowScales scales, mins;
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
        store256(scales.words[r], D::scales(blocks[r]));
        if constexpr (D::kMins) store256(mins.words[r], D::mins(blocks[r]));
      }
      // Not unrolled: the compiler would keep the activations in registers for all rows, and spill them.
#pragma GCC unroll 1
      for (int r = 0; r < 4; ++r) {
        const uint8_t* p = blocks[r];
        __m256i sum[Tokens];
        HEARTH_UNROLL for (int v = 0; v < 8; ++v) {
          const __m256i q = D::vector(p, v), scale = scales.of<D>(r, v);
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
            const __m256i products = _mm256_madd_epi16(multiply_pairs<D>(q, load256(x[t]->q + 32 * v)), scale);
            sum[t] = v == 0 ? products : _mm256_add_epi32(sum[t], products);
          }
        }
        HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
          const __m256i sums16 = load256(x[t]->small_sum16);
          if constexpr (D::kOffset != 0) {
            const __m256i extra = _mm256_madd_epi16(load256(scales.words[r]), sums16);
            sum[t] = _mm256_sub_epi32(sum[t], _mm256_slli_epi32(extra, __builtin_ctz(D::kOffset)));
          }
          acc[r][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t]), _mm256_broadcast_ss(&d[t][r]), acc[r][t]);
          if constexpr (D::kMins) {
            const __m256 minus = _mm256_cvtepi32_ps(_mm256_madd_epi16(load256(mins.words[r]), sums16));
            acc[r][t] = _mm256_fnmadd_ps(minus, _mm256_broadcast_ss(&dmin[t][r]), acc[r][t]);
          }
        }
        blocks[r] += D::kBytes;
      }
    }
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      store_rows(sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]), c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

// ---- 32- and 128-blocks

template <class D, int Tokens>
void multiply_small_blocks(const RowsCall& c) {
  constexpr int kBytes = int(kChunk) / D::kBlock * D::kBytes;
  const __m256i ones = _mm256_set1_epi16(1), offset = _mm256_set1_epi8(D::kOffset);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* ahead = ahead_of(c, i);
    __m256 acc[Tokens][4];
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm256_setzero_ps();
    }
    for (int64_t k = 0, b = 0; k < c.k; k += kChunk, ++b) {
      prefetch_slice<4 * kBytes>(ahead);
      const int n_vectors = int((c.k - k < kChunk ? c.k - k : kChunk) / 32);
      const X8* x[Tokens];
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) x[t] = static_cast<const X8*>(c.x[t]) + b;
      const uint8_t* p[4];
      alignas(32) float scale[Tokens][4][8];  // the block's times the activations'
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
        p[r] = rows.p[r] + kHeaderOf<D> + b * kBytes;
        const __m256 scales = group_scales<D>(rows.p[r], p[r], n_vectors);
        HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
          _mm256_store_ps(scale[t][r], _mm256_mul_ps(scales, _mm256_set1_ps(x[t]->scale)));
        }
        if constexpr (D::kMins) {
          const __m256 added = group_halves<D>(p[r], D::kAddedAt, n_vectors);
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
            const __m256 sums = _mm256_mul_ps(_mm256_load_ps(x[t]->sum32), _mm256_set1_ps(x[t]->scale));
            acc[t][r] = _mm256_fmadd_ps(added, sums, acc[t][r]);
          }
        }
      }
      for (int v = 0; v < n_vectors; ++v) {
        __m256i a[Tokens], start[Tokens];
        HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
          a[t] = load256(x[t]->q + 32 * v);
          if constexpr (D::kOffset != 0) start[t] = _mm256_maddubs_epi16(offset, a[t]);
        }
        HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
          const __m256i q = D::vector(p[r], v);
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
            __m256i pairs = multiply_pairs<D>(q, a[t]);
            if constexpr (D::kOffset != 0) pairs = _mm256_sub_epi16(pairs, start[t]);
            const __m256 sums = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            acc[t][r] = _mm256_fmadd_ps(sums, _mm256_broadcast_ss(&scale[t][r][v]), acc[t][r]);
          }
        }
      }
    }
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      store_rows(sum4(acc[t][0], acc[t][1], acc[t][2], acc[t][3]), c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

template <class D, int Tokens>
void multiply_few(const RowsCall& c) {
  if constexpr (D::kBlock == 256) {
    multiply_blocks<D, Tokens>(c);
  } else {
    multiply_small_blocks<D, Tokens>(c);
  }
}

}  // namespace
}  // namespace hearth
