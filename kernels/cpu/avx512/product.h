// Products of attention (attend.cpp, attend_integers.cpp): c = a b, where c [n_rows][width] is summed in registers,
// rows of b are read as vectors and elements of a are broadcast from memory. Both are of four bytes: floats, or pairs
// of 16-bit integers that lie one after the other in the depth. What is done with them is said by Steps:
//
//   Sum                          of 16 lanes
//   Sum begin(i, j, k)           where the sums of row i, columns [j, j + 16) begin at depth k
//   Sum add(x, row, sum)         sum + x row, x an element in all lanes
//   void end(i, j, end_k, sum)   takes the sums up to depth end_k: not more than a block of the depth at once
//
// No sum crosses lanes, and each is one chain in the order of k: an output has the same bits in any tile.
#pragma once

#include "kernels/cpu/avx512/simd.h"

namespace hearth {
namespace {

// Element (i, k) of a is a[i * a_row + k * a_column], row k of b is b[k * b_stride]; width a multiple of 16. Rows are
// taken four at a time: memory for those past n_rows must exist, whatever it holds.
template <class Element>
struct Factors {
  const Element* a;
  int64_t a_row, a_column;
  const Element* b;
  int64_t b_stride;
  int64_t n_rows, depth, width;
};

HEARTH_INLINE __m512 in_every_lane(float x) {
  return _mm512_set1_ps(x);
}
HEARTH_INLINE __m512i in_every_lane(int32_t x) {
  return _mm512_set1_epi32(x);
}
HEARTH_INLINE __m512 load_row(const float* p) {
  return _mm512_loadu_ps(p);
}
HEARTH_INLINE __m512i load_row(const int32_t* p) {
  return _mm512_loadu_si512(p);
}

// Rows [i, i + R), columns [j, j + 16 V), k in [k, k + n).
template <int R, int V, class Element, class Steps>
void product_tile(const Factors<Element>& f, const Steps& steps, int64_t i, int64_t j, int64_t k, int64_t n) {
  typename Steps::Sum acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    HEARTH_UNROLL for (int v = 0; v < V; ++v) acc[r][v] = steps.begin(i + r, j + 16 * v, k);
  }
  // One pointer for every four rows; the stride and three times the stride reach all four. Left alone, the compiler
  // keeps an offset for each row and spills them.
  const Element* a[R / 4];
#pragma GCC unroll 6
  for (int g = 0; g < R / 4; ++g) a[g] = f.a + (i + 4 * g) * f.a_row + k * f.a_column;
  const int64_t stride = f.a_row, stride3 = 3 * stride;
  const Element* b = f.b + k * f.b_stride + j;
  for (const Element* end = b + n * f.b_stride; b != end; b += f.b_stride) {
    decltype(load_row(b)) row[V];
    HEARTH_UNROLL for (int v = 0; v < V; ++v) row[v] = load_row(b + 16 * v);
#pragma GCC unroll 6
    for (int g = 0; g < R / 4; ++g) {
      asm("" : "+r"(a[g]));
      const Element* four[4] = {a[g], a[g] + stride, a[g] + 2 * stride, a[g] + stride3};
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const auto x = in_every_lane(*four[r]);
        HEARTH_UNROLL for (int v = 0; v < V; ++v) acc[4 * g + r][v] = steps.add(x, row[v], acc[4 * g + r][v]);
      }
      a[g] += f.a_column;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    HEARTH_UNROLL for (int v = 0; v < V; ++v) steps.end(i + r, j + 16 * v, k + n, acc[r][v]);
  }
}

// V vectors of columns for all rows: R rows at a time (16 or 24 sums), then four at a time.
template <int R, int V, class Element, class Steps>
void product_strip(const Factors<Element>& f, const Steps& steps, int64_t j, int64_t k, int64_t n) {
  int64_t i = 0;
  for (; i + R <= f.n_rows; i += R) product_tile<R, V>(f, steps, i, j, k, n);
  for (; i < f.n_rows; i += 4) product_tile<4, V>(f, steps, i, j, k, n);
}

constexpr int64_t kDepthBlock = 128;  // a strip of three vectors is 24 KB, which stays in L1 for all rows

template <class Element, class Steps>
void multiply(const Factors<Element>& f, const Steps& steps, int64_t block = kDepthBlock) {
  for (int64_t k = 0; k < f.depth; k += block) {
    const int64_t n = f.depth - k < block ? f.depth - k : block;
    for (int64_t j = 0; j < f.width; j += 48) {
      const int64_t left = f.width - j;
      if (left >= 48) {
        product_strip<8, 3>(f, steps, j, k, n);
      } else if (left == 32) {
        product_strip<12, 2>(f, steps, j, k, n);
      } else {
        product_strip<16, 1>(f, steps, j, k, n);
      }
    }
  }
}

}  // namespace
}  // namespace hearth
