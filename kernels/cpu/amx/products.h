// Products of up to 32 tokens with the 32 rows of a chunk, which lies as tiles are loaded: four bytes of every row,
// then the next four. Two tiles of tokens and two of weights make four of sums, so that each product needs one load.
#pragma once

#include "kernels/cpu/amx/panels.h"

namespace hearth {
namespace {

constexpr int64_t kLine = 64;  // bytes of a tile's row
constexpr int64_t kPair = 2 * kBlock;

// The products of the two tiles of tokens with the two of rows. (An instruction names its tiles by number.)
struct IntegerProducts {
  using Sum = int32_t;
  HEARTH_INLINE static void first_left() { _tile_dpbssd(0, 4, 6); }
  HEARTH_INLINE static void first_right() { _tile_dpbssd(1, 4, 7); }
  HEARTH_INLINE static void second_left() { _tile_dpbssd(2, 5, 6); }
  HEARTH_INLINE static void second_right() { _tile_dpbssd(3, 5, 7); }
};
struct Bf16Products {
  using Sum = float;
  HEARTH_INLINE static void first_left() { _tile_dpbf16ps(0, 4, 6); }
  HEARTH_INLINE static void first_right() { _tile_dpbf16ps(1, 4, 7); }
  HEARTH_INLINE static void second_left() { _tile_dpbf16ps(2, 5, 6); }
  HEARTH_INLINE static void second_right() { _tile_dpbf16ps(3, 5, 7); }
};

// Of tokens [0, 16) and [16, 32), each with rows [0, 16) and [16, 32).
template <class T>
struct alignas(64) PairSums {
  T of[2][2][kBlock][16];
  HEARTH_INLINE const T* at(int64_t token, int half) const { return of[token / kBlock][half][token % kBlock]; }
};

// One or two blocks of tokens times n_bytes of the 32 rows from w on. The processor goes on with do_meanwhile() while
// the tile unit works.
template <class P, bool kTwo, class Meanwhile>
HEARTH_INLINE void multiply_blocks(const uint8_t (*w)[kPanelRows][4], int64_t n_bytes, const Block* x, int64_t chunk,
                                   const Meanwhile& do_meanwhile, PairSums<typename P::Sum>& sums) {
  finish_writes();
  const auto at = [&](int block) HEARTH_INLINE_LAMBDA { return x[block].x + chunk * x[block].next_chunk; };
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kTwo) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t byte = 0; byte < n_bytes; byte += kLine, w += kLine / 4) {
    _tile_loadd(4, at(0) + byte, x[0].stride);
    _tile_loadd(6, w[0][0], sizeof w[0]);
    P::first_left();
    _tile_loadd(7, w[0][16], sizeof w[0]);
    P::first_right();
    if constexpr (kTwo) {
      _tile_loadd(5, at(1) + byte, x[1].stride);
      P::second_left();
      P::second_right();
    }
  }
  do_meanwhile();
  _tile_stored(0, sums.of[0][0], kLine);
  _tile_stored(1, sums.of[0][1], kLine);
  if constexpr (kTwo) {
    _tile_stored(2, sums.of[1][0], kLine);
    _tile_stored(3, sums.of[1][1], kLine);
  }
  finish_writes();
}

}  // namespace
}  // namespace hearth
