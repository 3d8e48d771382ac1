#include "convert/scales.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "quant/error.h"

namespace hearth {

namespace {

int64_t blocks(int64_t n, int64_t block) {
  return (n + block - 1) / block;
}

// 2^(bits - 127); 255 is NaN.
float e8m0_to_float(uint8_t bits) {
  return bits == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, int(bits) - 127);
}

bool is_e8m0(const SourceTensor& tensor) {
  return std::string_view(tensor.dtype->name) == kE8M0;
}

}  // namespace

bool is_activation_scale(std::string_view name) {
  for (const std::string_view end :
       {".input_scale", ".output_scale", ".k_scale", ".v_scale", ".input_zero_point", ".output_zero_point"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

void require_scale_type(const SourceTensor& scale) {
  require(scale.dtype->format || is_e8m0(scale), ErrorKind::model, "{}: expected F32, BF16, F16 or {}, found {}",
          scale.place(), kE8M0, scale.dtype->name);
}

int64_t value_count(const Shape& shape) {
  return shape.rank == 0 ? 1 : shape.elems();
}

void set_scale_blocks(WeightSource& source, int64_t rows, const ScaleBlock& block) {
  const Shape& found = source.scale->shape;
  const int64_t cols = source.weight->shape.cols();
  const Shape of_blocks(blocks(rows, block.rows), blocks(cols, block.cols));
  if (found == of_blocks) {
    source.scale_rows = block.rows;
    source.scale_cols = block.cols;
  } else if (found == Shape(rows) || found == Shape(rows, 1)) {
    source.scale_rows = 1;
    source.scale_cols = cols;
  } else {
    require(value_count(found) == 1, ErrorKind::model,
            "{}: expected {} (blocks of {}x{}), {} (rows) or one value, found {}", source.scale->place(),
            of_blocks.text(), block.rows, block.cols, Shape(rows, 1).text(), found.text());
    source.scale_rows = rows;
    source.scale_cols = cols;
  }
}

float scale_at(const WeightSource& source, int64_t row, int64_t col) {
  const SourceTensor& scale = *source.scale;
  const int64_t per_row = (source.weight->shape.cols() + source.scale_cols - 1) / source.scale_cols;
  const int64_t index = (row + source.scale_first_row) / source.scale_rows * per_row + col / source.scale_cols;
  const std::byte* bytes = scale.bytes.data() + size_t(index) * scale.elem_bytes();
  if (is_e8m0(scale)) return e8m0_to_float(uint8_t(*bytes));
  alignas(float) std::byte aligned[sizeof(float)];
  std::memcpy(aligned, bytes, scale.elem_bytes());
  float value;
  scale.dtype->format->decode(aligned, &value, 1);
  return value;
}

}  // namespace hearth
