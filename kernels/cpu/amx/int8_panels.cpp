// Many tokens times weights in 8 bits (Int8Tile) on the tile unit: sums of 16 tokens x 16 rows over 64 weights at a
// time. A tile of weights lies as the unit wants it, four weights of 16 rows in each line; so do 16 tokens, once they
// are gathered, since experts' tokens are anywhere.
//
// For each chunk of 256 weights the tokens are gathered once for up to 256 rows. Sums of a chunk are integers; each is
// scaled by its row and its token and added to the result in float32.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth::amx {
namespace {

constexpr int64_t kRows = 256;  // rows whose sums are kept at once
constexpr int64_t kBlock = 16;  // tokens of a tile
constexpr int64_t kDepth = 64;  // weights of a tile
constexpr int64_t kTokenBlocks = kPanelTokens / kBlock;

// A chunk of all tokens.
struct alignas(64) Tokens {
  int8_t q[kPanelTokens][kChunk];
  float scale[kPanelTokens];
  int32_t start[kPanelTokens];  // minus the sum of what the weights' offset of 128 adds

  void gather(const PanelCall& c, int64_t chunk) {
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      const X8& x = static_cast<const X8*>(c.x[t])[chunk];
      HEARTH_UNROLL for (int i = 0; i < 4; ++i) _mm512_store_si512(q[t] + 64 * i, load512(x.q + 64 * i));
      scale[t] = x.scale;
      start[t] = 128 * x.minus_sum;
    }
  }
};

struct alignas(64) Sums {
  float of[kRows / kPanelRows][kPanelTokens][kPanelRows];
};

// sums[t][0 .. 15] += the products c[t] of n tokens from `first_token` on with 16 rows, scaled.
HEARTH_INLINE void add_products(const int32_t (*c)[16], const Tokens& tokens, int64_t first_token, int64_t n,
                                const float* row_scales, bool first, float (*sums)[kPanelRows]) {
  const __m512 scale = _mm512_load_ps(row_scales);
  for (int64_t t = 0; t < n; ++t) {
    const __m512i products = _mm512_add_epi32(load512(c[t]), _mm512_set1_epi32(tokens.start[first_token + t]));
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(tokens.scale[first_token + t]));
    const __m512 old = first ? _mm512_setzero_ps() : _mm512_load_ps(sums[t]);
    _mm512_store_ps(sums[t], _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), factor, old));
  }
}

// One or two blocks of tokens, the first n of which exist, times 32 rows.
template <bool kTwoBlocks>
HEARTH_INLINE void multiply(const Int8Tile& w, int64_t n_weights, const Tokens& tokens, int64_t first_token, int64_t n,
                            bool first, float (*sums)[kPanelRows]) {
  finish_writes();
  _tile_zero(0);
  _tile_zero(1);
  if (kTwoBlocks) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < n_weights; k += kDepth) {
    _tile_loadd(4, tokens.q[first_token] + k, kChunk);
    _tile_loadd(6, w.q[k / 4][0], sizeof w.q[0]);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w.q[k / 4][16], sizeof w.q[0]);
    _tile_dpbsud(1, 4, 7);
    if (kTwoBlocks) {
      _tile_loadd(5, tokens.q[first_token + kBlock] + k, kChunk);
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
  for (int64_t b = 0; b < (kTwoBlocks ? 2 : 1); ++b, first_token += kBlock, n -= kBlock) {
    const int64_t here = n < kBlock ? n : kBlock;
    add_products(c[2 * b], tokens, first_token, here, w.scale, first, sums + first_token);
    add_products(c[2 * b + 1], tokens, first_token, here, w.scale + 16, first,
                 reinterpret_cast<float(*)[kPanelRows]>(sums[first_token] + 16));
  }
}

}  // namespace

void int8_panels(const PanelCall& c, const Int8Panels& format) {
  load_tile_config(c.n_tokens < kBlock ? c.n_tokens : kBlock);
  Tokens tokens;
  Sums sums;
  Int8Tile tile;
  for (int64_t first = 0; first < c.n_rows; first += kRows) {
    const int64_t n_rows = c.n_rows - first < kRows ? c.n_rows - first : kRows;
    const int64_t n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
    BlockStream ahead(c, first, n_rows, (c.k + kChunk - 1) / kChunk * n_panels);
    for (int64_t k = 0, chunk = 0; k < c.k; k += kChunk, ++chunk) {
      const int64_t n = c.k - k < kChunk ? c.k - k : kChunk;
      tokens.gather(c, chunk);
      for (int64_t panel = 0; panel < n_panels; ++panel) {
        const uint8_t* rows[kPanelRows];
        for (int64_t r = 0; r < kPanelRows; ++r) {
          const int64_t i = first + panel * kPanelRows + r;
          rows[r] = c.w + size_t(i < c.n_rows ? i : c.n_rows - 1) * c.row_bytes;
        }
        ahead.ask();
        format.decode(rows, size_t(k / format.block_elems * format.block_bytes), n, tile);
        for (int64_t t = 0; t < c.n_tokens; t += 2 * kBlock) {
          const auto pair = c.n_tokens - t > kBlock ? multiply<true> : multiply<false>;
          pair(tile, n, tokens, t, c.n_tokens - t, k == 0, sums.of[panel]);
        }
      }
    }
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      float* out = c.out + t * c.out_stride + first;
      for (int64_t i = 0; i < n_rows; i += kPanelRows) {
        const int64_t n = n_rows - i < kPanelRows ? n_rows - i : kPanelRows;
        memcpy(out + i, sums.of[i / kPanelRows][t], size_t(n) * sizeof(float));
      }
    }
  }
  _tile_release();
}

}  // namespace hearth::amx
