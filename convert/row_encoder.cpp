#include "convert/row_encoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "convert/source_rows.h"

namespace hearth {

namespace {

// The source's bytes that rows first .. first + n take, counted so that all rows together take all.
uint64_t share_of(const WeightSource& source, int64_t first, int64_t n) {
  const uint64_t bytes = source.weight->bytes.size(), rows = uint64_t(source.rows());
  return bytes * uint64_t(first + n) / rows - bytes * uint64_t(first) / rows;
}

bool rows_lie_together(const WeightSource& source) {
  return !source.coded || source.coded->rows_lie_together();
}

}  // namespace

int64_t count_beyond_f16(const float* x, int64_t n) {
  constexpr float kRoundsToInfinity = 65520;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += std::abs(x[i]) >= kRoundsToInfinity;
  return count;
}

RowEncoder::RowEncoder(const OutputTensor& tensor, const Format& format, CarryLoss& loss, ColumnWeights importance)
    : tensor_(tensor),
      format_(format),
      loss_(loss),
      importance_(std::move(importance)),
      carries_(carries(tensor, format)) {
  const Transform transform = tensor.transform;
  if (transform == Transform::k_part) unit_ = tensor.shape.dim[1];
  if (transform == Transform::k_part || transform == Transform::v_part) {
    head_rows_ = tensor.sources.front().rows() / tensor.shape.dim[0];
  }
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

// Calls f(source, first row, rows) with each run of neighbouring source rows, in the order of the file.
template <class F>
void RowEncoder::for_each_run(int64_t first, int64_t n, F f) const {
  if (tensor_.transform == Transform::k_part) {
    for (int64_t head = first / unit_; head < (first + n) / unit_; ++head) {
      f(tensor_.sources[0], head * head_rows_, tensor_.shape.dim[2]);
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
    f(*begin.source, begin.row, count);
    row += count;
  }
}

uint64_t RowEncoder::source_bytes(int64_t first, int64_t n) const {
  uint64_t total = 0;
  for_each_run(first, n,
               [&](const WeightSource& source, int64_t row, int64_t count) { total += share_of(source, row, count); });
  return total;
}

// Where each row lies all over the tensor, all is asked for with the first row and dropped with the last.
void RowEncoder::will_need(int64_t first, int64_t n) const {
  for_each_run(first, n, [](const WeightSource& source, int64_t row, int64_t count) {
    const SourceTensor& weight = *source.weight;
    if (!weight.file) return;
    if (rows_lie_together(source)) {
      weight.file->will_need(row_bytes(weight, row, count));
    } else if (row == 0) {
      weight.file->will_need(weight.bytes);
    }
  });
}

void RowEncoder::dont_need(int64_t first, int64_t n) const {
  for_each_run(first, n, [](const WeightSource& source, int64_t row, int64_t count) {
    const SourceTensor& weight = *source.weight;
    if (!weight.file) return;
    if (rows_lie_together(source)) {
      weight.file->dont_need(row_bytes(weight, row, count));
    } else if (row + count == source.rows()) {
      weight.file->dont_need(weight.bytes);
    }
  });
}

void RowEncoder::release() const {
  for_each_run(0, tensor_.shape.rows(), [](const WeightSource& source, int64_t row, int64_t count) {
    const SourceTensor& weight = *source.weight;
    if (weight.file) weight.file->release(rows_lie_together(source) ? row_bytes(weight, row, count) : weight.bytes);
  });
}

void RowEncoder::encode(int64_t first, int64_t n, Scratch& scratch, std::byte* blocks) const {
  assert(first % unit_ == 0 && n % unit_ == 0);
  const size_t row_size = format_.bytes(tensor_.shape.cols());
  if (tensor_.transform == Transform::k_part) {
    for (int64_t i = 0; i < n; i += unit_) encode_head((first + i) / unit_, scratch, blocks + size_t(i) * row_size);
    return;
  }
  for_each_run(first, n, [&](const WeightSource& source, int64_t row, int64_t count) {
    encode_run(source, row, count, first, scratch, blocks);
    first += count;
    blocks += size_t(count) * row_size;
  });
}

// The key rows of a head [dn, r] -> rows of the file [r, dn].
void RowEncoder::encode_head(int64_t head, Scratch& scratch, std::byte* blocks) const {
  const int64_t r = tensor_.shape.dim[1], dn = tensor_.shape.dim[2];
  const WeightSource& source = tensor_.sources[0];
  if (carries_) return carry_transposed(source, head * head_rows_, dn, blocks);
  scratch.source.resize(size_t(dn * r));
  scratch.rows.resize(size_t(dn * r));
  read_rows(source, head * head_rows_, dn, scratch.aligned, scratch.source.data());
  for (int64_t i = 0; i < dn; ++i) {
    for (int64_t c = 0; c < r; ++c) scratch.rows[size_t(c * dn + i)] = scratch.source[size_t(i * r + c)];
  }
  encode_rows(scratch.rows.data(), r, head * r, blocks);
}

void RowEncoder::encode_run(const WeightSource& source, int64_t first, int64_t n, int64_t to, Scratch& scratch,
                            std::byte* blocks) const {
  if (carries_) return carry_rows(source, first, n, format_, loss_, blocks);
  const int64_t step = source.coded ? n : 1;  // packed rows are read together, as they lie; others stay in the cache
  scratch.rows.resize(size_t(step * source.cols()));
  for (int64_t i = 0; i < n; i += step, blocks += size_t(step) * format_.bytes(source.cols())) {
    read_rows(source, first + i, step, scratch.aligned, scratch.rows.data());
    encode_rows(scratch.rows.data(), step, to + i, blocks);
  }
}

// Row by row, so that the bytes do not depend on how the work was cut into pieces.
void RowEncoder::encode_rows(const float* rows, int64_t n, int64_t to, std::byte* blocks) const {
  const int64_t cols = tensor_.shape.cols();
  if (format_.id == FormatId::f16) clamped_ += count_beyond_f16(rows, n * cols);
  for (int64_t i = 0; i < n; ++i)
    format_.encode(rows + i * cols, importance_.of_row(to + i), blocks + size_t(i) * format_.bytes(cols), cols);
}

}  // namespace hearth
