// Reading what a format's decoder says of a chunk's weights (kernels/cpu/tile.h), 16 rows at once.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/tile.h"

namespace hearth {
namespace {

// What is subtracted from the weights of group g.
template <Minimums kMinimums>
HEARTH_INLINE __m512 minimum_of(const TileScales& scales, int first_row, int g) {
  if constexpr (kMinimums == Minimums::floats) return _mm512_load_ps(scales.min[g] + first_row);
  const __m512i pair = _mm512_load_si512(scales.min_pairs[g / 2] + first_row);
  const __m512i min = g % 2 ? _mm512_srli_epi32(pair, 16) : _mm512_and_si512(pair, _mm512_set1_epi32(0xffff));
  return _mm512_mul_ps(_mm512_cvtepi32_ps(min), _mm512_load_ps(scales.dmin + first_row));
}

// The one of five functions, function.operator()<group, minimums>(), that fits a form.
template <class Function>
HEARTH_INLINE void for_form(const TileForm& form, const Function& function) {
  if (form.group == 16) {
    if (form.minimums == Minimums::none) return function.template operator()<16, Minimums::none>();
    return function.template operator()<16, Minimums::integers>();
  }
  if (form.minimums == Minimums::none) return function.template operator()<32, Minimums::none>();
  if (form.minimums == Minimums::integers) return function.template operator()<32, Minimums::integers>();
  function.template operator()<32, Minimums::floats>();
}

}  // namespace
}  // namespace hearth
