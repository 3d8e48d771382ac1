#include "convert/source_rows.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/error.h"
#include "quant/fp.h"

namespace hearth {

namespace {

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values;
    for (int i = 0; i < 256; ++i) values[i] = e4m3_to_float(uint8_t(i));
    return values;
  }();
  return table;
}

// One pass without branches, so that it vectorizes: the exponent is all ones in NaN and infinity.
bool all_finite(const float* x, int64_t n) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= uint32_t((float_bits(x[i]) & 0x7f800000) == 0x7f800000);
  return bad == 0;
}

void read_fp8_row(const WeightSource& source, int64_t row, float* out) {
  const int64_t cols = source.cols();
  const auto* q = reinterpret_cast<const uint8_t*>(row_bytes(*source.weight, row, 1).data());
  const std::array<float, 256>& values = e4m3_values();
  for (int64_t begin = 0; begin < cols; begin += source.scale_cols) {
    const float scale = scale_at(source, row, begin);
    const int64_t end = std::min(begin + source.scale_cols, cols);
    for (int64_t c = begin; c < end; ++c) out[c] = values[q[c]] * scale;
  }
}

void read_float_row(const SourceTensor& weight, int64_t row, std::vector<std::byte>& aligned, float* out) {
  std::span<const std::byte> bytes = row_bytes(weight, row, 1);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % weight.elem_bytes() != 0) {  // safetensors promises no alignment
    aligned.assign(bytes.begin(), bytes.end());
    bytes = aligned;
  }
  weight.dtype->format->decode(bytes.data(), out, weight.shape.cols());
}

}  // namespace

std::span<const std::byte> row_bytes(const SourceTensor& tensor, int64_t first, int64_t n) {
  const size_t bytes = size_t(tensor.shape.cols()) * tensor.elem_bytes();
  return tensor.bytes.subspan(size_t(first) * bytes, size_t(n) * bytes);
}

void refuse_weight(const SourceTensor& weight, int64_t row, int64_t col, float value) {
  const std::string index = weight.shape.rank == 1 ? fmt::format("[{}]", col) : fmt::format("[{}, {}]", row, col);
  const char* found = std::isnan(value) ? "NaN" : value > 0 ? "infinity" : "-infinity";
  fail(ErrorKind::format, "{}: expected finite weights, found {} at {}", weight.place(), found, index);
}

void read_rows(const WeightSource& source, int64_t first, int64_t n, std::vector<std::byte>& aligned, float* out) {
  const int64_t cols = source.cols();
  if (source.coded) {
    source.coded->read(first, n, out);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      if (source.weight->dtype->fp8) {
        read_fp8_row(source, first + i, out + i * cols);
      } else {
        read_float_row(*source.weight, first + i, aligned, out + i * cols);
      }
    }
  }
  if (all_finite(out, n * cols)) return;
  for (int64_t i = 0; i < n * cols; ++i) {
    if (!std::isfinite(out[i])) refuse_weight(*source.weight, first + i / cols, i % cols, out[i]);
  }
}

}  // namespace hearth
