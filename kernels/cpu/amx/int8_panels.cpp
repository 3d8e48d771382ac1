// Many tokens times weights in 8 bits (Int8Tile). Sums of a chunk are integers; each is scaled by its row and its token
// and added to the result in float32. Bound: decoding for few tokens, the tile unit for many.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/products.h"

namespace hearth::amx {
namespace {

struct ToInt8 {
  using Chunk = Int8Tile;
  static constexpr Input kInput = Input::x8;
  static constexpr int64_t kVisit = 2;
  HEARTH_INLINE static void round(const Tile& decoded, const TileForm& form, int first_row, Chunk& out) {
    avx512_vnni::round_to_int8(decoded, form, first_row, 0, out);
  }
};

template <bool kTwo, class GoOn>
HEARTH_INLINE void multiply(const Int8Tile& w, int64_t chunk, int64_t n_weights, const Tokens& tokens, int64_t t,
                            int64_t n, const Sums& sums, bool first, const GoOn& go_on) {
  PairSums<int32_t> products;
  multiply_blocks<IntegerProducts, kTwo>(w.q, n_weights, tokens.blocks + t / kBlock, chunk, go_on, products);
  const __m512 scales[2] = {_mm512_load_ps(w.scale), _mm512_load_ps(w.scale + 16)};
  for (int64_t i = 0; i < n; ++i) {
    const __m512 scale = _mm512_set1_ps(tokens.x8(t + i, chunk).scale);
    HEARTH_UNROLL for (int half = 0; half < 2; ++half) {
      const __m512 of = _mm512_cvtepi32_ps(load512(products.at(i, half)));
      const __m512 old = sums.old(t + i, half, first);
      sums.set(t + i, half, _mm512_fmadd_ps(of, _mm512_mul_ps(scales[half], scale), old));
    }
  }
}

}  // namespace

void int8_panels(const PanelCall& c, const TilePanels& format) {
  load_tile_config(c.n_tokens < kBlock ? c.n_tokens : kBlock);
  DecodeAndRound<ToInt8> recipe = {format, {}};
  multiply_visits<kPair>(c, recipe,
                         [&](const Int8Tile& w, int64_t chunk, int64_t n_weights, const Tokens& tokens, int64_t t,
                             int64_t n, const Sums& sums, bool first, const auto& go_on) HEARTH_INLINE_LAMBDA {
                           if (n > kBlock) {
                             multiply<true>(w, chunk, n_weights, tokens, t, n, sums, first, go_on);
                           } else {
                             multiply<false>(w, chunk, n_weights, tokens, t, n, sums, first, go_on);
                           }
                         });
  _tile_release();
}

}  // namespace hearth::amx
