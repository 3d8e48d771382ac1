// AVX2's loops as they are compiled for decoders whose rows have a header, and for the same formats without one.
#pragma once

#include "kernels/cpu/avx2/kernels.h"

namespace hearth::test {

struct Avx2Rows {
  FormatEngine engine;
  avx2::DecodeRow decode;
};
// A header is an fp16 scale of the row.
extern const Avx2Rows kHeadedQ8_0, kPlainQ8_0, kHeadedQ6_K, kPlainQ6_K;

}  // namespace hearth::test
