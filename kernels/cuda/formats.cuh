// The formats by their block types, which are template parameters of the kernels. The three plain float formats have
// block types here too, of one weight, so that all formats are treated alike.
#pragma once

#include <cstddef>

#include "kernels/cuda/kernel.h"
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
GPU_FN float weight_at(const std::byte* row, Index i) {
  if constexpr (Block::kElems == 1) {
    return weight_of(reinterpret_cast<const Block*>(row)[i]);
  } else {
    return weight_of_row<Block>(row, i);
  }
}

// A format and its block type, and the families of formats; the kernels of each family are compiled in a file of their
// own. A format that is not listed here has no kernels: open_gpu reports one as Gpu::why_not if it is in the table
// (quant/format.h).
template <FormatId id_, class Block_>
struct Row {
  static constexpr FormatId id = id_;
  using Block = Block_;
};
template <class... Rows>
struct FormatList {};

using FloatFormats = FormatList<Row<FormatId::f32, BlockF32>, Row<FormatId::f16, BlockF16>,
                                Row<FormatId::bf16, BlockBF16>, Row<FormatId::f8_e4m3, BlockF8_E4M3>>;
using SmallFormats =
    FormatList<Row<FormatId::q8_0, BlockQ8_0>, Row<FormatId::q4_0, BlockQ4_0>, Row<FormatId::q4_1, BlockQ4_1>,
               Row<FormatId::q5_0, BlockQ5_0>, Row<FormatId::q5_1, BlockQ5_1>, Row<FormatId::iq4_nl, BlockIQ4_NL>,
               Row<FormatId::i4_g128, BlockI4_G128>, Row<FormatId::mxfp4, BlockMXFP4>>;
using LargeFormats =
    FormatList<Row<FormatId::q2_k, BlockQ2_K>, Row<FormatId::q3_k, BlockQ3_K>, Row<FormatId::q4_k, BlockQ4_K>,
               Row<FormatId::q5_k, BlockQ5_K>, Row<FormatId::q6_k, BlockQ6_K>, Row<FormatId::iq4_xs, BlockIQ4_XS>,
               Row<FormatId::tq2_0, BlockTQ2_0>, Row<FormatId::tq1_0, BlockTQ1_0>, Row<FormatId::nvfp4, BlockNVFP4>>;
using CodebookFormats =
    FormatList<Row<FormatId::iq2_xxs, BlockIQ2_XXS>, Row<FormatId::iq2_xs, BlockIQ2_XS>,
               Row<FormatId::iq2_s, BlockIQ2_S>, Row<FormatId::iq3_xxs, BlockIQ3_XXS>, Row<FormatId::iq3_s, BlockIQ3_S>,
               Row<FormatId::iq1_s, BlockIQ1_S>, Row<FormatId::iq1_m, BlockIQ1_M>>;
using IqkFormats =
    FormatList<Row<FormatId::iq2_k, BlockIQ2_K>, Row<FormatId::iq3_k, BlockIQ3_K>, Row<FormatId::iq4_k, BlockIQ4_K>,
               Row<FormatId::iq5_k, BlockIQ5_K>, Row<FormatId::iq6_k, BlockIQ6_K>, Row<FormatId::iq2_ks, BlockIQ2_KS>,
               Row<FormatId::iq3_ks, BlockIQ3_KS>, Row<FormatId::iq4_ks, BlockIQ4_KS>,
               Row<FormatId::iq5_ks, BlockIQ5_KS>>;

// Those that recipes mix in one layer, for kernels that take matrices of different formats.
using MixedFormats =
    FormatList<Row<FormatId::q8_0, BlockQ8_0>, Row<FormatId::q4_0, BlockQ4_0>, Row<FormatId::q5_0, BlockQ5_0>,
               Row<FormatId::q5_1, BlockQ5_1>, Row<FormatId::iq4_nl, BlockIQ4_NL>, Row<FormatId::q2_k, BlockQ2_K>,
               Row<FormatId::q3_k, BlockQ3_K>, Row<FormatId::q4_k, BlockQ4_K>, Row<FormatId::q5_k, BlockQ5_K>,
               Row<FormatId::q6_k, BlockQ6_K>, Row<FormatId::iq4_xs, BlockIQ4_XS>>;

template <class... Rows>
constexpr bool contains(FormatList<Rows...>, FormatId id) {
  return ((Rows::id == id) || ...);
}
inline bool has_kernels(FormatId id) {
  return contains(FloatFormats{}, id) || contains(SmallFormats{}, id) || contains(LargeFormats{}, id) ||
         contains(CodebookFormats{}, id) || contains(IqkFormats{}, id);
}

// Calls f.template operator()<Block>() for the block type of a format. False: the format is not in the list.
template <class... Rows, class F>
bool with_block(FormatList<Rows...>, FormatId id, const F& f) {
  return ((Rows::id == id && (f.template operator()<typename Rows::Block>(), true)) || ...);
}
// In a kernel, of a list that has the format.
template <class... Rows, class F>
GPU_FN void with_format(FormatList<Rows...>, FormatId id, const F& f) {
  if constexpr (sizeof...(Rows) == 1) {
    (f.template operator()<typename Rows::Block>(), ...);
  } else {
    ((Rows::id == id && (f.template operator()<typename Rows::Block>(), true)) || ...);
  }
}
template <class F>
bool with_block(FormatId id, const F& f) {
  return with_block(FloatFormats{}, id, f) || with_block(SmallFormats{}, id, f) || with_block(LargeFormats{}, id, f) ||
         with_block(CodebookFormats{}, id, f) || with_block(IqkFormats{}, id, f);
}

}  // namespace hearth::gpu
