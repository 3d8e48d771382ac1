// The formats in blocks of 32 and 128.
#include "kernels/cpu/avx2/engine_row.h"
#include "kernels/cpu/avx2/float_decoder.h"

namespace hearth::avx2 {

constexpr FormatEngine kRows[] = {
    engine_row<Q4_0>(FormatId::q4_0, 4),       engine_row<Q4_1>(FormatId::q4_1, 5),
    engine_row<Q5_0>(FormatId::q5_0, 3),       engine_row<Q5_1>(FormatId::q5_1, 5),
    engine_row<Q8_0>(FormatId::q8_0, 6),       engine_row<IQ4_NL>(FormatId::iq4_nl, 6),
    engine_row<I4_G128>(FormatId::i4_g128, 4), engine_row<MXFP4>(FormatId::mxfp4, 4),
};
const FormatRows kSmallBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};
constexpr FloatDecoder kDecoders[] = {
    float_decoder_row<Q4_0>(FormatId::q4_0),       float_decoder_row<Q4_1>(FormatId::q4_1),
    float_decoder_row<Q5_0>(FormatId::q5_0),       float_decoder_row<Q5_1>(FormatId::q5_1),
    float_decoder_row<Q8_0>(FormatId::q8_0),       float_decoder_row<IQ4_NL>(FormatId::iq4_nl),
    float_decoder_row<I4_G128>(FormatId::i4_g128), float_decoder_row<MXFP4>(FormatId::mxfp4),
};
const FloatDecoders kSmallDecoders = {kDecoders, int(sizeof kDecoders / sizeof kDecoders[0])};

}  // namespace hearth::avx2
