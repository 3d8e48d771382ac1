// The codebooks of the IQ1, IQ2 and IQ3 formats: which tuples of eight levels (IQ1, IQ2) or four (IQ3) there are, by
// their indices. Magnitudes only: signs are stored apart. Host and device.
#pragma once

#include <cstdint>

#include "quant/codebook_bits.h"
#include "quant/fp.h"

namespace hearth::codebook {

// A codebook: kPoints tuples of kCoords levels out of kLevels; level(c) is the c-th. kShifted: the levels have their
// signs, and are shifted; else signs are stored apart.
template <int points, int coords, int levels, bool shifted = false>
struct Book {
  static constexpr int kPoints = points, kCoords = coords, kLevels = levels;
  static constexpr bool kShifted = shifted;
};

struct Iq2Levels {
  HEARTH_HD static constexpr int level(int c) { return c == 0 ? 8 : c == 1 ? 25 : 43; }
};
struct Iq2Xxs : Book<256, 8, 3>, Iq2Levels {
  static constexpr const char* kBits = kIq2XxsBits;
};
struct Iq2Xs : Book<512, 8, 3>, Iq2Levels {
  static constexpr const char* kBits = kIq2XsBits;
};
struct Iq2S : Book<1024, 8, 3>, Iq2Levels {
  static constexpr const char* kBits = kIq2SBits;
};
struct Iq3Xxs : Book<256, 4, 8> {
  static constexpr const char* kBits = kIq3XxsBits;
  HEARTH_HD static constexpr int level(int c) { return 8 * c + (c == 7 ? 6 : 4); }
};
struct Iq3S : Book<512, 4, 8> {
  static constexpr const char* kBits = kIq3SBits;
  HEARTH_HD static constexpr int level(int c) { return 2 * c + 1; }
};
// In eighths: -1, 0 and 1, for the shift is one eighth up or down.
struct Iq1 : Book<2048, 8, 3, true> {
  static constexpr const char* kBits = kIq1Bits;
  HEARTH_HD static constexpr int level(int c) { return 8 * c - 8; }
};

// The points of a codebook: level numbers in four bits each, coordinate 0 lowest.
template <class B>
struct Points {
  uint32_t of[B::kPoints];
};

template <class B>
constexpr Points<B> expand() {
  Points<B> points{};
  uint32_t digits = 0;  // of the number n, in four bits each
  for (int n = 0, found = 0; found < B::kPoints; ++n) {
    const char hex = B::kBits[n / 4];
    if ((hex <= '9' ? hex - '0' : hex - 'a' + 10) >> n % 4 & 1) points.of[found++] = digits;
    int i = 0;
    for (; i < B::kCoords && (digits >> 4 * i & 15) == B::kLevels - 1; ++i) digits &= ~(15u << 4 * i);
    if (i < B::kCoords) digits += 1u << 4 * i;
  }
  return points;
}

template <class B>
inline constexpr Points<B> kPoints = expand<B>();

// Point i. Device code cannot read a host array: it has a copy of its own.
template <class B>
HEARTH_HD inline uint32_t point(int i) {
#ifdef __CUDA_ARCH__
  static constexpr Points<B> copy = kPoints<B>;
  return copy.of[i];
#else
  return kPoints<B>.of[i];
#endif
}

// Coordinate j of point i: a level.
template <class B>
HEARTH_HD inline int coordinate(int i, int j) {
  return B::level(int(point<B>(i) >> 4 * j & 15));
}

}  // namespace hearth::codebook
