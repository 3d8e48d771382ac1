// The formats in blocks of 256.
#include "kernels/cpu/avx512/engine_row.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::HEARTH_AVX512 {
constexpr FormatEngine kRows[] = {
    engine_row<Q2_K>(FormatId::q2_k),   engine_row<Q3_K>(FormatId::q3_k),       engine_row<Q4_K>(FormatId::q4_k),
    engine_row<Q5_K>(FormatId::q5_k),   engine_row<Q6_K>(FormatId::q6_k, 7, 9), engine_row<IQ4_XS>(FormatId::iq4_xs),
    engine_row<TQ2_0>(FormatId::tq2_0), engine_row<TQ1_0>(FormatId::tq1_0),
};
const FormatRows kLargeBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};

}  // namespace hearth::HEARTH_AVX512
