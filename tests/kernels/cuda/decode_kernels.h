// Kernels of decode_test.cpp: what the decoders make of a row, weight by weight. Device pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace hearth::test {

// By units, as for few tokens: row [k] -> weights [k].
void decode_units(FormatId format, const std::byte* row, int64_t k, float* weights);

// By runs, as for many tokens: row [k], of a tensor that ends at `end`, -> [k rounded up to 64] weights in bf16, and
// what its levels and scales stand for. Any format but F32, which no tensor core multiplies.
void decode_runs(FormatId format, const std::byte* row, const std::byte* end, int64_t k, uint16_t* weights,
                 float* of_levels);

}  // namespace hearth::test
