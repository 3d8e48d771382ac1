// A tensor as it lies in a file or in memory: name, format, shape, bytes. Owns nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "quant/format.h"

namespace hearth {

// Row-major: the last axis is contiguous, so a matrix is [rows, cols] and stacked experts [E, rows, cols].
// (GGUF lists dimensions the other way round; the reader and writer turn them.)
struct Shape {
  int rank = 0;
  std::array<int64_t, 4> dim{1, 1, 1, 1};

  Shape() = default;
  template <class... D>
  explicit Shape(int64_t first, D... rest) : rank(1 + sizeof...(rest)), dim{first, int64_t(rest)...} {
    for (int i = rank; i < 4; ++i) dim[i] = 1;
  }
  int64_t cols() const { return rank == 0 ? 0 : dim[rank - 1]; }  // the contiguous axis
  int64_t elems() const { return rank == 0 ? 0 : dim[0] * dim[1] * dim[2] * dim[3]; }
  int64_t rows() const { return cols() == 0 ? 0 : elems() / cols(); }  // all other axes together
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "[16, 512, 128]"
};

// A view of rows x cols values, `stride` values from row to row.
template <class T>
struct Mat {
  T* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;

  Mat() = default;
  Mat(T* data, int64_t rows, int64_t cols) : data(data), rows(rows), cols(cols), stride(cols) {}
  Mat(T* data, int64_t rows, int64_t cols, int64_t stride) : data(data), rows(rows), cols(cols), stride(stride) {}
  T* row(int64_t i) const { return data + i * stride; }
  Mat slice(int64_t first_row, int64_t n_rows) const { return {row(first_row), n_rows, cols, stride}; }
  Mat columns(int64_t first, int64_t n) const { return {data + first, rows, n, stride}; }
  operator Mat<const T>() const { return {data, rows, cols, stride}; }
};

struct Tensor {
  std::string name;
  const Format* format = nullptr;
  Shape shape;
  const std::byte* data = nullptr;
  size_t extent = 0;  // of a format that is not sized: bytes up to the next tensor; else 0

  size_t row_bytes() const { return format->sized() ? format->bytes(shape.cols()) : extent / size_t(shape.rows()); }
  size_t bytes() const { return format->sized() ? row_bytes() * size_t(shape.rows()) : extent; }
};

// "40 IQ2_XXS, 2 IQ3_S": how many tensors are in which format, the most frequent first.
std::string format_counts(std::span<const Tensor* const> tensors);

}  // namespace hearth
