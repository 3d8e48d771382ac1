// What the products of decoded weights on the tile unit have in common. A panel of 32 rows passes over all tokens, some
// chunks of 256 weights of it at a time; a block of up to 32 tokens visits them, and their products are added to the
// output.
//
// Decoding is work for the vector units and not for the tile unit. It is cut into steps of a few hundred instructions,
// and one is placed behind every 16 or so products of tiles: while those wait for their unit, the processor goes on to
// the next panel's step.
//
// A Recipe says what chunks are and how they are decoded:
//
//   Chunk                      256 weights of 32 rows, as the tile unit multiplies them
//   kInput                     of X8s or of bfloat16
//   kVisit                     chunks of a visit, for which the tokens' activations take 512 bytes
//   kSteps                     of decoding a chunk
//   void take(c, rows, at, n, step, Chunk&)   a step of weights at .. at + n - 1 of 32 rows
#pragma once

#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

constexpr int64_t kRows = 256;        // rows for which tokens are gathered once
constexpr int64_t kBlock = 16;        // tokens of a tile
constexpr int64_t kVisitBytes = 512;  // of a token

// Activations of 16 tokens for a visit, as tiles are loaded.
struct Block {
  const uint8_t* x;
  int64_t stride, next_chunk;  // bytes from token to token, and from chunk to chunk
};

// Distance between 16 tokens, if they are equally far apart; 0 if not.
HEARTH_INLINE int64_t distance(const uint8_t* const* x) {
  const auto at = [&](int t) HEARTH_INLINE_LAMBDA { return reinterpret_cast<intptr_t>(x[t]); };
  const int64_t d = at(1) - at(0);
  for (int t = 2; t < kBlock; ++t) {
    if (at(t) - at(t - 1) != d) return 0;
  }
  return d;
}

// The activations of all tokens for a visit.
struct alignas(64) Tokens {
  uint8_t gathered[kPanelTokens][kVisitBytes];
  Block blocks[kPanelTokens / kBlock];
  const uint8_t* x[kPanelTokens];  // as stored, from the visit's first on

  const X8& x8(int64_t t, int64_t chunk) const { return reinterpret_cast<const X8*>(x[t])[chunk]; }

  // For weights k .. k + n - 1 of each row. Tokens that lie anywhere, as an expert's do, are gathered; those past the
  // last one hold whatever they held.
  template <Input kInput>
  HEARTH_INLINE void set(const PanelCall& c, int64_t k, int64_t n) {
    constexpr bool kBytes = kInput == Input::x8;
    const int64_t first = kBytes ? k / kChunk * int64_t(sizeof(X8)) : 2 * k;
    const int64_t next_chunk = kBytes ? int64_t(sizeof(X8)) : 2 * kChunk;
    for (int64_t t = 0; t < c.n_tokens; ++t) x[t] = static_cast<const uint8_t*>(c.x[t]) + first;
    for (int64_t t = 0; t < c.n_tokens; t += kBlock) {
      const int64_t d = c.n_tokens - t < kBlock ? 0 : distance(x + t);
      if (d != 0) {
        blocks[t / kBlock] = {x[t], d, next_chunk};
        continue;
      }
      blocks[t / kBlock] = {gathered[t], kVisitBytes, kBytes ? kChunk : 2 * kChunk};
      for (int64_t i = t; i < t + kBlock && i < c.n_tokens; ++i) {
        if constexpr (kBytes) {
          for (int64_t chunk = 0; chunk * kChunk < n; ++chunk) {
            HEARTH_UNROLL for (int at = 0; at < kChunk; at += 64) {
              _mm512_store_si512(gathered[i] + chunk * kChunk + at, load512(x8(i, chunk).q + at));
            }
          }
        } else {
          for (int64_t at = 0; at < 2 * round_up(n, 64); at += 64) {
            _mm512_store_si512(gathered[i] + at, load512(x[i] + at));
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

  HEARTH_INLINE float* at(int64_t t, int half) const { return of + t * stride + 16 * half; }
  // The sums of 16 rows of a token; zeros if none were added yet.
  HEARTH_INLINE __m512 old(int64_t t, int half, bool first) const {
    return first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows[half], at(t, half));
  }
  HEARTH_INLINE void set(int64_t t, int half, __m512 sums) const {
    _mm512_mask_storeu_ps(at(t, half), rows[half], sums);
  }
};

// Where weights from `at` on are stored, after a row's header.
HEARTH_INLINE size_t bytes_before(const TilePanels& format, int64_t at) {
  return size_t(at / format.block_elems * format.block_bytes);
}

// The recipe of chunks that are decoded and then rounded: Rounding::round(decoded, form, first_row, out), 16 rows.
template <class Rounding>
struct DecodeAndRound {
  using Chunk = typename Rounding::Chunk;
  static constexpr Input kInput = Rounding::kInput;
  static constexpr int64_t kVisit = Rounding::kVisit, kSteps = 4;

  const TilePanels& format;
  Tile decoded;

  HEARTH_INLINE void take(const PanelCall&, const uint8_t* const* rows, int64_t at, int64_t n, int step, Chunk& out) {
    const int first_row = step % 2 * 16;
    if (step < 2) {
      format.decode(rows, bytes_before(format, at), n, first_row, decoded);
    } else {
      Rounding::round(decoded, format.form, first_row, out);
    }
  }
};

// What is decoded for a visit.
template <class Recipe>
struct Visit {
  typename Recipe::Chunk chunks[Recipe::kVisit];
};

// Decodes the chunks of a visit step by step.
template <class Recipe>
struct Preparation {
  const PanelCall& c;
  Recipe& recipe;
  const uint8_t* rows[kPanelRows];
  int64_t k, step, n_steps;
  Visit<Recipe>* out;

  HEARTH_INLINE void begin(int64_t first_row, int64_t first_k, Visit<Recipe>* to) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      rows[r] = c.w + size_t(first_row + r < c.n_rows ? first_row + r : c.n_rows - 1) * c.row_bytes;
    }
    const int64_t n_chunks = (c.k - first_k + kChunk - 1) / kChunk;
    k = first_k, step = 0, out = to;
    n_steps = Recipe::kSteps * (n_chunks < Recipe::kVisit ? n_chunks : Recipe::kVisit);
  }
  // Takes the steps that are due when `done` of n_turns are.
  HEARTH_INLINE void go_on(int64_t done, int64_t n_turns) {
    for (; step < n_steps * done / n_turns; ++step) {
      const int64_t i = step / Recipe::kSteps, at = k + i * kChunk;
      recipe.take(c, rows, at, c.k - at < kChunk ? c.k - at : kChunk, int(step % Recipe::kSteps), out->chunks[i]);
    }
  }
};

// multiply(chunk, number of the chunk, n weights, tokens, t, n tokens, sums, first, go_on): a chunk's products with up
// to kTokens tokens from token t on, where first says whether there are sums already. It calls go_on() once, behind its
// products.
template <int64_t kTokens, class Recipe, class Multiply>
HEARTH_INLINE void multiply_visits(const PanelCall& c, Recipe& recipe, const Multiply& multiply) {
  constexpr int64_t kDepth = Recipe::kVisit * kChunk;
  Tokens tokens;
  Visit<Recipe> visits[2];
  Preparation<Recipe> next = {c, recipe, {}, 0, 0, 0, nullptr};
  for (int64_t first = 0; first < c.n_rows; first += kRows) {
    const int64_t n_rows = c.n_rows - first < kRows ? c.n_rows - first : kRows;
    const int64_t n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
    const int64_t n_visits = (c.k + kDepth - 1) / kDepth * n_panels;
    BlockStream ahead(c, first, n_rows, n_visits);
    next.begin(first, 0, visits);
    next.go_on(1, 1);
    for (int64_t visit = 0; visit < n_visits; ++visit) {
      const int64_t k = visit / n_panels * kDepth, row = visit % n_panels * kPanelRows;
      const int64_t depth = c.k - k < kDepth ? c.k - k : kDepth, n_chunks = (depth + kChunk - 1) / kChunk;
      if (row == 0) tokens.set<Recipe::kInput>(c, k, depth);
      const int64_t later = visit + 1;
      if (later < n_visits) {
        next.begin(first + later % n_panels * kPanelRows, later / n_panels * kDepth, visits + later % 2);
      }
      ahead.ask();
      const int64_t there = n_rows - row;
      const auto mask = [](int64_t rows) { return __mmask16(rows >= 16 ? 0xffff : rows > 0 ? (1 << rows) - 1 : 0); };
      const Sums sums = {c.out + first + row, c.out_stride, {mask(there), mask(there - 16)}};
      const int64_t n_turns = (c.n_tokens + kTokens - 1) / kTokens * n_chunks;
      int64_t turn = 0;
      const auto go_on = [&]() HEARTH_INLINE_LAMBDA { next.go_on(++turn, n_turns); };
      for (int64_t t = 0; t < c.n_tokens; t += kTokens) {
        const int64_t n = c.n_tokens - t < kTokens ? c.n_tokens - t : kTokens;
        for (int64_t i = 0; i < n_chunks; ++i) {
          const int64_t left = depth - i * kChunk;
          multiply(visits[visit % 2].chunks[i], i, left < kChunk ? left : kChunk, tokens, t, n, sums, k + i == 0,
                   go_on);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hearth
