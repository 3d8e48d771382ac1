// Rows of a checkpoint's weights as they are, or as the block of a format that holds their codes.
#pragma once

#include "convert/carry.h"
#include "convert/export/weight_rows.h"
#include "convert/row_encoder.h"

namespace hearth {

class CheckpointRows : public WeightRows {
 public:
  // What `source` refers to, and `loss`, must outlive it. `role`: of the tensor it belongs to.
  CheckpointRows(const WeightSource& source, const Shape& shape, Role role, CarryLoss& loss);

  // Codes: of a format that carries them (convert/carry.h), else F32. Floats: their own type.
  const Format& format() const override { return format_; }
  std::span<const std::byte> blocks(int64_t first, int64_t n, ExportScratch& scratch) const override;
  std::span<const std::byte> fp8(int64_t first, int64_t n, float* scales) const override;
  void read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const override;
  void will_need(int64_t first, int64_t n) const override { encoder_.will_need(first, n); }
  void dont_need(int64_t first, int64_t n) const override { encoder_.dont_need(first, n); }
  void release() const override { encoder_.release(); }

 private:
  const OutputTensor tensor_;  // this weight as if it were one of a file
  const Format& format_;
  const RowEncoder encoder_;
};

}  // namespace hearth
