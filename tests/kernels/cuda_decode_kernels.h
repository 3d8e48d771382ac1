// Kernels of cuda_decode_test.cpp: what decode.cuh makes of a row, weight by weight. Device pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace hearth::test {

// The unit decoder: row [k] -> weights [k].
void decode_units(FormatId format, const std::byte* row, int64_t k, float* weights);

}  // namespace hearth::test
