// Rows of a GGUF file's tensors as those of a checkpoint's weights.
#pragma once

#include "convert/export/weight_rows.h"
#include "quant/gguf.h"

namespace hearth {

// Neighbouring rows of a tensor: a whole matrix, one expert's, or half of it.
class GgufRows : public WeightRows {
 public:
  // Both must outlive it. The format is one that is computed.
  GgufRows(const GgufFile& file, const Tensor& tensor, int64_t first_row, int64_t n_rows)
      : file_(file), tensor_(tensor), part_(file.part_of(tensor.data)), first_row_(first_row), n_rows_(n_rows) {}

  const Format& format() const override { return *tensor_.format; }
  std::span<const std::byte> blocks(int64_t first, int64_t n, ExportScratch& scratch) const override;
  void read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const override;
  void will_need(int64_t first, int64_t n) const override;
  void dont_need(int64_t first, int64_t n) const override;
  void release() const override;

 private:
  std::span<const std::byte> bytes(int64_t first, int64_t n) const;
  [[noreturn]] void refuse_row(int64_t row, const float* values) const;

  const GgufFile& file_;
  const Tensor& tensor_;
  const MappedFile* part_;  // null: the file is in memory
  int64_t first_row_, n_rows_;
};

// kv_b_proj [H (dn + dv), r], whose halves lie in attn_k_b [H, r, dn], transposed, and attn_v_b [H, dv, r]: what
// Transform::k_part and v_part have parted (convert/name_map.h).
class JoinedKvRows : public WeightRows {
 public:
  JoinedKvRows(const GgufFile& file, const Tensor& k_b, const Tensor& v_b, int64_t n_heads);

  // Of k_b. F8_E4M3: blocks are to be had where 128 neighbours down a column of k_b share a scale, as all do that
  // were taken from a checkpoint whose heads begin at multiples of 128 rows.
  const Format& format() const override { return *k_b_.format; }
  int64_t unit() const override { return dn_ + dv_; }
  std::span<const std::byte> blocks(int64_t first, int64_t n, ExportScratch& scratch) const override;
  void read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const override;
  void will_need(int64_t first, int64_t n) const override;
  void dont_need(int64_t first, int64_t n) const override;
  void release() const override;

 private:
  template <class K, class V>
  void for_each_run(int64_t first, int64_t n, K keys, V values) const;
  bool fp8_keys(int64_t head, int64_t first, int64_t n, std::byte* out) const;
  void read_keys(int64_t head, int64_t first, int64_t n, ExportScratch& scratch, float* out) const;

  const Tensor& k_b_;
  GgufRows k_rows_, v_rows_;
  int64_t dn_, dv_, r_;
};

}  // namespace hearth
