// The codebooks of the IQ formats (quant/codebooks.h) as the decoders of all instruction sets look them up: the levels
// of a point as bytes, coordinate 0 first.
#pragma once

#include <cstdint>

namespace hearth {

template <class Word, int n>
struct PointBytes {
  Word of[n];
};

extern const PointBytes<uint64_t, 256> kIq2XxsBytes;
extern const PointBytes<uint64_t, 512> kIq2XsBytes;
extern const PointBytes<uint64_t, 1024> kIq2SBytes;
extern const PointBytes<uint32_t, 256> kIq3XxsBytes;
extern const PointBytes<uint32_t, 512> kIq3SBytes;
extern const PointBytes<uint64_t, 2048> kIq1Bytes;  // plus 16: 8, 16 or 24

}  // namespace hearth
