// Integer weights of a checkpoint as GPTQ, AWQ and compressed-tensors store them: codes packed into words, a scale and
// a zero for each group of a row's weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "convert/safetensors.h"

namespace hearth {

// How codes lie in a tensor. Words are little-endian, of 32 bits; "lowest first" begins with a word's lowest bits.
enum class CodeLayout {
  bytes,        // I8 [rows, cols]: code - 128
  along_rows,   // I32 [rows, ceil(cols * bits / 32)]: neighbours of a row share a word, lowest first
                // (compressed-tensors)
  along_cols,   // I32 [cols * bits / 32, rows]: neighbours of a column share a word, lowest first (GPTQ)
  across_rows,  // I32 [cols, rows / 8]: eight rows share a word, its nibbles are rows 0 2 4 6 1 3 5 7 (AutoAWQ's gemm)
};

// How zeros lie in theirs.
enum class ZeroLayout {
  none,           // each is 2^(bits - 1)
  bytes,          // I8 [rows, groups]: zero - 2^(bits - 1)
  packed_rows,    // I32 [ceil(rows * bits / 32), groups]: lowest first (compressed-tensors)
  less_one,       // I32 [groups, rows * bits / 32]: zero - 1, lowest first (GPTQ)
  plain,          // the same, with the zero itself (GPTQ's second version)
  across_groups,  // I32 [groups, rows / 8], in AutoAWQ's order
};

struct CodeGroup {
  float scale = 0;
  int zero = 0;
};

// A weight [rows, cols]: w = (code - zero) * scale, codes 0 .. 2^bits - 1. The product is exact in F32 for scales of 16
// bits; libraries that compute in the scale's own type round it to that.
struct CodedWeight {
  const SourceTensor* codes = nullptr;
  const SourceTensor* scales = nullptr;  // [rows, groups], [groups, rows] where scales_by_group, or one value
  const SourceTensor* zeros = nullptr;   // null: ZeroLayout::none
  CodeLayout layout = CodeLayout::along_rows;
  ZeroLayout zero_layout = ZeroLayout::none;
  bool scales_by_group = false;
  int bits = 4;
  int64_t rows = 0, cols = 0, n_groups = 1;
  int64_t group_size = 0;                     // columns of a group; the last may have fewer
  const SourceTensor* group_index = nullptr;  // I32 [cols], where a group's columns are no neighbours; else null

  // Rows first .. first + n as they are stored -> out [n, cols].
  void read_codes(int64_t first, int64_t n, uint8_t* out) const;
  // Scale and zero of each group of a row -> out [n_groups]. Throws Error(format) for a scale that is not finite and a
  // zero that is no code.
  void read_groups(int64_t row, CodeGroup* out) const;
  // Rows first .. first + n -> out [n, cols]. Throws as read_groups does.
  void read(int64_t first, int64_t n, float* out) const;

  // Every zero is the middle of the range. Reads all zeros.
  bool symmetric() const;
  // A row's codes lie together, so that rows can be asked for, and dropped, one by one.
  bool rows_lie_together() const { return layout == CodeLayout::bytes || layout == CodeLayout::along_rows; }

 private:
  int zero_at(int64_t row, int64_t group) const;
};

}  // namespace hearth
