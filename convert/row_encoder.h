// Rows of a checkpoint's tensors -> rows of the file: read, dequantized if they are quantized, transformed, encoded; or
// carried over as they are, where the format holds what the checkpoint has.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "convert/carry.h"
#include "convert/importance.h"
#include "convert/name_map.h"
#include "convert/row_maker.h"
#include "quant/format.h"

namespace hearth {

// Weights that the encoder of F16 replaces by the largest number of that type.
int64_t count_beyond_f16(const float* x, int64_t n);

// The rows of one output tensor.
class RowEncoder : public RowMaker {
 public:
  // `tensor`, what it refers to, and `loss` must outlive the encoder. `format` fits the tensor's rows.
  RowEncoder(const OutputTensor& tensor, const Format& format, CarryLoss& loss, ColumnWeights importance = {});

  int64_t unit() const override { return unit_; }  // the heads of a transposed tensor stay whole
  void encode(int64_t first, int64_t n, Scratch& scratch, std::byte* blocks) const override;
  int64_t n_clamped() const override { return clamped_; }
  uint64_t source_bytes(int64_t first, int64_t n) const override;
  void will_need(int64_t first, int64_t n) const override;
  void dont_need(int64_t first, int64_t n) const override;
  void release() const override;

 private:
  struct SourceRow {
    const WeightSource* source;
    int64_t row;
  };
  SourceRow locate(int64_t row) const;  // not of transposed tensors
  template <class F>
  void for_each_run(int64_t first, int64_t n, F f) const;
  void encode_head(int64_t head, Scratch& scratch, std::byte* blocks) const;
  // `to`: the tensor's row that the first one becomes.
  void encode_run(const WeightSource& source, int64_t first, int64_t n, int64_t to, Scratch& scratch,
                  std::byte* blocks) const;
  void encode_rows(const float* rows, int64_t n, int64_t to, std::byte* blocks) const;

  const OutputTensor& tensor_;
  const Format& format_;
  CarryLoss& loss_;
  const ColumnWeights importance_;
  int64_t head_rows_ = 0;  // rows of a head in kv_b, dn + dv; 0 if the source is not kv_b
  int64_t unit_ = 1;
  bool carries_ = false;
  mutable std::atomic<int64_t> clamped_ = 0;
};

}  // namespace hearth
