// Rows of a checkpoint's tensors -> rows of the file: read, dequantized if they are FP8, transformed, encoded.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "convert/row_maker.h"
#include "convert/name_map.h"
#include "quant/format.h"

namespace hearth {

// Weights that the encoder of F16 replaces by the largest number of that type.
int64_t count_beyond_f16(const float* x, int64_t n);

// The rows of one output tensor.
class RowEncoder : public RowMaker {
 public:
  // `tensor` and what it refers to must outlive the encoder. `format` fits the tensor's rows.
  RowEncoder(const OutputTensor& tensor, const Format& format);

  // True: FP8 blocks keep their bytes and scales, so the file decodes to exactly the checkpoint's weights.
  bool carries_fp8() const { return carries_fp8_; }

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
  struct SourceRange {
    const SourceTensor* tensor;
    std::span<const std::byte> bytes;
  };
  SourceRow locate(int64_t row) const;  // not of transposed tensors
  template <class F>
  void for_each_source_range(int64_t first, int64_t n, F f) const;
  void encode_carried(int64_t first, int64_t n, std::byte* blocks) const;
  void read_head_transposed(int64_t head, Scratch& scratch, float* out) const;
  void carry_head_transposed(int64_t head, std::byte* blocks) const;

  const OutputTensor& tensor_;
  const Format& format_;
  int64_t head_rows_ = 0;  // rows of a head in kv_b, dn + dv; 0 if the source is not kv_b
  int64_t unit_ = 1;
  bool carries_fp8_ = false;
  mutable std::atomic<int64_t> clamped_ = 0;
};

}  // namespace hearth
