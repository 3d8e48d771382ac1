// From a format's bytes and scales to 8 bits (Int8Tile, kernels/cpu/tile.h). A group's weights are affine in their
// bytes u, scale * u - minimum, so in 8 bits they are too. A product and a sum of 16 bits for each weight leave it in
// the upper byte, rounded:
//
//   256 (q - offset) + 128 = factor * u - less,   factor = scale * f, less = minimum * f, f = 127 * 256 / the row's
//   largest
//
// The sums wrap modulo 2^16 in between. Rounding `factor` moves the weights of a group by up to half a step more.
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/avx512/tile_scales.h"

namespace hearth::HEARTH_AVX512 {
namespace {

// The scales and minimums of a chunk of 16 rows.
template <int kGroups, Minimums kMinimums>
struct Affine {
  __m512 scale[kGroups], min[kGroups];

  HEARTH_INLINE Affine(const TileScales& scales, int first_row) {
    HEARTH_UNROLL for (int g = 0; g < kGroups; ++g) {
      scale[g] = _mm512_load_ps(scales.scale[g] + first_row);
      if constexpr (kMinimums != Minimums::none) min[g] = minimum_of<kMinimums>(scales, first_row, g);
    }
  }
  // A bound of the weights' magnitude, NaN where a scale is: as integers, which order like the numbers' magnitudes, NaN
  // is the largest.
  HEARTH_INLINE __m512 largest(const TileForm& form) const {
    const __m512 most = _mm512_set1_ps(form.largest);
    __m512i largest = _mm512_setzero_si512();
    const auto see = [&](__m512 v) HEARTH_INLINE_LAMBDA {
      largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(v)));
    };
    HEARTH_UNROLL for (int g = 0; g < kGroups; ++g) {
      if constexpr (kMinimums == Minimums::none) {
        see(_mm512_mul_ps(scale[g], most));
      } else {
        see(min[g]);
        see(_mm512_fmsub_ps(scale[g], most, min[g]));
      }
    }
    return _mm512_castsi512_ps(largest);
  }
  HEARTH_INLINE void multiply(__m512 factor) {
    HEARTH_UNROLL for (int g = 0; g < kGroups; ++g) {
      scale[g] = _mm512_mul_ps(scale[g], factor);
      if constexpr (kMinimums != Minimums::none) min[g] = _mm512_mul_ps(min[g], factor);
    }
  }
};

// The upper bytes of factor * u + added, for every byte u. Both are two equal words for each row.
HEARTH_INLINE __m512i affine_bytes(__m512i u, __m512i factor, __m512i added) {
  const __m512i low = _mm512_set1_epi16(0xff);
  const __m512i even = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_and_si512(u, low), factor), added);
  const __m512i odd = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(u, 8), factor), added);
  return _mm512_ternarylogic_epi64(_mm512_srli_epi16(even, 8), odd, low, 0xF4);  // a | (b & ~c)
}
HEARTH_INLINE __m512i as_two_words(__m512i v) {
  return _mm512_mask_mov_epi16(v, 0xAAAAAAAA, _mm512_slli_epi32(v, 16));
}

template <int kGroup, Minimums kMinimums>
void round_rows(const Tile& tile, const TileForm& form, int first_row, int offset, Int8Tile& out) {
  constexpr int kGroups = int(kChunk) / kGroup;
  Affine<kGroups, kMinimums> affine(tile, first_row);
  __m512 largest = affine.largest(form), unit = _mm512_set1_ps(1.0f / 127);
  const __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_GT_OQ);
  if (_mm512_mask_cmp_ps_mask(some, largest, _mm512_set1_ps(0x1p-100f), _CMP_LT_OQ)) [[unlikely]] {
    // So small that f would be infinite.
    const __m512 large = _mm512_set1_ps(0x1p64f);
    affine.multiply(large);
    largest = _mm512_mul_ps(largest, large);
    unit = _mm512_mul_ps(unit, _mm512_set1_ps(0x1p-64f));
  }
  _mm512_store_ps(out.scale + first_row, _mm512_mul_ps(largest, unit));
  affine.multiply(_mm512_maskz_div_ps(some, _mm512_set1_ps(127 * 256.0f), largest));
  const __m128i shift = _mm_cvtsi32_si128(form.offset);
  HEARTH_UNROLL for (int g = 0; g < kGroups; ++g) {
    const __m512i factor = _mm512_cvtps_epi32(affine.scale[g]);
    const __m512i less =
        kMinimums == Minimums::none ? _mm512_sll_epi32(factor, shift) : _mm512_cvtps_epi32(affine.min[g]);
    const __m512i added = _mm512_sub_epi32(_mm512_set1_epi32(256 * offset + 128), less);
    const __m512i factors = as_two_words(factor), all_added = as_two_words(added);
    HEARTH_UNROLL for (int i = 0; i < kGroup / 4; ++i) {
      const int at = g * kGroup / 4 + i;
      _mm512_store_si512(out.q[at][first_row],
                         affine_bytes(_mm512_load_si512(tile.q[at][first_row]), factors, all_added));
    }
  }
}

}  // namespace

void round_to_int8(const Tile& tile, const TileForm& form, int first_row, int offset, Int8Tile& out) {
  for_form(form, [&]<int kGroup, Minimums kMinimums>() {
    round_rows<kGroup, kMinimums>(tile, form, first_row, offset, out);
  });
}

}  // namespace hearth::HEARTH_AVX512
