// The formats in blocks of 32 and 128.
#include "kernels/cpu/avx512/engine_row.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::HEARTH_AVX512 {
constexpr FormatEngine kRows[] = {
    engine_row<Q4_0>(FormatId::q4_0),       engine_row<Q4_1>(FormatId::q4_1),
    engine_row<Q5_0>(FormatId::q5_0),       engine_row<Q5_1>(FormatId::q5_1),
    engine_row<Q8_0>(FormatId::q8_0, 6, 7), engine_row<IQ4_NL>(FormatId::iq4_nl),
    engine_row<I4_G128>(FormatId::i4_g128), engine_row<MXFP4>(FormatId::mxfp4),
};
const FormatRows kSmallBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};

}  // namespace hearth::HEARTH_AVX512
