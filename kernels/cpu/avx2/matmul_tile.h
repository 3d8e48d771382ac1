// Many tokens: all tokens pass over a decoded tile (tile.h), which stays in L1, four at a time: two vectors of eight
// rows times four broadcast activations are eight accumulators. Bound: byte products, or for signed weights word
// products.
//
// Of bytes the accumulators hold 16-bit sums of one run of weights (decoders.h: kRun); then vpmaddwd with the integer
// scales, or with ones, adds these to 32-bit sums. Where weights have an offset, sums begin at minus the offset times
// the sums of the same activations. They may wrap in between; in the end they fit.
#pragma once

#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

constexpr int kTokensAtOnce = 4;
constexpr int kVectors = 2;  // vectors of eight rows multiplied at once

// Dwords of a token in a Batch.
template <class D>
constexpr int batch_size() {
  if constexpr (D::kSigned) return kChunk / 2;
  if constexpr (!D::kSigned && D::kOffset != 0) return kChunk / D::kRun;
  return 8;
}

// A chunk of up to four tokens, and what is computed of it for all rows of a panel.
template <class D>
struct Batch {
  const X8* x[kTokensAtOnce];
  // Signed weights: the activations as words, in the order of the tile's. Weights with an offset: where the sums of
  // each run begin, two words, for the first and the last two of every four.
  alignas(32) int32_t of[kTokensAtOnce][batch_size<D>()];

  HEARTH_INLINE void set(int t, const X8& token) {
    x[t] = &token;
    if constexpr (D::kSigned) {
      HEARTH_UNROLL for (int i = 0; i < 8; ++i) {
        const __m256i q = load256(token.q + 32 * i);
        store256(of[t] + 16 * i, _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8));
        store256(of[t] + 16 * i + 8, _mm256_srai_epi16(q, 8));
      }
    } else if constexpr (D::kOffset != 0) {
      const __m256i minus = _mm256_set1_epi16(-D::kOffset);
      const __m256i a = load256(token.pair_sum16), b = load256(token.pair_sum16 + 8);  // of each 16
      if constexpr (D::kRun == 16) {
        store256(of[t], _mm256_mullo_epi16(a, minus));
        store256(of[t] + 8, _mm256_mullo_epi16(b, minus));
      } else {
        static_assert(D::kRun == 32);
        const __m256 fa = _mm256_castsi256_ps(a), fb = _mm256_castsi256_ps(b);
        const __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0x88));
        const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0xDD));
        store256(of[t], _mm256_mullo_epi16(_mm256_permute4x64_epi64(_mm256_add_epi16(even, odd), 0xD8), minus));
      }
    }
  }
};

// Without this the compiler computes all products first, and spills them.
HEARTH_INLINE void here(__m256i& v) {
  asm("" : "+x"(v));
}

// acc = the 16-bit sums of the run that begins at weight `at`.
template <class D, int T>
HEARTH_INLINE void multiply_run(const uint8_t* q, const Batch<D>& b, int at, __m256i (&acc)[T][kVectors]) {
  HEARTH_UNROLL for (int s = 0; s < D::kRun / 4; ++s) {
    __m256i w[kVectors];
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) w[j] = load256(q + 4 * kPanelRows * s + 32 * j);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m256i a = four_bytes(b.x[t]->q + at + 4 * s);
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        const __m256i pairs = _mm256_maddubs_epi16(w[j], a);
        if (s > 0) {
          acc[t][j] = _mm256_add_epi16(acc[t][j], pairs);
        } else if (D::kOffset != 0) {
          acc[t][j] = _mm256_add_epi16(four_bytes(b.of[t] + at / D::kRun), pairs);
        } else {
          acc[t][j] = pairs;
        }
        here(acc[t][j]);
      }
    }
  }
}

// sum += the products of 32 signed weights, as words.
template <class D, int T>
HEARTH_INLINE void multiply_words(const uint8_t* q, const Batch<D>& b, int g, __m256i (&sum)[T][kVectors]) {
  HEARTH_UNROLL for (int s = 0; s < 16; ++s) {
    __m256i w[kVectors];
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) w[j] = load256(q + 4 * kPanelRows * s + 32 * j);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m256i a = four_bytes(b.of[t] + 16 * g + s);
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        sum[t][j] = _mm256_add_epi32(sum[t][j], _mm256_madd_epi16(w[j], a));
        here(sum[t][j]);
      }
    }
  }
}

// The sums of a group of weights, of kVectors vectors of rows from `row` on and T tokens, are added to `sum`.
template <class D, int T>
HEARTH_INLINE void multiply_group(const Tile<D>& tile, int row, const Batch<D>& b, int g, __m256i (&sum)[T][kVectors]) {
  if constexpr (D::kSigned) {
    multiply_words<D, T>(tile.q[16 * g][row], b, g, sum);
  } else {
    HEARTH_UNROLL for (int at = g * D::kGroup, end = at + D::kGroup; at < end; at += D::kRun) {
      __m256i acc[T][kVectors];
      multiply_run<D, T>(tile.q[at / 4][row], b, at, acc);
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        const __m256i factor = D::kBlock == 256 ? load256(tile.pairs[g] + row + 8 * j) : _mm256_set1_epi16(1);
        HEARTH_UNROLL for (int t = 0; t < T; ++t) {
          sum[t][j] = _mm256_add_epi32(sum[t][j], _mm256_madd_epi16(acc[t][j], factor));
        }
      }
    }
  }
}

template <int T, class V>
HEARTH_INLINE void clear(V (&sums)[T][kVectors]) {
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) sums[t][j] = V{};
  }
}

// total = the chunk's sums in blocks of 256, which are integers to the end.
template <class D, int T>
HEARTH_INLINE void multiply_block(const Tile<D>& tile, int row, const Batch<D>& b, __m256 (&total)[T][kVectors]) {
  __m256i sum[T][kVectors];
  clear(sum);
  for (int g = 0; g < (D::kSigned ? 8 : 256 / D::kGroup); ++g) multiply_group<D, T>(tile, row, b, g, sum);
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
      total[t][j] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[t][j]), _mm256_load_ps(tile.d + row + 8 * j));
      if constexpr (D::kMins) {
        const int16_t* sums = D::kGroup == 32 ? b.x[t]->small_sum32 : b.x[t]->small_sum16;
        __m256i mins = _mm256_setzero_si256();
        HEARTH_UNROLL for (int g = 0; g < (D::kGroup == 32 ? 4 : 8); ++g) {
          const __m256i pairs = load256(tile.min_pairs[g] + row + 8 * j);
          mins = _mm256_add_epi32(mins, _mm256_madd_epi16(pairs, four_bytes(sums + 2 * g)));
        }
        const __m256 dmin = _mm256_load_ps(tile.dmin + row + 8 * j);
        total[t][j] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins), dmin, total[t][j]);
      }
    }
  }
}

// The same of n_groups groups in smaller blocks.
template <class D, int T>
HEARTH_INLINE void multiply_small_blocks(const Tile<D>& tile, int row, const Batch<D>& b, int n_groups,
                                         __m256 (&total)[T][kVectors]) {
  clear(total);
  for (int g = 0; g < n_groups; ++g) {
    __m256i sum[T][kVectors];
    clear(sum);
    multiply_group<D, T>(tile, row, b, g, sum);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        const __m256 scale = _mm256_load_ps(tile.scale[g] + row + 8 * j);
        total[t][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t][j]), scale, total[t][j]);
        if constexpr (D::kMins) {
          const __m256 added = _mm256_load_ps(tile.added[g] + row + 8 * j);
          total[t][j] = _mm256_fmadd_ps(added, _mm256_broadcast_ss(b.x[t]->sum32 + g), total[t][j]);
        }
      }
    }
  }
}

// out[t][32] (+)= the tile times n activations of each of T tokens.
template <class D, int T>
void multiply_tokens(const Tile<D>& tile, const Batch<D>& b, int n, bool first, float* out) {
  for (int row = 0; row < kPanelRows; row += 8 * kVectors) {
    __m256 total[T][kVectors];
    if constexpr (D::kBlock == 256) {
      multiply_block<D, T>(tile, row, b, total);
    } else {
      multiply_small_blocks<D, T>(tile, row, b, n / 32, total);
    }
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      HEARTH_UNROLL for (int j = 0; j < kVectors; ++j) {
        float* to = out + t * kPanelRows + row + 8 * j;
        const __m256 old = first ? _mm256_setzero_ps() : _mm256_load_ps(to);
        _mm256_store_ps(to, _mm256_fmadd_ps(total[t][j], _mm256_set1_ps(b.x[t]->scale), old));
      }
    }
  }
}

// One panel of up to 32 rows to sums [n_tokens, at least 2][32].
template <class D>
void multiply_panel_rows(const PanelCall& c, int64_t first_row, float* sums) {
  Tile<D> tile;
  Batch<D> batch;
  const int n_batches = int((c.n_tokens + kTokensAtOnce - 1) / kTokensAtOnce);
  const int64_t smallest = c.n_tokens / n_batches, n_larger = c.n_tokens % n_batches;
  BlockStream ahead(c, first_row, kPanelRows, (c.k + kChunk - 1) / kChunk * n_batches);
  const uint8_t* rows[kPanelRows];
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const int64_t i = first_row + r < c.n_rows ? first_row + r : c.n_rows - 1;
    rows[r] = c.w + size_t(i) * c.row_bytes;
  }
  for (int64_t k = 0, b = 0; k < c.k; k += kChunk, ++b) {
    const int64_t n = c.k - k < kChunk ? c.k - k : kChunk;
    decode_tile<D>(rows, kHeaderOf<D> + size_t(k / D::kBlock) * D::kBytes, n, tile);
    int64_t t0 = 0;
    for (int i = 0; i < n_batches; ++i) {  // spread evenly over batches of at most four
      const int64_t T = smallest + (i < n_larger);
      for (int64_t t = 0; t < T; ++t) batch.set(int(t), static_cast<const X8*>(c.x[t0 + t])[b]);
      if (T == 1) batch.set(1, *batch.x[0]);  // of one token alone, which goes as two
      ahead.ask();
      const auto tokens = T == 4 ? multiply_tokens<D, 4> : T == 3 ? multiply_tokens<D, 3> : multiply_tokens<D, 2>;
      tokens(tile, batch, int(n), b == 0, sums + t0 * kPanelRows);
      t0 += T;
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
