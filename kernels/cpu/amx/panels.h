// What the products of decoded chunks (kernels/cpu/tile.h) on the tile unit have in common: a panel of 32 rows passes
// over all tokens, two chunks of 256 weights at a time, so that a token's sums are fetched from L2 once for 512
// weights.
//
// Decoding is work for the vector units and not for the tile unit. It is cut into steps of a few hundred instructions,
// and one is placed behind every 16 or so products of tiles: while they wait for their unit, the processor goes on to
// the next panel's step.
#pragma once

#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

constexpr int64_t kRows = 256;  // rows for which tokens are gathered once
constexpr int64_t kBlock = 16;  // tokens of a tile
constexpr int64_t kVisit = 2;   // chunks of a row that are multiplied with all tokens before the next two
constexpr int64_t kVisitDepth = kVisit * kChunk;

// Activations of 16 tokens for a visit, as tiles are loaded.
struct Block {
  const int8_t* q;
  int64_t stride, next_chunk;  // bytes from token to token, and from chunk to chunk
};

// Distance between the activations of 16 tokens, if they are equally far apart; 0 if not.
HEARTH_INLINE int64_t distance(const X8* const* x) {
  const auto at = [&](int t) HEARTH_INLINE_LAMBDA { return reinterpret_cast<intptr_t>(x[t]); };
  const int64_t d = at(1) - at(0);
  for (int t = 2; t < kBlock; ++t) {
    if (at(t) - at(t - 1) != d) return 0;
  }
  return d;
}

// The activations of all tokens for a visit.
struct alignas(64) Tokens {
  int8_t gathered[kPanelTokens][kVisitDepth];
  Block blocks[kPanelTokens / kBlock];
  const X8* x[kPanelTokens];  // of the first chunk

  // Tokens that lie anywhere, as an expert's do, are gathered; those past the last one hold whatever they held.
  void set(const PanelCall& c, int64_t chunk, int64_t n_chunks) {
    for (int64_t t = 0; t < c.n_tokens; ++t) x[t] = static_cast<const X8*>(c.x[t]) + chunk;
    for (int64_t t = 0; t < c.n_tokens; t += kBlock) {
      const int64_t d = c.n_tokens - t < kBlock ? 0 : distance(x + t);
      if (d != 0) {
        blocks[t / kBlock] = {x[t]->q, d, sizeof(X8)};
        continue;
      }
      blocks[t / kBlock] = {gathered[t], kVisitDepth, kChunk};
      for (int64_t i = t; i < t + kBlock && i < c.n_tokens; ++i) {
        for (int64_t n = 0; n < n_chunks; ++n) {
          HEARTH_UNROLL for (int at = 0; at < kChunk; at += 64) {
            _mm512_store_si512(gathered[i] + n * kChunk + at, load512(x[i][n].q + at));
          }
        }
      }
    }
  }
};

// The sums of a panel's rows, [token][row], in the output itself.
struct Sums {
  float* of;
  int64_t stride;
  __mmask16 rows[2];  // those of the first 16 that exist, and of the others

  // Adds to the sums of 16 rows of a token or, where it is the first chunk, sets them.
  HEARTH_INLINE void add(int64_t t, int half, __m512 products, __m512 factor, bool first) const {
    float* const to = of + t * stride + 16 * half;
    const __m512 old = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows[half], to);
    _mm512_mask_storeu_ps(to, rows[half], _mm512_fmadd_ps(products, factor, old));
  }
};

// What is decoded for a visit: chunks as they are multiplied.
template <class Chunk>
struct Visit {
  Chunk chunks[kVisit];
};

// Decodes the chunks of a visit step by step.
template <class Chunk>
struct Preparation {
  const PanelCall& c;
  const TilePanels& format;
  const uint8_t* rows[kPanelRows];
  int64_t k, step, n_steps;
  Visit<Chunk>* out;
  Tile decoded;

  static constexpr bool kRounded = requires(Chunk chunk) { chunk.scale[0] = 0.0f; };  // Int8Tile
  static constexpr int64_t kSteps = kRounded ? 4 : 2;                                 // of a chunk

  void begin(int64_t first_row, int64_t first_k, Visit<Chunk>* to) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      rows[r] = c.w + size_t(first_row + r < c.n_rows ? first_row + r : c.n_rows - 1) * c.row_bytes;
    }
    const int64_t left = c.k - first_k;
    k = first_k, step = 0, n_steps = kSteps * (left > kChunk ? kVisit : 1), out = to;
  }
  void take_step() {
    const int64_t i = step / kSteps, at = k + i * kChunk, n = c.k - at < kChunk ? c.k - at : kChunk;
    const int half = int(step % 2) * 16;
    const bool decodes = step % kSteps < 2;
    const size_t bytes = size_t(at / format.block_elems * format.block_bytes);
    if constexpr (kRounded) {
      if (decodes) {
        format.decode(rows, bytes, n, half, decoded);
      } else {
        avx512_vnni::round_to_int8(decoded, format.form, half, 0, out->chunks[i]);
      }
    } else {
      format.decode(rows, bytes, n, half, out->chunks[i]);
    }
    ++step;
  }
  // Takes the steps that are due when `done` of n_turns are.
  void go_on(int64_t done, int64_t n_turns) {
    while (step < n_steps * done / n_turns) take_step();
  }
};

// multiply(decoded, n weights, tokens, sums, first, the next visit's preparation): the products of a visit. It calls
// go_on() as it goes.
template <class Chunk, class Multiply>
HEARTH_INLINE void multiply_visits(const PanelCall& c, const TilePanels& format, const Multiply& multiply) {
  Tokens tokens;
  Visit<Chunk> visits[2];
  Preparation<Chunk> next = {c, format, {}, 0, 0, 0, nullptr, {}};
  for (int64_t first = 0; first < c.n_rows; first += kRows) {
    const int64_t n_rows = c.n_rows - first < kRows ? c.n_rows - first : kRows;
    const int64_t n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
    const int64_t n_visits = (c.k + kVisitDepth - 1) / kVisitDepth * n_panels;
    BlockStream ahead(c, first, n_rows, n_visits);
    next.begin(first, 0, visits);
    next.go_on(1, 1);
    for (int64_t visit = 0; visit < n_visits; ++visit) {
      const int64_t k = visit / n_panels * kVisitDepth, row = visit % n_panels * kPanelRows;
      const int64_t n = c.k - k < kVisitDepth ? c.k - k : kVisitDepth;
      if (row == 0) tokens.set(c, k / kChunk, (n + kChunk - 1) / kChunk);
      const int64_t later = visit + 1;
      if (later < n_visits) {
        next.begin(first + later % n_panels * kPanelRows, later / n_panels * kVisitDepth, visits + later % 2);
      }
      ahead.ask();
      const int64_t there = n_rows - row;
      const auto mask = [](int64_t rows) { return __mmask16(rows >= 16 ? 0xffff : rows > 0 ? (1 << rows) - 1 : 0); };
      const Sums sums = {c.out + first + row, c.out_stride, {mask(there), mask(there - 16)}};
      multiply(visits[visit % 2], n, tokens, sums, k == 0, next);
      next.go_on(1, 1);
    }
  }
}

}  // namespace
}  // namespace hearth
