// Rows of a checkpoint's weights as floats, whatever they are stored as.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "convert/scales.h"

namespace hearth {

// Rows first .. first + n of a weight -> out [n, cols]. `aligned` is scratch. Throws Error(format) for weights and
// scales that are not finite, naming the tensor and the place.
void read_rows(const WeightSource& source, int64_t first, int64_t n, std::vector<std::byte>& aligned, float* out);

// The bytes of neighbouring rows of a tensor that has its rows one after the other.
std::span<const std::byte> row_bytes(const SourceTensor& tensor, int64_t first, int64_t n);

// Throws Error(format): a weight is not finite.
[[noreturn]] void refuse_weight(const SourceTensor& weight, int64_t row, int64_t col, float value);

}  // namespace hearth
