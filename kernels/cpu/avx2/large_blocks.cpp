// The formats in blocks of 256.
#include "kernels/cpu/avx2/engine_row.h"
#include "kernels/cpu/avx2/float_decoder.h"

namespace hearth::avx2 {

constexpr FormatEngine kRows[] = {
    engine_row<Q2_K>(FormatId::q2_k, 3),   engine_row<Q3_K>(FormatId::q3_k, 5),
    engine_row<Q4_K>(FormatId::q4_k, 5),   engine_row<Q5_K>(FormatId::q5_k, 5),
    engine_row<Q6_K>(FormatId::q6_k, 5),   engine_row<IQ4_XS>(FormatId::iq4_xs, 3),
    engine_row<TQ2_0>(FormatId::tq2_0, 5), engine_row<TQ1_0>(FormatId::tq1_0, 3),
};
const FormatRows kLargeBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};
constexpr FloatDecoder kDecoders[] = {
    float_decoder_row<Q2_K>(FormatId::q2_k),   float_decoder_row<Q3_K>(FormatId::q3_k),
    float_decoder_row<Q4_K>(FormatId::q4_k),   float_decoder_row<Q5_K>(FormatId::q5_k),
    float_decoder_row<Q6_K>(FormatId::q6_k),   float_decoder_row<IQ4_XS>(FormatId::iq4_xs),
    float_decoder_row<TQ2_0>(FormatId::tq2_0), float_decoder_row<TQ1_0>(FormatId::tq1_0),
};
const FloatDecoders kLargeDecoders = {kDecoders, int(sizeof kDecoders / sizeof kDecoders[0])};

}  // namespace hearth::avx2
