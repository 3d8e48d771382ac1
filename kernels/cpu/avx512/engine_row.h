// A format's row in the table of kernels.
#pragma once

#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/matmul_once.h"
#include "kernels/cpu/avx512/matmul_tile.h"
#include "kernels/cpu/avx512/matmul_vec.h"

namespace hearth::HEARTH_AVX512 {
namespace {

#ifdef __AVX512VNNI__
constexpr bool kVnni = true;
#else
constexpr bool kVnni = false;
#endif

// Formats that are unpacked in few instructions. For the others a tile is as fast, and takes the compiler a quarter of
// the time.
template <class D>
constexpr bool kAtOnce = kVnni && (D::kStored < 4 || D::kBlock < 256);

template <class D>
void multiply_some_or_many(const PanelCall& c) {
  if constexpr (kAtOnce<D>) {
    if (c.n_tokens <= kOnceTokens) return multiply_some<D>(c);
  }
  multiply_panels<D>(c);
}

// Formats whose own error makes that of 8 bits look small (docs/measurements.md).
template <class D>
constexpr bool kFewBits = 16 * D::kBytes <= 11 * D::kBlock;  // 5.5 bits

// The largest magnitude of byte - 2^kOffset, where there is an offset; a little more, so that 1 is a whole number of
// steps of 8 bits: groups with the row's largest scale lose nothing then.
template <class D>
constexpr float largest_of() {
  int largest = 1 << D::kOffset;
  if (largest > 127) return float(largest);
  if constexpr (requires { D::kLargest; }) largest = D::kLargest;
  const int steps = 127 / largest;
  const bool little = steps * largest > 119;  // 6 %
  return little ? 127.0f / float(steps) : float(largest);
}

template <class D>
constexpr TileForm form_of() {
  if constexpr (D::kMins) {
    return {D::kGroup, kIntegerMins<D> ? Minimums::integers : Minimums::floats, -1, float(D::kLargest)};
  } else {
    return {D::kGroup, Minimums::none, D::kOffset, largest_of<D>()};
  }
}
// Where 8 bits begin was measured on Zen 4 as below: a group of 16 weights costs the exact products more.
template <class D>
constexpr TilePanels tile_panels() {
  TilePanels tiles;
  if constexpr (kVnni) {
    tiles.decode = decode_tile<D>;
    tiles.form = form_of<D>();
    tiles.block_elems = D::kBlock;
    tiles.block_bytes = D::kBytes;
    if constexpr (kFewBits<D>) {
      tiles.rounded = int8_panels;
      tiles.rounded_from = D::kGroup == 16 ? 40 : 96;
    }
  }
  return tiles;
}

// Where panels begin was measured with VNNI (cold weights, tests/bench/ops_bench.cpp), where multiply_some does it from
// 3 tokens on with most formats, and without (tests/bench/switch_bench.cpp).
template <class D>
constexpr FormatEngine engine_row(FormatId id, int64_t with_vnni = 3, int64_t without = 6) {
  return {id,
          Input::x8,
          Input::x8,
          {multiply_rows<D, 1>, multiply_rows<D, 2>, multiply_rows<D, 4>},
          multiply_some_or_many<D>,
          kVnni ? with_vnni : without,
          tile_panels<D>()};
}

}  // namespace
}  // namespace hearth::HEARTH_AVX512
