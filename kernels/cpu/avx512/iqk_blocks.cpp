// The formats that ik_llama.cpp adds, in blocks of 256.
#include "kernels/cpu/avx512/engine_row.h"
#include "kernels/cpu/avx512/iqk_decoders.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::HEARTH_AVX512 {
constexpr FormatEngine kRows[] = {
    engine_row<IQ2_K>(FormatId::iq2_k),   engine_row<IQ3_K>(FormatId::iq3_k),   engine_row<IQ4_K>(FormatId::iq4_k),
    engine_row<IQ5_K>(FormatId::iq5_k),   engine_row<IQ6_K>(FormatId::iq6_k),   engine_row<IQ2_KS>(FormatId::iq2_ks),
    engine_row<IQ3_KS>(FormatId::iq3_ks), engine_row<IQ4_KS>(FormatId::iq4_ks), engine_row<IQ5_KS>(FormatId::iq5_ks),
};
const FormatRows kIqkBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};

}  // namespace hearth::HEARTH_AVX512
