#include "convert/row_encoder.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "quant/blocks.h"
#include "quant/encode.h"
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

int64_t source_cols(const SourceTensor& weight) {
  return weight.shape.cols();
}

std::span<const std::byte> row_bytes(const SourceTensor& weight, int64_t row, int64_t n) {
  const size_t bytes = size_t(source_cols(weight)) * weight.elem_bytes();
  return weight.bytes.subspan(size_t(row) * bytes, size_t(n) * bytes);
}

[[noreturn]] void refuse_value(const SourceTensor& weight, int64_t row, int64_t col, float value) {
  const std::string index = weight.shape.rank == 1 ? fmt::format("[{}]", col) : fmt::format("[{}, {}]", row, col);
  const char* found = std::isnan(value) ? "NaN" : value > 0 ? "infinity" : "-infinity";
  fail(ErrorKind::format, "{}: expected finite weights, found {} at {}", weight.place(), found, index);
}

// One pass without branches, so that it vectorizes: the exponent is all ones in NaN and infinity.
bool all_finite(const float* x, int64_t n) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= uint32_t((float_bits(x[i]) & 0x7f800000) == 0x7f800000);
  return bad == 0;
}

// Row `row` of a source as floats [cols].
void read_row(const WeightSource& source, int64_t row, std::vector<std::byte>& aligned, float* out) {
  const SourceTensor& weight = *source.weight;
  const int64_t cols = source_cols(weight);
  std::span<const std::byte> bytes = row_bytes(weight, row, 1);
  if (weight.dtype->fp8) {
    const auto* q = reinterpret_cast<const uint8_t*>(bytes.data());
    const std::array<float, 256>& values = e4m3_values();
    for (int64_t begin = 0; begin < cols; begin += source.scale_cols) {
      const float scale = scale_at(source, row, begin);
      const int64_t end = std::min(begin + source.scale_cols, cols);
      for (int64_t c = begin; c < end; ++c) out[c] = values[q[c]] * scale;
    }
  } else {
    if (reinterpret_cast<uintptr_t>(bytes.data()) % weight.elem_bytes() != 0) {  // safetensors promises no alignment
      aligned.assign(bytes.begin(), bytes.end());
      bytes = aligned;
    }
    weight.dtype->format->decode(bytes.data(), out, cols);
  }
  if (all_finite(out, cols)) return;
  for (int64_t c = 0; c < cols; ++c) {
    if (!std::isfinite(out[c])) refuse_value(weight, row, c, out[c]);
  }
}

constexpr int64_t kBlock = BlockF8_E4M3::kElems;

// Whether each run of kBlock weights along a row has one scale; then the same down a column.
bool scales_follow_rows(const WeightSource& source) {
  return source.scale_cols % kBlock == 0 || source.scale_cols >= source.weight->shape.cols();
}
bool scales_follow_columns(const WeightSource& source) {
  return source.scale_rows % kBlock == 0 || source.scale_rows >= source.weight->shape.dim[0];
}

// One block of a row of the file, with the checkpoint's codes and scale.
BlockF8_E4M3 carry_block(const WeightSource& source, int64_t row, int64_t col, const uint8_t (&q)[kBlock]) {
  const float scale = scale_at(source, row, col);
  require(std::isfinite(scale), ErrorKind::format, "{}: expected finite scales, found {} for block [{}, {}]",
          source.scale->place(), scale, row / source.scale_rows, col / source.scale_cols);
  return f8_e4m3_block(q, scale);
}

bool is_e4m3_nan(uint8_t q) {
  return (q & 0x7f) == 0x7f;
}

}  // namespace

int64_t count_beyond_f16(const float* x, int64_t n) {
  constexpr float kRoundsToInfinity = 65520;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += std::abs(x[i]) >= kRoundsToInfinity;
  return count;
}

RowEncoder::RowEncoder(const OutputTensor& tensor, const Format& format) : tensor_(tensor), format_(format) {
  const Transform transform = tensor.transform;
  const SourceTensor& weight = *tensor.sources.front().weight;
  if (transform == Transform::k_part) unit_ = tensor.shape.dim[1];
  if (transform == Transform::k_part || transform == Transform::v_part) {
    head_rows_ = weight.shape.dim[0] / tensor.shape.dim[0];
  }
  // A row of the transposed part runs down a column of the source. Each of its blocks has one scale if the whole weight
  // has one, or if every head begins at a multiple of 128 rows (V3: 128 + 128 rows a head).
  const auto can_carry = [&](const WeightSource& source) {
    if (!source.weight->dtype->fp8) return false;
    if (transform != Transform::k_part) return scales_follow_rows(source);
    const bool one_scale = source.scale_rows >= source.weight->shape.dim[0];
    return scales_follow_columns(source) && (one_scale || head_rows_ % kBlock == 0);
  };
  carries_fp8_ = format.id == FormatId::f8_e4m3 && std::all_of(tensor.sources.begin(), tensor.sources.end(), can_carry);
}

RowEncoder::SourceRow RowEncoder::locate(int64_t row) const {
  switch (tensor_.transform) {
    case Transform::copy:
      return {&tensor_.sources[0], row};
    case Transform::stack:
      return {&tensor_.sources[size_t(row / tensor_.shape.dim[1])], row % tensor_.shape.dim[1]};
    case Transform::v_part: {
      const int64_t dv = tensor_.shape.dim[1];
      return {&tensor_.sources[0], row / dv * head_rows_ + (head_rows_ - dv) + row % dv};
    }
    case Transform::k_part:
      break;
  }
  assert(false);
  return {};
}

// Calls f with each run of neighbouring source rows.
template <class F>
void RowEncoder::for_each_source_range(int64_t first, int64_t n, F f) const {
  if (tensor_.transform == Transform::k_part) {
    const SourceTensor& weight = *tensor_.sources[0].weight;
    for (int64_t head = first / unit_; head < (first + n) / unit_; ++head) {
      f(SourceRange{&weight, row_bytes(weight, head * head_rows_, tensor_.shape.dim[2])});
    }
    return;
  }
  for (int64_t row = first; row < first + n;) {
    const SourceRow begin = locate(row);
    int64_t count = 1;
    while (row + count < first + n) {
      const SourceRow next = locate(row + count);
      if (next.source != begin.source || next.row != begin.row + count) break;
      ++count;
    }
    f(SourceRange{begin.source->weight, row_bytes(*begin.source->weight, begin.row, count)});
    row += count;
  }
}

uint64_t RowEncoder::source_bytes(int64_t first, int64_t n) const {
  uint64_t total = 0;
  for_each_source_range(first, n, [&](const SourceRange& range) { total += range.bytes.size(); });
  return total;
}

void RowEncoder::will_need(int64_t first, int64_t n) const {
  for_each_source_range(first, n, [](const SourceRange& range) {
    if (range.tensor->file) range.tensor->file->will_need(range.bytes);
  });
}

void RowEncoder::dont_need(int64_t first, int64_t n) const {
  for_each_source_range(first, n, [](const SourceRange& range) {
    if (range.tensor->file) range.tensor->file->dont_need(range.bytes);
  });
}

void RowEncoder::release() const {
  for_each_source_range(0, tensor_.shape.rows(), [](const SourceRange& range) {
    if (range.tensor->file) range.tensor->file->release(range.bytes);
  });
}

// The key rows of a head [dn, r] -> out [r, dn].
void RowEncoder::read_head_transposed(int64_t head, Scratch& scratch, float* out) const {
  const int64_t r = tensor_.shape.dim[1], dn = tensor_.shape.dim[2];
  scratch.source.resize(size_t(r));
  for (int64_t i = 0; i < dn; ++i) {
    read_row(tensor_.sources[0], head * head_rows_ + i, scratch.aligned, scratch.source.data());
    for (int64_t c = 0; c < r; ++c) out[c * dn + i] = scratch.source[size_t(c)];
  }
}

void RowEncoder::carry_head_transposed(int64_t head, std::byte* blocks) const {
  const WeightSource& source = tensor_.sources[0];
  const int64_t r = tensor_.shape.dim[1], dn = tensor_.shape.dim[2], first = head * head_rows_;
  const auto* q = reinterpret_cast<const uint8_t*>(row_bytes(*source.weight, first, dn).data());
  for (int64_t c = 0; c < r; ++c) {
    for (int64_t begin = 0; begin < dn; begin += kBlock) {
      uint8_t column[kBlock];
      for (int64_t i = 0; i < kBlock; ++i) {
        column[i] = q[(begin + i) * r + c];
        if (is_e4m3_nan(column[i])) refuse_value(*source.weight, first + begin + i, c, NAN);
      }
      const BlockF8_E4M3 block = carry_block(source, first + begin, c, column);
      std::memcpy(blocks, &block, sizeof block);
      blocks += sizeof block;
    }
  }
}

void RowEncoder::encode_carried(int64_t first, int64_t n, std::byte* blocks) const {
  const int64_t cols = tensor_.shape.cols();
  for (int64_t i = first; i < first + n; ++i) {
    const auto [source, row] = locate(i);
    const auto* q = reinterpret_cast<const uint8_t*>(row_bytes(*source->weight, row, 1).data());
    for (int64_t begin = 0; begin < cols; begin += kBlock) {
      uint8_t part[kBlock];
      std::memcpy(part, q + begin, kBlock);
      for (int64_t j = 0; j < kBlock; ++j) {
        if (is_e4m3_nan(part[j])) refuse_value(*source->weight, row, begin + j, NAN);
      }
      const BlockF8_E4M3 block = carry_block(*source, row, begin, part);
      std::memcpy(blocks, &block, sizeof block);
      blocks += sizeof block;
    }
  }
}

void RowEncoder::encode(int64_t first, int64_t n, Scratch& scratch, std::byte* blocks) const {
  assert(first % unit_ == 0 && n % unit_ == 0);
  const int64_t cols = tensor_.shape.cols();
  const size_t row_size = format_.bytes(cols);
  const bool transposed = tensor_.transform == Transform::k_part;
  if (carries_fp8_) {
    if (!transposed) return encode_carried(first, n, blocks);
    for (int64_t i = 0; i < n; i += unit_) carry_head_transposed((first + i) / unit_, blocks + size_t(i) * row_size);
    return;
  }
  scratch.rows.resize(size_t(unit_ * cols));
  for (int64_t i = 0; i < n; i += unit_) {
    if (transposed) {
      read_head_transposed((first + i) / unit_, scratch, scratch.rows.data());
    } else {
      const auto [source, row] = locate(first + i);
      read_row(*source, row, scratch.aligned, scratch.rows.data());
    }
    if (format_.id == FormatId::f16) clamped_ += count_beyond_f16(scratch.rows.data(), unit_ * cols);
    // Row by row, so that the bytes do not depend on how the work was cut into pieces.
    for (int64_t j = 0; j < unit_; ++j) {
      format_.encode(scratch.rows.data() + j * cols, nullptr, blocks + size_t(i + j) * row_size, cols);
    }
  }
}

}  // namespace hearth
