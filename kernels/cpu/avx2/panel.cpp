// The formats that have a decoder of their own, each with the two loops made for it.
#include "kernels/cpu/avx2/panel.h"

#include "kernels/cpu/avx2/matmul_tile.h"

namespace hearth::avx2 {
namespace {

template <class D>
constexpr FormatKernel row(FormatId id) {
  return {id, multiply_panel<D>, decode_row<D>};
}

constexpr FormatKernel kKernels[] = {
    row<DecodeF32>(FormatId::f32),         row<DecodeF16>(FormatId::f16),         row<DecodeBF16>(FormatId::bf16),
    row<DecodeQ4_0>(FormatId::q4_0),       row<DecodeQ4_1>(FormatId::q4_1),       row<DecodeQ5_0>(FormatId::q5_0),
    row<DecodeQ5_1>(FormatId::q5_1),       row<DecodeQ8_0>(FormatId::q8_0),       row<DecodeQ2_K>(FormatId::q2_k),
    row<DecodeQ3_K>(FormatId::q3_k),       row<DecodeQ4_K>(FormatId::q4_k),       row<DecodeQ5_K>(FormatId::q5_k),
    row<DecodeQ6_K>(FormatId::q6_k),       row<DecodeIQ4_NL>(FormatId::iq4_nl),   row<DecodeIQ4_XS>(FormatId::iq4_xs),
    row<DecodeF8_E4M3>(FormatId::f8_e4m3), row<DecodeI4_G128>(FormatId::i4_g128),
};
constexpr FormatKernel kByTable = {FormatId{}, multiply_panel_by_table, decode_row_by_table};

}  // namespace

const FormatKernel& kernel_for(const Format& format) {
  for (const FormatKernel& kernel : kKernels) {
    if (kernel.id == format.id) return kernel;
  }
  return kByTable;
}

}  // namespace hearth::avx2
