// The formats by their block types, which kernels have as template parameters. The three plain float formats have one
// here, of one weight, so that all formats read alike.
#pragma once

#include "kernels/cuda/device.h"
#include "quant/decode.h"
#include "quant/format.h"

namespace hearth::gpu {

struct BlockF32 {
  static constexpr int kElems = 1;
  float value;
};
struct BlockF16 {
  static constexpr int kElems = 1;
  uint16_t value;
};
struct BlockBF16 {
  static constexpr int kElems = 1;
  uint16_t value;
};

GPU_FN float weight_of(const BlockF32& b) {
  return b.value;
}
GPU_FN float weight_of(const BlockF16& b) {
  return half_to_float(b.value);
}
GPU_FN float weight_of(const BlockBF16& b) {
  return bf16_bits_to_float(b.value);
}

// Weight i of a row, by the definition of its format.
template <class Block, class Index>
GPU_FN float weight_at(const Block* row, Index i) {
  if constexpr (Block::kElems == 1) {
    return weight_of(row[i]);
  } else {
    return decode(row[i / Block::kElems], int(i % Block::kElems));
  }
}

// Calls f.template operator()<Block>() for the block type of a format.
template <class F>
void with_block(FormatId id, F&& f) {
  switch (id) {
    case FormatId::f32:
      return f.template operator()<BlockF32>();
    case FormatId::f16:
      return f.template operator()<BlockF16>();
    case FormatId::bf16:
      return f.template operator()<BlockBF16>();
    case FormatId::q8_0:
      return f.template operator()<BlockQ8_0>();
    case FormatId::q4_0:
      return f.template operator()<BlockQ4_0>();
    case FormatId::q4_1:
      return f.template operator()<BlockQ4_1>();
    case FormatId::q5_0:
      return f.template operator()<BlockQ5_0>();
    case FormatId::q5_1:
      return f.template operator()<BlockQ5_1>();
    case FormatId::q2_k:
      return f.template operator()<BlockQ2_K>();
    case FormatId::q3_k:
      return f.template operator()<BlockQ3_K>();
    case FormatId::q4_k:
      return f.template operator()<BlockQ4_K>();
    case FormatId::q5_k:
      return f.template operator()<BlockQ5_K>();
    case FormatId::q6_k:
      return f.template operator()<BlockQ6_K>();
    case FormatId::iq4_nl:
      return f.template operator()<BlockIQ4_NL>();
    case FormatId::iq4_xs:
      return f.template operator()<BlockIQ4_XS>();
    case FormatId::f8_e4m3:
      return f.template operator()<BlockF8_E4M3>();
    case FormatId::i4_g128:
      return f.template operator()<BlockI4_G128>();
  }
}

}  // namespace hearth::gpu
