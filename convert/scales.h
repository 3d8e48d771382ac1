// The weights of a checkpoint and their scales. Those of FP8 weights: one for each block, for each row, or for a whole
// weight.
#pragma once

#include <string_view>

#include "convert/coded_weight.h"
#include "convert/hf_config.h"
#include "convert/safetensors.h"

namespace hearth {

struct WeightSource {
  const SourceTensor* weight = nullptr;
  const CodedWeight* coded = nullptr;   // of integer weights, whose codes `weight` then is; else null
  const SourceTensor* scale = nullptr;  // multiplies the weight; null unless the weight is F8_E4M3
  // The rows and columns of the weight that share one value of the scale.
  int64_t scale_rows = 1, scale_cols = 1;
  int64_t scale_first_row = 0;  // the weight's first row in those that the scale covers (parts of fused tensors)

  int64_t rows() const { return coded ? coded->rows : weight->shape.rows(); }
  int64_t cols() const { return coded ? coded->cols : weight->shape.cols(); }
  bool quantized() const { return coded || weight->dtype->fp8; }
};

// Whether a tensor is a scale of activations or of the cache, which weights do not need.
bool is_activation_scale(std::string_view name);

// Throws Error(model) unless the scale's type is F32, BF16, F16 or F8_E8M0.
void require_scale_type(const SourceTensor& scale);

// The number of elements of a tensor; 1 for a single value without axes.
int64_t value_count(const Shape& shape);

// Sets scale_rows and scale_cols by the shape of source.scale. `rows`: the rows that the scale covers; `block`: the
// block size of checkpoints with scales for blocks. Throws Error(model) if the shape is not that of scales for blocks,
// for rows or for the whole weight.
void set_scale_blocks(WeightSource& source, int64_t rows, const ScaleBlock& block);

// The scale of the element at (row, col) of the weight.
float scale_at(const WeightSource& source, int64_t row, int64_t col);

}  // namespace hearth
