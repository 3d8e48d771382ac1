// Formats of more than 5.5 bits: decoded chunks (kernels/cpu/tile.h) are rounded to bfloat16.
#include "kernels/cpu/amx/bf16_tile.h"
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/avx512/tile_scales.h"

namespace hearth::amx {
namespace {

// Sixteen rows' weights in bfloat16, those of `low` in the lower halves of the dwords.
HEARTH_INLINE __m512i pair(__m512 low, __m512 high) {
  alignas(64) static constexpr uint16_t kOneByOne[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOneByOne), __m512i(_mm512_cvtne2ps_pbh(high, low)));
}

template <int kGroup, Minimums kMinimums>
void round_to_bf16(const Tile& tile, int offset, int first_row, Bf16Tile& out) {
  const __m512i byte = _mm512_set1_epi32(0xff);
  const auto byte_of = [&](__m512i q, int j) HEARTH_INLINE_LAMBDA {
    if (j == 3) return _mm512_srli_epi32(q, 24);
    return _mm512_and_si512(j == 0 ? q : _mm512_srli_epi32(q, unsigned(8 * j)), byte);
  };
  for (int g = 0; g < int(kChunk) / kGroup; ++g) {
    const __m512 scale = _mm512_load_ps(tile.scale[g] + first_row);
    __m512 less;
    if constexpr (kMinimums == Minimums::none) {
      less = _mm512_mul_ps(scale, _mm512_set1_ps(float(1 << offset)));
    } else {
      less = minimum_of<kMinimums>(tile, first_row, g);
    }
    HEARTH_UNROLL for (int i = 0; i < kGroup / 4; i += 2) {  // dwords of four weights; weight 4 m + j of each 64 ..
      const int at = g * kGroup / 4 + i, m = at % 16;
      const __m512i low = _mm512_load_si512(tile.q[at][first_row]), high = _mm512_load_si512(tile.q[at + 1][first_row]);
      HEARTH_UNROLL for (int j = 0; j < 4; ++j) {
        const auto weights = [&](__m512i q) HEARTH_INLINE_LAMBDA {
          return _mm512_fmsub_ps(_mm512_cvtepi32_ps(byte_of(q, j)), scale, less);
        };
        const int line = at / 16 * 32 + 8 * j + m / 2;  // .. is number 16 j + m of the activations
        _mm512_store_si512(out.pairs[line][first_row], pair(weights(low), weights(high)));
      }
    }
  }
}

struct ToBf16 {
  using Chunk = Bf16Tile;
  static constexpr Input kInput = Input::bf16;
  static constexpr int64_t kVisit = 1;
  HEARTH_INLINE static void round(const Tile& decoded, const TileForm& form, int first_row, Chunk& out) {
    for_form(form, [&]<int kGroup, Minimums kMinimums>() {
      round_to_bf16<kGroup, kMinimums>(decoded, form.offset, first_row, out);
    });
  }
};

}  // namespace

void bf16_panels(const PanelCall& c, const TilePanels& format) {
  DecodeAndRound<ToBf16> recipe = {format, {}};
  multiply_in_bf16(c, recipe);
}

}  // namespace hearth::amx
