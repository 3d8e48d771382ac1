// Many tokens times weights in 8 bits (Int8Tile): sums of 16 tokens x 16 rows over 64 weights at a time. Sums of a
// chunk are integers; each is scaled by its row and its token and added to the result in float32. Bound: decoding for
// few tokens, the tile unit for many.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::amx {
namespace {

constexpr int64_t kDepth = 64;  // weights of a tile

// sums[t][0 .. 15] += the products c[t] of n tokens x with 16 rows, scaled.
HEARTH_INLINE void add_products(const int32_t (*c)[16], const X8* const* x, int64_t n, const float* row_scales,
                                bool first, float (*sums)[kPanelRows]) {
  const __m512 scale = _mm512_load_ps(row_scales);
  for (int64_t t = 0; t < n; ++t) {
    // The weights' offset has added 128 times the sum of the activations.
    const __m512i products = _mm512_add_epi32(load512(c[t]), _mm512_set1_epi32(128 * x[t]->minus_sum));
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x[t]->scale));
    const __m512 old = first ? _mm512_setzero_ps() : _mm512_load_ps(sums[t]);
    _mm512_store_ps(sums[t], _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), factor, old));
  }
}

// One or two blocks of tokens from token t on, of which n exist, times 32 rows.
template <bool kTwoBlocks>
HEARTH_INLINE void multiply(const Int8Tile& w, int64_t n_weights, const Tokens& tokens, int64_t t, int64_t n,
                            bool first, float (*sums)[kPanelRows]) {
  finish_writes();
  _tile_zero(0);
  _tile_zero(1);
  if (kTwoBlocks) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < n_weights; k += kDepth) {
    _tile_loadd(4, tokens.q[t] + k, kChunk);
    _tile_loadd(6, w.q[k / 4][0], sizeof w.q[0]);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w.q[k / 4][16], sizeof w.q[0]);
    _tile_dpbsud(1, 4, 7);
    if (kTwoBlocks) {
      _tile_loadd(5, tokens.q[t + kBlock] + k, kChunk);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  alignas(64) int32_t c[4][kBlock][16];
  _tile_stored(0, c[0], 64);
  _tile_stored(1, c[1], 64);
  if (kTwoBlocks) {
    _tile_stored(2, c[2], 64);
    _tile_stored(3, c[3], 64);
  }
  for (int64_t b = 0; b < (kTwoBlocks ? 2 : 1); ++b, t += kBlock, n -= kBlock) {
    const int64_t here = n < kBlock ? n : kBlock;
    add_products(c[2 * b], tokens.x + t, here, w.scale, first, sums + t);
    add_products(c[2 * b + 1], tokens.x + t, here, w.scale + 16, first,
                 reinterpret_cast<float(*)[kPanelRows]>(sums[t] + 16));
  }
}

}  // namespace

void int8_panels(const PanelCall& c, const TilePanels& format) {
  load_tile_config(c.n_tokens < kBlock ? c.n_tokens : kBlock);
  Int8Tile tile;
  multiply_chunks(c, format,
                  [&](const Tile& decoded, int64_t n, const Tokens& tokens, int64_t n_tokens, bool first,
                      float(*sums)[kPanelRows]) HEARTH_INLINE_LAMBDA {
                    avx512_vnni::round_to_int8(decoded, format.form, tile);
                    for (int64_t t = 0; t < n_tokens; t += 2 * kBlock) {
                      const auto pair = n_tokens - t > kBlock ? multiply<true> : multiply<false>;
                      pair(tile, n, tokens, t, n_tokens - t, first, sums);
                    }
                  });
  _tile_release();
}

}  // namespace hearth::amx
