// The scales of FP8 weights: one for a block, for a row or for a whole weight.
#pragma once

#include <string_view>

#include "convert/hf_config.h"
#include "convert/safetensors.h"

namespace hearth {

struct WeightSource {
  const SourceTensor* weight = nullptr;
  const SourceTensor* scale = nullptr;  // its values multiply; null unless the weight is F8_E4M3
  // One value of the scale serves so many rows and columns of the weight.
  int64_t scale_rows = 1, scale_cols = 1;
  int64_t scale_first_row = 0;  // where the weight begins in the rows that the scale counts (halves of fused tensors)
};

// Scales that belong to activations or to the cache: of no use for weights.
bool is_activation_scale(std::string_view name);

// Throws Error(model) unless it is F32, BF16, F16 or F8_E8M0.
void require_scale_type(const SourceTensor& scale);

// Elements of a tensor, of which a single value without axes has one.
int64_t value_count(const Shape& shape);

// Which rows and columns a value of source.scale serves, by its shape. `rows`: those that the scale counts; `block`: of
// checkpoints with scales for blocks. Throws Error(model) for a shape of neither kind.
void set_scale_blocks(WeightSource& source, int64_t rows, const ScaleBlock& block);

// The scale of a weight's element.
float scale_at(const WeightSource& source, int64_t row, int64_t col);

}  // namespace hearth
