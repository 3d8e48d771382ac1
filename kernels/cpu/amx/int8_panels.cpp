// Many tokens times weights in 8 bits (Int8Tile): sums of 16 tokens x 16 rows over 64 weights at a time. Sums of a
// chunk are integers; each is scaled by its row and its token and added to the result in float32. Bound: decoding for
// few tokens, the tile unit for many.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"

namespace hearth::amx {
namespace {

constexpr int64_t kDepth = 64;  // weights of a tile

using Products = int32_t[4][kBlock][16];  // of two blocks of tokens with two times 16 rows

// One or two blocks of tokens times a chunk of 32 rows. The tiles are stored by store_products.
template <bool kTwoBlocks>
HEARTH_INLINE void multiply(const Int8Tile& w, int64_t n_weights, const Block* x, int64_t chunk) {
  finish_writes();
  const auto at = [&](int block) HEARTH_INLINE_LAMBDA { return x[block].q + chunk * x[block].next_chunk; };
  _tile_zero(0);
  _tile_zero(1);
  if (kTwoBlocks) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < n_weights; k += kDepth) {
    _tile_loadd(4, at(0) + k, x[0].stride);
    _tile_loadd(6, w.q[k / 4][0], sizeof w.q[0]);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, w.q[k / 4][16], sizeof w.q[0]);
    _tile_dpbssd(1, 4, 7);
    if (kTwoBlocks) {
      _tile_loadd(5, at(1) + k, x[1].stride);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
}
template <bool kTwoBlocks>
HEARTH_INLINE void store_products(Products& c) {
  _tile_stored(0, c[0], 64);
  _tile_stored(1, c[1], 64);
  if (kTwoBlocks) {
    _tile_stored(2, c[2], 64);
    _tile_stored(3, c[3], 64);
  }
  finish_writes();
}

// Adds the products of n tokens from token t on, scaled.
HEARTH_INLINE void add_products(const Products& c, const float* row_scales, const Tokens& tokens, int64_t chunk,
                                int64_t t, int64_t n, bool first, const Sums& sums) {
  const __m512 s0 = _mm512_load_ps(row_scales), s1 = _mm512_load_ps(row_scales + 16);
  for (int64_t i = 0; i < n; ++i) {
    const __m512 scale = _mm512_set1_ps(tokens.x[t + i][chunk].scale);
    const int32_t(*const of)[kBlock][16] = c + i / kBlock * 2;
    sums.add(t + i, 0, _mm512_cvtepi32_ps(load512(of[0][i % kBlock])), _mm512_mul_ps(s0, scale), first);
    sums.add(t + i, 1, _mm512_cvtepi32_ps(load512(of[1][i % kBlock])), _mm512_mul_ps(s1, scale), first);
  }
}

template <bool kTwoBlocks>
void multiply_chunk(const Int8Tile& w, int64_t n_weights, const Tokens& tokens, int64_t chunk, int64_t t, int64_t n,
                    bool first, const Sums& sums, Preparation<Int8Tile>& next, int64_t turn, int64_t n_turns) {
  alignas(64) Products c;
  multiply<kTwoBlocks>(w, n_weights, tokens.blocks + t / kBlock, chunk);
  next.go_on(turn, n_turns);
  store_products<kTwoBlocks>(c);
  add_products(c, w.scale, tokens, chunk, t, n, first, sums);
}

}  // namespace

void int8_panels(const PanelCall& c, const TilePanels& format) {
  load_tile_config(c.n_tokens < kBlock ? c.n_tokens : kBlock);
  multiply_visits<Int8Tile>(c, format,
                            [&](const Visit<Int8Tile>& visit, int64_t n_weights, const Tokens& tokens, const Sums& sums,
                                bool first, Preparation<Int8Tile>& next) HEARTH_INLINE_LAMBDA {
                              const int64_t n_chunks = (n_weights + kChunk - 1) / kChunk;
                              const int64_t n_turns = (c.n_tokens + 2 * kBlock - 1) / (2 * kBlock) * n_chunks;
                              for (int64_t t = 0, turn = 0; t < c.n_tokens; t += 2 * kBlock) {
                                const int64_t n = c.n_tokens - t < 2 * kBlock ? c.n_tokens - t : 2 * kBlock;
                                const auto one_or_two = n > kBlock ? multiply_chunk<true> : multiply_chunk<false>;
                                for (int64_t i = 0; i < n_chunks; ++i) {
                                  const int64_t left = n_weights - i * kChunk;
                                  one_or_two(visit.chunks[i], left < kChunk ? left : kChunk, tokens, i, t, n,
                                             first && i == 0, sums, next, ++turn, n_turns);
                                }
                              }
                            });
  _tile_release();
}

}  // namespace hearth::amx
