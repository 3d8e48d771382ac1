// Many tokens on the tile unit: 32 rows of weights are decoded to bfloat16 and multiplied with the tokens in tiles of
// 16 x 16 x 32, summed in float32 over the whole row. Weights and activations keep 8 significant bits.
//
// A tile of weights is 16 rows as they lie. The activations are packed once for each 256 rows, pairs of values side by
// side: [k / 32][tokens / 16][16 pairs][16 tokens]. Bound: decoding for few tokens, the tile unit for many.
#pragma once

#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/decoders.h"
#include "kernels/cpu/avx512/matmul_tile.h"
#include "kernels/cpu/engine.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

constexpr int64_t kDepth = 512;          // weights of a row taken at once: 32 rows of them are 32 KB
constexpr int64_t kSteps = kDepth / 32;  // tile products along kDepth
constexpr int64_t kTileTokens = 256;     // taken at once: with their sums they fill half a megabyte of L2
constexpr int64_t kTokenBlocks = kTileTokens / 16;
constexpr int64_t kRowBlocks = 256 / 16;  // blocks of 16 rows whose sums are kept at once

// 32 rows of kDepth weights as tiles.
struct alignas(64) WeightTiles {
  uint16_t w[kSteps][2][16][32];
};
// kTileTokens tokens of kDepth activations as tiles.
struct alignas(64) TokenTiles {
  uint32_t x[kSteps][kTokenBlocks][16][16];
};
struct alignas(64) Sums {
  float c[kRowBlocks][kTokenBlocks][16][16];
};

// The lower halves of two vectors, or the upper ones.
HEARTH_INLINE __m512i halves_of_two(__m512i a, __m512i b, bool upper) {
  return upper ? _mm512_shuffle_i32x4(a, b, 0xEE) : _mm512_shuffle_i32x4(a, b, 0x44);
}

// A decoder's vectors, rearranged into the order of the weights.
template <class D>
HEARTH_INLINE void natural_vectors(const uint8_t* p, __m512i (&v)[4]) {
  __m512i q[4];
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) q[i] = D::vector(p, i);
  // Lane L of result v holds sixteen number 4 v + L; each branch says where the decoder has it.
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    if constexpr (D::sub16(0, 3) == 3) {
      v[i] = q[i];
    } else if constexpr (D::sub16(0, 1) == 2) {  // sixteens 0 2 4 6 | 1 3 5 7 | 8 ..
      const __m512i pick =
          i % 2 ? _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15) : _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
      v[i] = _mm512_permutex2var_epi64(q[i / 2 * 2], pick, q[i / 2 * 2 + 1]);
    } else if constexpr (D::sub16(0, 2) == 4) {  // halves: groups 0 2 | 1 3 | 4 6 | 5 7
      v[i] = halves_of_two(q[i / 2 * 2], q[i / 2 * 2 + 1], i % 2);
    } else {  // halves: groups 0 4 | 1 5 | 2 6 | 3 7
      static_assert(D::sub16(0, 2) == 8);
      v[i] = halves_of_two(q[i % 2 * 2], q[i % 2 * 2 + 1], i / 2);
    }
  }
}

// The factors of the four lanes of vector i (in the order of the weights), four times each.
template <class D>
HEARTH_INLINE __m512 lane_factors(__m512 factors, int i) {  // of each 16, or of each 32
  const int s = D::kGroup == 16 ? 1 : 0;
  const int a = (4 * i) >> (1 - s), b = (4 * i + 1) >> (1 - s), c = (4 * i + 2) >> (1 - s), d = (4 * i + 3) >> (1 - s);
  return _mm512_permutexvar_ps(_mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d), factors);
}

// Decodes the 256 weights at p of one row into `to`, each 32 of them `stride` values after the last.
template <class D>
HEARTH_INLINE void decode_numbers(const uint8_t* row, const uint8_t* p, uint16_t* to, int64_t stride) {
  alignas(64) float scale[16] = {}, min[16] = {};
  row_scales<D>(row, p, scale, min);
  const __m512 scales = _mm512_load_ps(scale);
  __m512 minus = _mm512_setzero_ps();
  if constexpr (D::kMins) minus = _mm512_load_ps(min);
  if constexpr (D::kOffset >= 0)
    minus = _mm512_mul_ps(scales, _mm512_set1_ps(float(1 << (D::kOffset < 0 ? 0 : D::kOffset))));
  __m512i v[4];
  natural_vectors<D>(p, v);
  const __m512i byte = _mm512_set1_epi32(0xff);
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    const __m512 factor = lane_factors<D>(scales, i), less = lane_factors<D>(minus, i);
    __m512 w[4];
    HEARTH_UNROLL for (int j = 0; j < 4; ++j) {
      const __m512i q =
          j == 3 ? _mm512_srli_epi32(v[i], 24) : _mm512_and_si512(_mm512_srli_epi32(v[i], unsigned(8 * j)), byte);
      w[j] = _mm512_fmsub_ps(_mm512_cvtepi32_ps(q), factor, less);
    }
    _mm512_store_si512(to + 2 * i * stride, __m512i(_mm512_cvtne2ps_pbh(w[1], w[0])));
    _mm512_store_si512(to + (2 * i + 1) * stride, __m512i(_mm512_cvtne2ps_pbh(w[3], w[2])));
  }
}

// Rows first .. first + 31 of a call, weights k .. k + n - 1, zeros up to a multiple of 256.
template <class D>
void decode_weights(const PanelCall& c, int64_t first, int64_t k, int64_t n, WeightTiles& tiles, BlockStream& ahead) {
  constexpr int64_t kStride = 2 * 16 * 32;
  Tail<D> tails[D::kBlock == 256 ? 1 : 16];
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t at = 0; at < n; at += kChunk) {
      const uint8_t *rows[16], *p[16];
      for (int64_t r = 0; r < 16; ++r) {
        const int64_t i = first + 16 * half + r < c.n_rows ? first + 16 * half + r : c.n_rows - 1;
        rows[r] = c.w + size_t(i) * c.row_bytes;
        p[r] = rows[r] + kHeaderOf<D> + size_t((k + at) / D::kBlock) * D::kBytes;
        if (D::kBlock != 256 && n - at < kChunk) {
          tails[D::kBlock == 256 ? 0 : r].copy(p[r], n - at);
          p[r] = tails[D::kBlock == 256 ? 0 : r].bytes;
        }
      }
      for (int64_t r = 0; r < 16; r += 2) ahead.ask();
      uint16_t(*to)[32] = tiles.w[at / 32][half];
      for (int64_t r = 0; r < 16; ++r) decode_numbers<D>(rows[r], p[r], to[r], kStride);
    }
  }
}

// Activations k .. k + 32 n_steps - 1 of all tokens; tokens past the last one, and values past the end of a row, are
// zeros.
HEARTH_INLINE void pack_tokens(const PanelCall& c, int64_t k, int64_t n_steps, TokenTiles& tiles) {
  const int64_t k64 = round_up(c.k, 64);
  for (int64_t b = 0; b * 16 < c.n_tokens; ++b) {
    for (int64_t s = 0; s < n_steps; ++s) {
      __m512i v[16];
      HEARTH_UNROLL for (int64_t t = 0; t < 16; ++t) {
        const bool there = b * 16 + t < c.n_tokens && k + 32 * s < k64;
        v[t] = there ? load512(static_cast<const uint16_t*>(c.x[b * 16 + t]) + k + 32 * s) : _mm512_setzero_si512();
      }
      transpose(v);
      HEARTH_UNROLL for (int j = 0; j < 16; ++j) _mm512_store_si512(tiles.x[s][b][j], v[j]);
    }
  }
}

// Sums of one or two blocks of 16 rows and of 16 tokens.
template <bool TwoTokenBlocks>
HEARTH_INLINE void multiply_tiles(const WeightTiles& w, const TokenTiles& x, int64_t n_steps, bool first,
                                  int64_t row_block, int64_t token_block, Sums& sums) {
  finish_writes();
  float(*c)[16][16] = sums.c[row_block] + token_block;
  float(*d)[16][16] = sums.c[row_block + 1] + token_block;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, c[0], 64);
    _tile_loadd(2, d[0], 64);
    if (TwoTokenBlocks) {
      _tile_loadd(1, c[1], 64);
      _tile_loadd(3, d[1], 64);
    }
  }
  for (int64_t s = 0; s < n_steps; ++s) {
    _tile_loadd(4, w.w[s][0], 64);
    _tile_loadd(6, x.x[s][token_block], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, w.w[s][1], 64);
    _tile_dpbf16ps(2, 5, 6);
    if (TwoTokenBlocks) {
      _tile_loadd(7, x.x[s][token_block + 1], 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c[0], 64);
  _tile_stored(2, d[0], 64);
  if (TwoTokenBlocks) {
    _tile_stored(1, c[1], 64);
    _tile_stored(3, d[1], 64);
  }
}

// Sums [rows][tokens] of rows first .. first + n_rows - 1 -> the output [tokens][rows].
HEARTH_INLINE void write_sums(const PanelCall& c, int64_t first, int64_t n_rows, const Sums& sums) {
  for (int64_t i = 0; i < n_rows; i += 16) {
    const __mmask16 rows = n_rows - i >= 16 ? __mmask16(0xffff) : __mmask16((1 << (n_rows - i)) - 1);
    for (int64_t t = 0; t < c.n_tokens; t += 16) {
      __m512i v[16];
      HEARTH_UNROLL for (int r = 0; r < 16; ++r) v[r] = load512(sums.c[i / 16][t / 16][r]);
      transpose(v);
      float* out = c.out + t * c.out_stride + first + i;
      HEARTH_UNROLL for (int j = 0; j < 16; ++j) {
        if (t + j < c.n_tokens) _mm512_mask_storeu_ps(out + j * c.out_stride, rows, _mm512_castsi512_ps(v[j]));
      }
    }
  }
}

// Of up to kTileTokens tokens. `decode(call, first row, k, n, tiles, stream)` is what differs between formats.
template <class Decode>
HEARTH_INLINE void multiply_some_in_tiles(const PanelCall& c, const Decode& decode) {
  WeightTiles weights;
  TokenTiles tokens;
  Sums sums;
  const int64_t n_blocks = (c.n_tokens + 15) / 16;
  for (int64_t first = 0; first < c.n_rows; first += 16 * kRowBlocks) {
    const int64_t n_rows = c.n_rows - first < 16 * kRowBlocks ? c.n_rows - first : 16 * kRowBlocks;
    BlockStream ahead(c, first, n_rows, (c.k + kDepth - 1) / kDepth * n_rows);
    for (int64_t k = 0; k < c.k; k += kDepth) {
      const int64_t n = c.k - k < kDepth ? c.k - k : kDepth, n_steps = (n + 63) / 64 * 2;
      pack_tokens(c, k, n_steps, tokens);
      for (int64_t i = 0; i < n_rows; i += 32) {
        decode(c, first + i, k, n, weights, ahead);
        int64_t b = 0;
        for (; b + 2 <= n_blocks; b += 2) multiply_tiles<true>(weights, tokens, n_steps, k == 0, i / 16, b, sums);
        if (b < n_blocks) multiply_tiles<false>(weights, tokens, n_steps, k == 0, i / 16, b, sums);
      }
    }
    write_sums(c, first, n_rows, sums);
  }
}

template <class Decode>
HEARTH_INLINE void multiply_panels_in_tiles(const PanelCall& c, const Decode& decode) {
  load_tile_config();
  for (int64_t t = 0; t < c.n_tokens; t += kTileTokens) {
    PanelCall some = c;
    some.n_tokens = c.n_tokens - t < kTileTokens ? c.n_tokens - t : kTileTokens;
    some.x += t;
    some.out += t * c.out_stride;
    if (t + some.n_tokens < c.n_tokens) some.next = nullptr;
    multiply_some_in_tiles(some, decode);
  }
  _tile_release();
}

template <class D>
void tile_panels(const PanelCall& c) {
  multiply_panels_in_tiles(c, decode_weights<D>);
}

}  // namespace
}  // namespace hearth
