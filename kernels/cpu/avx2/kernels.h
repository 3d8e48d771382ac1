// What the files of this folder offer one another.
//
// (Plain structs without member functions: an inline function compiled here must not be the copy that the linker keeps
// for files built without AVX2.)
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth {
struct AttentionEngine;  // kernels/cpu/attend.h
}

namespace hearth::avx2 {

void quantize(const float* x, int64_t n, X8* out);
void silu_product(float* gate, const float* up, int64_t n);

extern const FormatRows kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks;
extern const AttentionEngine kAttention;

// Weights [at, at + n) of a row as floats, then zeros to the next multiple of 8; nothing is written beyond. `at` is a
// multiple of 512.
using DecodeRow = void (*)(const Format& format, const uint8_t* row, int64_t at, int64_t n, float* out);

struct FloatDecoder {
  FormatId id;
  DecodeRow decode;
};
struct FloatDecoders {
  const FloatDecoder* first;
  int n;
};
extern const FloatDecoders kFloatDecoders, kLargeDecoders, kSmallDecoders, kCodebookDecoders, kIqkDecoders;

// The format's own decoder, or one that calls Format::decode.
DecodeRow float_decoder(const Format& format);

// PanelCall with float activations for any format: weights are decoded to floats, products are summed in float32. An
// output has the same bits whatever other tokens the call has.
void multiply_floats(const Format& format, const PanelCall& call);

}  // namespace hearth::avx2
