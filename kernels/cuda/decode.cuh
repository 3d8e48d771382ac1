// The decoders of all formats, for the kernels that multiply: what a run of weights is, as the kernels want it.
//
// The bits are drawn in quant/blocks.h, and quant/decode.h is the definition that tests/kernels/cuda_decode_test.cpp
// compares with. A format is named by its block type; the three plain float formats have one here, of one weight, so
// that all formats read alike. Blocks lie in memory as ggml wrote them: many are aligned to 2 bytes only.
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

// ---- For the tile kernels: weights as bf16

GPU_FN float weight_of(const BlockF32& b, int) {
  return b.value;
}
GPU_FN float weight_of(const BlockF16& b, int) {
  return half_to_float(b.value);
}
GPU_FN float weight_of(const BlockBF16& b, int) {
  return bf16_bits_to_float(b.value);
}
template <class Block>
GPU_FN float weight_of(const Block& b, int i) {
  return decode(b, i);
}

// Weights first .. first + 2 n - 1 of a row of k, rounded to bf16, in pairs (the first of two in the low half).
// `first` is a multiple of 2 n, and 2 n is 8, 16 or 32, so that a run never leaves a block. Weights from k on, which
// only the plain float formats can be asked for (k may be anything there), are zeros; they are not read.
template <class Block, int n>
GPU_FN void decode_run(const std::byte* row, int64_t first, int64_t k, uint32_t (&pairs)[n]) {
  static_assert(2 * n == 8 || 2 * n == 16 || 2 * n == 32);
  const auto* blocks = reinterpret_cast<const Block*>(row);
  if constexpr (Block::kElems == 1) {
    GPU_UNROLL
    for (int i = 0; i < n; ++i) {
      const int64_t at = first + 2 * i;
      pairs[i] = pack_bf16(at < k ? weight_of(blocks[at], 0) : 0.0f, at + 1 < k ? weight_of(blocks[at + 1], 0) : 0.0f);
    }
  } else {
    const Block& block = blocks[first / Block::kElems];
    const int at = int(first % Block::kElems);
    GPU_UNROLL
    for (int i = 0; i < n; ++i) pairs[i] = pack_bf16(weight_of(block, at + 2 * i), weight_of(block, at + 2 * i + 1));
  }
}

}  // namespace hearth::gpu
