// The encoders behind the table of formats (format.h says what they promise), and the one constructor that needs no
// search.
#pragma once

#include <cstdint>

#include "quant/blocks.h"

namespace hearth {

// x [n], importance [n] or null -> row. Each block's is defined in one of the files encode_*.cpp.
template <class Block>
void encode_row(const float* x, const float* importance, void* row, int64_t n);

void encode_f32(const float* x, const float* importance, void* row, int64_t n);
void encode_f16(const float* x, const float* importance, void* row, int64_t n);  // beyond +-65504: +-65504
void encode_bf16(const float* x, const float* importance, void* row, int64_t n);

// A block of an FP8 checkpoint as it is: 128 weights along a row, e4m3 [128], that share one 128x128 scale
// (`weight_scale_inv`). decode gives scale * e4m3 exactly as the checkpoint defines it.
BlockF8_E4M3 f8_e4m3_block(const uint8_t* e4m3, float scale);

}  // namespace hearth
