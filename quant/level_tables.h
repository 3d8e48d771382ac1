// Tables of levels: what the few bits of a weight stand for where levels are not spaced evenly. Host and device.
//
// The tables of the formats that ik_llama.cpp adds to ggml's are facts of these formats, published with it
// (ggml-common.h: iq2nl_values .. iq6nl_values); kIq4 is also ggml's (iq4_nl). They come in pairs: a bit of each group
// says whether all its levels are kMove higher, which puts them nearer to some groups of weights.
//
// IQ6_K: the program's own float decoder has a cubic polynomial in place of this table, which is that polynomial's
// values rounded. All of the program's product kernels, on CPUs and on GPUs, and its encoder go by the table, so it is
// what a file is made for, and what is computed here; the two differ by at most half a level.
#pragma once

#include <cstdint>

#include "quant/fp.h"

namespace hearth::level_tables {

template <int n>
struct Table {
  int8_t of[n];
};

struct Iq2 {
  static constexpr int kBits = 2, kMove = 5;
  static constexpr Table<4> kTable = {{-31, -13, 1, 17}};
};
struct Iq3 {
  static constexpr int kBits = 3, kMove = 4;
  static constexpr Table<8> kTable = {{-63, -40, -23, -10, 1, 13, 28, 47}};
};
struct Iq4 {
  static constexpr int kBits = 4, kMove = 4;
  static constexpr Table<16> kTable = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};
};
struct Iq5 {
  static constexpr int kBits = 5, kMove = 2;
  static constexpr Table<32> kTable = {{-126, -114, -103, -92, -83, -74, -65, -57, -50, -43, -36,
                                        -30,  -24,  -18,  -12, -6,  -1,  5,   11,  17,  23,  29,
                                        36,   43,   51,   59,  68,  77,  87,  97,  109, 121}};
};
struct Iq6 {
  static constexpr int kBits = 6, kMove = 1;
  static constexpr Table<64> kTable = {{-127, -121, -115, -109, -104, -98, -93, -88, -84, -79, -74, -70, -66,
                                        -62,  -58,  -54,  -51,  -47,  -44, -40, -37, -34, -31, -28, -25, -22,
                                        -19,  -16,  -13,  -11,  -8,   -5,  -2,  0,   3,   6,   9,   12,  14,
                                        17,   20,   23,   27,   30,   33,  36,  40,  44,  47,  51,  55,  59,
                                        63,   68,   72,   77,   82,   87,  92,  98,  103, 109, 115, 121}};
};
// OCP's fp4 e2m1 (Microscaling Formats 1.0), doubled: s ee m, the sign in bit 3.
struct E2m1 {
  static constexpr int kBits = 4;
  static constexpr Table<16> kTable = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}};
};

// Level q of a table. Device code cannot read a host array: it has a copy of its own.
template <class T>
HEARTH_HD inline int at(int q) {
#ifdef __CUDA_ARCH__
  static constexpr auto copy = T::kTable;
  return copy.of[q];
#else
  return T::kTable.of[q];
#endif
}

}  // namespace hearth::level_tables
