// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"

namespace hearth {
struct AttentionEngine;  // kernels/cpu/attend.h
}

namespace hearth::HEARTH_AVX512 {

void quantize(const float* x, int64_t n, X8* out);
void silu_product(float* gate, const float* up, int64_t n);
void int8_panels(const PanelCall& call, const Int8Panels& format);

extern const FormatRows kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks;
extern const AttentionEngine kAttention;

}  // namespace hearth::HEARTH_AVX512
