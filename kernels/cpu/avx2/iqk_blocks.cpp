// The formats that ik_llama.cpp adds, in blocks of 256.
#include "kernels/cpu/avx2/engine_row.h"
#include "kernels/cpu/avx2/float_decoder.h"
#include "kernels/cpu/avx2/iqk_decoders.h"

namespace hearth::avx2 {

constexpr FormatEngine kRows[] = {
    engine_row<IQ2_K>(FormatId::iq2_k, 3),   engine_row<IQ3_K>(FormatId::iq3_k, 3),
    engine_row<IQ4_K>(FormatId::iq4_k, 3),   engine_row<IQ5_K>(FormatId::iq5_k, 3),
    engine_row<IQ6_K>(FormatId::iq6_k, 3),   engine_row<IQ2_KS>(FormatId::iq2_ks, 3),
    engine_row<IQ3_KS>(FormatId::iq3_ks, 3), engine_row<IQ4_KS>(FormatId::iq4_ks, 3),
    engine_row<IQ5_KS>(FormatId::iq5_ks, 3),
};
const FormatRows kIqkBlocks = {kRows, int(sizeof kRows / sizeof kRows[0])};
constexpr FloatDecoder kDecoders[] = {
    float_decoder_row<IQ2_K>(FormatId::iq2_k),   float_decoder_row<IQ3_K>(FormatId::iq3_k),
    float_decoder_row<IQ4_K>(FormatId::iq4_k),   float_decoder_row<IQ5_K>(FormatId::iq5_k),
    float_decoder_row<IQ6_K>(FormatId::iq6_k),   float_decoder_row<IQ2_KS>(FormatId::iq2_ks),
    float_decoder_row<IQ3_KS>(FormatId::iq3_ks), float_decoder_row<IQ4_KS>(FormatId::iq4_ks),
    float_decoder_row<IQ5_KS>(FormatId::iq5_ks),
};
const FloatDecoders kIqkDecoders = {kDecoders, int(sizeof kDecoders / sizeof kDecoders[0])};

}  // namespace hearth::avx2
