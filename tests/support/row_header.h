// A made-up format whose rows have a header: blocks of Q8_0 behind a scale of the whole row, in fp16. Unlike those of
// the table it has the weights of a format without a header, to compare with.
#pragma once

#include <cmath>
#include <vector>

#include "quant/decode.h"
#include "quant/finite.h"
#include "quant/format.h"

namespace hearth::test {

struct BlockScaledQ8 : BlockQ8_0 {
  struct Header {
    uint16_t scale;  // fp16
  };
};
static_assert(sizeof(BlockScaledQ8) == sizeof(BlockQ8_0) && kHeaderBytes<BlockScaledQ8> == 2);

HEARTH_HD inline float decode(const BlockScaledQ8::Header& header, const BlockScaledQ8& block, int i) {
  return fp16_to_float(header.scale) * hearth::decode(static_cast<const BlockQ8_0&>(block), i);
}

inline bool finite_block(const BlockScaledQ8::Header& header, const BlockScaledQ8& block) {
  return finite_half(header.scale) && finite_half(block.d);
}

// A power of two, another one from row to row: what is encoded has the same weights as in Q8_0.
inline void encode_scaled_q8(const float* x, const float* importance, void* row, int64_t n) {
  const float scale = std::ldexp(1.0f, int(float_bits(x[0]) >> 10 & 3) - 2);
  static_cast<BlockScaledQ8::Header*>(row)->scale = float_to_fp16(scale);
  std::vector<float> scaled(x, x + n);
  for (float& v : scaled) v /= scale;
  format_of(FormatId::q8_0).encode(scaled.data(), importance, static_cast<std::byte*>(row) + 2, n);
}

inline constexpr FormatId kScaledQ8 = FormatId(0x7701);

inline const Format& scaled_q8() {
  static const Format format = {kScaledQ8,
                                "SCALED_Q8",
                                32,
                                sizeof(BlockQ8_0),
                                decode_row<BlockScaledQ8>,
                                encode_scaled_q8,
                                finite_row<BlockScaledQ8>,
                                format_of(FormatId::q8_0).tolerance,
                                uint32_t(kHeaderBytes<BlockScaledQ8>)};
  return format;
}

}  // namespace hearth::test
