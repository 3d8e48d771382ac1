#include "convert/coded_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/error.h"

namespace hearth {

namespace {

// The place of each row of eight within AutoAWQ's word, counted in nibbles from the lowest: the inverse of 0 2 4 6 1 3
// 5 7.
constexpr int kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t word_at(const SourceTensor& tensor, int64_t index) {  // safetensors promises no alignment
  uint32_t word;
  std::memcpy(&word, tensor.bytes.data() + size_t(index) * sizeof word, sizeof word);
  return word;
}

float scale_at(const SourceTensor& scales, int64_t index) {
  alignas(float) std::byte aligned[sizeof(float)];
  const size_t bytes = scales.elem_bytes();
  std::memcpy(aligned, scales.bytes.data() + size_t(index) * bytes, bytes);
  float value;
  scales.dtype->format->decode(aligned, &value, 1);
  return value;
}

}  // namespace

void CodedWeight::read_codes(int64_t first, int64_t n, uint8_t* out) const {
  const int per_word = 32 / bits;
  const uint32_t mask = (1u << bits) - 1;
  const auto* bytes = reinterpret_cast<const uint8_t*>(codes->bytes.data());
  switch (layout) {
    case CodeLayout::bytes:
      for (int64_t i = 0; i < n * cols; ++i) out[i] = bytes[first * cols + i] ^ 0x80;
      return;
    case CodeLayout::along_rows: {
      const int64_t row_bytes = codes->shape.cols() * 4;
      for (int64_t r = 0; r < n; ++r, out += cols) {
        const uint8_t* row = bytes + (first + r) * row_bytes;
        if (bits == 8) {
          std::memcpy(out, row, size_t(cols));
        } else {
          for (int64_t c = 0; c < cols; ++c) out[c] = row[c / 2] >> (c % 2 * 4) & 0xf;
        }
      }
      return;
    }
    case CodeLayout::along_cols:
      for (int64_t c = 0; c < cols; c += per_word) {
        for (int64_t r = 0; r < n; ++r) {
          const uint32_t word = word_at(*codes, c / per_word * rows + first + r);
          for (int j = 0; j < per_word; ++j) out[r * cols + c + j] = uint8_t(word >> (j * bits) & mask);
        }
      }
      return;
    case CodeLayout::across_rows:
      for (int64_t c = 0; c < cols; ++c) {
        for (int64_t r = 0; r < n; ++r) {
          const int64_t row = first + r;
          out[r * cols + c] = uint8_t(word_at(*codes, c * (rows / 8) + row / 8) >> (4 * kAwqPlace[row % 8]) & mask);
        }
      }
      return;
  }
}

int CodedWeight::zero_at(int64_t row, int64_t group) const {
  const int middle = 1 << (bits - 1), per_word = 32 / bits, mask = (1 << bits) - 1;
  switch (zero_layout) {
    case ZeroLayout::none:
      return middle;
    case ZeroLayout::bytes:
      return int8_t(zeros->bytes[size_t(zeros->shape.elems() <= 1 ? 0 : row * n_groups + group)]) + middle;
    case ZeroLayout::packed_rows:
      return int(word_at(*zeros, row / per_word * n_groups + group) >> (row % per_word * bits)) & mask;
    case ZeroLayout::less_one:  // 0 was stored as all ones
      return (int(word_at(*zeros, group * (rows / per_word) + row / per_word) >> (row % per_word * bits)) + 1) & mask;
    case ZeroLayout::plain:
      return int(word_at(*zeros, group * (rows / per_word) + row / per_word) >> (row % per_word * bits)) & mask;
    case ZeroLayout::across_groups:
      return int(word_at(*zeros, group * (rows / 8) + row / 8) >> (4 * kAwqPlace[row % 8])) & mask;
  }
  return middle;
}

void CodedWeight::read_groups(int64_t row, CodeGroup* out) const {
  const bool one = scales->shape.rank == 0 || scales->shape.elems() == 1;
  for (int64_t g = 0; g < n_groups; ++g) {
    const int64_t index = one ? 0 : scales_by_group ? g * rows + row : row * n_groups + g;
    out[g] = {scale_at(*scales, index), zero_at(row, g)};
    require(std::isfinite(out[g].scale), ErrorKind::format, "{}: expected finite scales, found {} for row {}, group {}",
            scales->place(), out[g].scale, row, g);
    require(out[g].zero >= 0 && out[g].zero < 1 << bits, ErrorKind::format,
            "{}: expected zeros of {} bits, found {} for row {}, group {}", zeros ? zeros->place() : "", bits,
            out[g].zero - (1 << (bits - 1)), row, g);
  }
}

void CodedWeight::read(int64_t first, int64_t n, float* out) const {
  std::vector<uint8_t> all_codes(size_t(n * cols));
  std::vector<CodeGroup> groups(size_t(n_groups), CodeGroup{});
  read_codes(first, n, all_codes.data());
  for (int64_t r = 0; r < n; ++r) {
    read_groups(first + r, groups.data());
    const uint8_t* const q = all_codes.data() + r * cols;
    float* const row = out + r * cols;
    if (group_index) {
      for (int64_t c = 0; c < cols; ++c) {
        const CodeGroup& group = groups[word_at(*group_index, c)];
        row[c] = float(q[c] - group.zero) * group.scale;
      }
      continue;
    }
    for (int64_t g = 0; g < n_groups; ++g) {
      const auto [scale, zero] = groups[size_t(g)];
      const int64_t end = std::min(cols, (g + 1) * group_size);
      for (int64_t c = g * group_size; c < end; ++c) row[c] = float(q[c] - zero) * scale;
    }
  }
}

bool CodedWeight::symmetric() const {
  if (zero_layout == ZeroLayout::none) return true;
  const uint32_t middle = 1u << (bits - 1);
  if (zero_layout != ZeroLayout::bytes && zero_layout != ZeroLayout::packed_rows) {  // words without padding
    uint32_t word = 0;
    for (int at = 0; at < 32; at += bits) word |= (zero_layout == ZeroLayout::less_one ? middle - 1 : middle) << at;
    for (int64_t i = 0; i < zeros->shape.elems(); ++i) {
      if (word_at(*zeros, i) != word) return false;
    }
    return true;
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t g = 0; g < n_groups; ++g) {
      if (zero_at(row, g) != int(middle)) return false;
    }
  }
  return true;
}

}  // namespace hearth
