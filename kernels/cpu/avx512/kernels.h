// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"

namespace hearth {
struct AttentionEngine;  // kernels/cpu/attend.h
struct LatentEngine;     // kernels/cpu/latent_integers.h
}  // namespace hearth

namespace hearth::HEARTH_AVX512 {

void quantize(const float* x, int64_t n, X8* out);
void silu_product(float* gate, const float* up, int64_t n);
// Rows first_row .. first_row + 15.
void round_to_int8(const Tile& tile, const TileForm& form, int first_row, int offset, Int8Tile& out);
void int8_panels(const PanelCall& call, const TilePanels& format);

extern const FormatRows kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks;
extern const AttentionEngine kAttention;
extern const LatentEngine kLatentIntegers;  // with VNNI

// out [r][nope, rounded up to 16] = W^UK of a head, zeros in the columns that do not exist.
void decode_keys(const Weight& w, int64_t head, float* out);
// out [r][v, rounded up to 16] = the transpose of the head's W^UV, likewise.
void decode_values(const Weight& w, int64_t head, float* out);

}  // namespace hearth::HEARTH_AVX512
