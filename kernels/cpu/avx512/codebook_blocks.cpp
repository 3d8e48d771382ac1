// The formats in blocks of 256 from codebooks.
#include "kernels/cpu/avx512/codebook_decoders.h"
#include "kernels/cpu/avx512/engine_row.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::HEARTH_AVX512 {
constexpr FormatEngine kRows[] = {
    engine_row<IQ2_XXS>(FormatId::iq2_xxs), engine_row<IQ2_XS>(FormatId::iq2_xs), engine_row<IQ2_S>(FormatId::iq2_s),
    engine_row<IQ3_XXS>(FormatId::iq3_xxs), engine_row<IQ3_S>(FormatId::iq3_s),   engine_row<IQ1_S>(FormatId::iq1_s),
    engine_row<IQ1_M>(FormatId::iq1_m),
};
const FormatRows kCodebooks = {kRows, int(sizeof kRows / sizeof kRows[0])};

}  // namespace hearth::HEARTH_AVX512
