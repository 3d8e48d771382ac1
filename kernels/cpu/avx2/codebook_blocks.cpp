// The formats in blocks of 256 from codebooks.
#include "kernels/cpu/avx2/codebook_decoders.h"
#include "kernels/cpu/avx2/engine_row.h"
#include "kernels/cpu/avx2/float_decoder.h"

namespace hearth::avx2 {

constexpr FormatEngine kRows[] = {
    engine_row<IQ2_XXS>(FormatId::iq2_xxs, 3), engine_row<IQ2_XS>(FormatId::iq2_xs, 3),
    engine_row<IQ2_S>(FormatId::iq2_s, 3),     engine_row<IQ3_XXS>(FormatId::iq3_xxs, 3),
    engine_row<IQ3_S>(FormatId::iq3_s, 3),     engine_row<IQ1_S>(FormatId::iq1_s, 3),
    engine_row<IQ1_M>(FormatId::iq1_m, 3),
};
const FormatRows kCodebooks = {kRows, int(sizeof kRows / sizeof kRows[0])};
constexpr FloatDecoder kDecoders[] = {
    float_decoder_row<IQ2_XXS>(FormatId::iq2_xxs), float_decoder_row<IQ2_XS>(FormatId::iq2_xs),
    float_decoder_row<IQ2_S>(FormatId::iq2_s),     float_decoder_row<IQ3_XXS>(FormatId::iq3_xxs),
    float_decoder_row<IQ3_S>(FormatId::iq3_s),     float_decoder_row<IQ1_S>(FormatId::iq1_s),
    float_decoder_row<IQ1_M>(FormatId::iq1_m),
};
const FloatDecoders kCodebookDecoders = {kDecoders, int(sizeof kDecoders / sizeof kDecoders[0])};

}  // namespace hearth::avx2
