// Many tokens times weights in bfloat16, summed in float32. Weights and activations keep 8 significant bits. Bound:
// decoding for few tokens, the tile unit for many.
#pragma once

#include "kernels/cpu/amx/products.h"

namespace hearth {
namespace {

// A chunk of 32 rows, pairs of weights side by side, in the order of the activations (bf16_place).
struct alignas(64) Bf16Tile {
  uint8_t pairs[kChunk / 2][kPanelRows][4];
};

template <bool kTwo, class GoOn>
HEARTH_INLINE void multiply_bf16(const Bf16Tile& w, int64_t n_weights, const Tokens& tokens, int64_t t, int64_t n,
                                 const Sums& sums, bool first, const GoOn& go_on) {
  PairSums<float> products;
  const int64_t n_bytes = 2 * round_up(n_weights, 64);  // zeros after the last activation
  multiply_blocks<Bf16Products, kTwo>(w.pairs, n_bytes, tokens.blocks + t / kBlock, 0, go_on, products);
  for (int64_t i = 0; i < n; ++i) {
    HEARTH_UNROLL for (int half = 0; half < 2; ++half) {
      const __m512 of = _mm512_load_ps(products.at(i, half));
      sums.set(t + i, half, _mm512_add_ps(sums.old(t + i, half, first), of));
    }
  }
}

template <class Recipe>
HEARTH_INLINE void multiply_in_bf16(const PanelCall& c, Recipe& recipe) {
  load_tile_config(c.n_tokens < kBlock ? c.n_tokens : kBlock);
  multiply_visits<kPair>(c, recipe,
                         [&](const Bf16Tile& w, int64_t, int64_t n_weights, const Tokens& tokens, int64_t t, int64_t n,
                             const Sums& sums, bool first, const auto& go_on) HEARTH_INLINE_LAMBDA {
                           if (n > kBlock) {
                             multiply_bf16<true>(w, n_weights, tokens, t, n, sums, first, go_on);
                           } else {
                             multiply_bf16<false>(w, n_weights, tokens, t, n, sums, first, go_on);
                           }
                         });
  _tile_release();
}

}  // namespace
}  // namespace hearth
