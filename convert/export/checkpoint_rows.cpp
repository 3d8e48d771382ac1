#include "convert/export/checkpoint_rows.h"

#include "convert/source_rows.h"

namespace hearth {
namespace {

OutputTensor as_tensor(const WeightSource& source, const Shape& shape, Role role) {
  OutputTensor tensor;
  tensor.name = source.weight->name;
  tensor.role = role;
  tensor.shape = shape;
  tensor.sources = {source};
  return tensor;
}

// Codes that no format carries are decoded once, and rounded by nothing.
const Format& format_of_rows(const OutputTensor& tensor) {
  const WeightSource& source = tensor.sources.front();
  if (!source.quantized()) return *source.weight->dtype->format;
  const Format& kept = kept_format(tensor);
  return carries(tensor, kept) ? kept : format_of(FormatId::f32);
}

// Whether no 128 rows or columns, counted from the weight's first, have several scales.
bool scales_of_blocks(const WeightSource& source) {
  const bool rows = source.scale_rows % 128 == 0 ? source.scale_first_row % 128 == 0
                                                 : source.scale_rows >= source.scale_first_row + source.rows();
  return rows && (source.scale_cols % 128 == 0 || source.scale_cols >= source.cols());
}

}  // namespace

CheckpointRows::CheckpointRows(const WeightSource& source, const Shape& shape, Role role, CarryLoss& loss)
    : tensor_(as_tensor(source, shape, role)), format_(format_of_rows(tensor_)), encoder_(tensor_, format_, loss) {}

std::span<const std::byte> CheckpointRows::blocks(int64_t first, int64_t n, ExportScratch& scratch) const {
  const WeightSource& source = tensor_.sources.front();
  if (!source.quantized()) return row_bytes(*source.weight, first, n);
  scratch.blocks.resize(size_t(n) * format_.bytes(tensor_.shape.cols()));
  encoder_.encode(first, n, scratch.maker, scratch.blocks.data());
  return scratch.blocks;
}

std::span<const std::byte> CheckpointRows::fp8(int64_t first, int64_t n, float* scales) const {
  const WeightSource& source = tensor_.sources.front();
  if (!source.weight->dtype->fp8 || !scales_of_blocks(source)) return {};
  for (int64_t row = first; row < first + n; row += 128) {
    for (int64_t col = 0; col < source.cols(); col += 128) *scales++ = scale_at(source, row, col);
  }
  return row_bytes(*source.weight, first, n);
}

void CheckpointRows::read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const {
  read_rows(tensor_.sources.front(), first, n, scratch.maker.aligned, out);
}

}  // namespace hearth
