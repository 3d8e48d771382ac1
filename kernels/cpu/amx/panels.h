// What the products of decoded chunks (kernels/cpu/tile.h) on the tile unit have in common. A tile of weights lies as
// the unit wants it, four weights of 16 rows in each line; so do 16 tokens, once they are gathered, since experts'
// tokens are anywhere. That is done once for each chunk of 256 weights and up to 256 rows.
#pragma once

#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

constexpr int64_t kRows = 256;  // rows whose sums are kept at once
constexpr int64_t kBlock = 16;  // tokens of a tile

// A chunk of all tokens.
struct alignas(64) Tokens {
  int8_t q[kPanelTokens][kChunk];
  const X8* x[kPanelTokens];

  void gather(const PanelCall& c, int64_t chunk) {
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      x[t] = static_cast<const X8*>(c.x[t]) + chunk;
      HEARTH_UNROLL for (int i = 0; i < 4; ++i) _mm512_store_si512(q[t] + 64 * i, load512(x[t]->q + 64 * i));
    }
  }
};

struct alignas(64) Sums {
  float of[kRows / kPanelRows][kPanelTokens][kPanelRows];
};

// multiply(decoded, n weights, tokens, n_tokens, first, sums): sums[t][row] = the products of a chunk or, unless it is
// the first, += those.
template <class Multiply>
HEARTH_INLINE void multiply_chunks(const PanelCall& c, const TilePanels& format, const Multiply& multiply) {
  Tokens tokens;
  Sums sums;
  Tile decoded;
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
        format.decode(rows, size_t(k / format.block_elems * format.block_bytes), n, decoded);
        multiply(decoded, n, tokens, c.n_tokens, k == 0, sums.of[panel]);
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
}

}  // namespace
}  // namespace hearth
