// The codebooks of the IQ formats (quant/codebooks.h) as the decoders of all instruction sets look them up: the levels
// of a point as bytes, coordinate 0 first.
#pragma once

#include <cstdint>

namespace hearth {

template <class Word, int n>
struct PointBytes {
  Word of[n];
};

// The smaller ones also as the numbers of the levels, coordinate 0 lowest: two bits each (IQ2) or three (IQ3). A table
// of words fits into a few registers.
template <int n>
struct alignas(64) PointCodes {
  uint16_t of[n];
};

extern const PointCodes<256> kIq2XxsCodes;
extern const PointCodes<512> kIq2XsCodes;
extern const PointCodes<256> kIq3XxsCodes;
extern const PointCodes<512> kIq3SCodes;

extern const PointBytes<uint64_t, 256> kIq2XxsBytes;
extern const PointBytes<uint64_t, 512> kIq2XsBytes;
extern const PointBytes<uint64_t, 1024> kIq2SBytes;
extern const PointBytes<uint32_t, 256> kIq3XxsBytes;
extern const PointBytes<uint32_t, 512> kIq3SBytes;
extern const PointBytes<uint64_t, 2048> kIq1Bytes;  // plus 16: 8, 16 or 24

}  // namespace hearth
