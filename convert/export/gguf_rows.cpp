#include "convert/export/gguf_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/blocks.h"
#include "quant/encode.h"
#include "quant/error.h"
#include "quant/fp.h"

namespace hearth {

std::span<const std::byte> GgufRows::bytes(int64_t first, int64_t n) const {
  return {tensor_.data + size_t(first_row_ + first) * tensor_.row_bytes(), size_t(n) * tensor_.row_bytes()};
}

std::span<const std::byte> GgufRows::blocks(int64_t first, int64_t n, ExportScratch&) const {
  return bytes(first, n);
}

void GgufRows::read(int64_t first, int64_t n, ExportScratch&, float* out) const {
  const int64_t cols = tensor_.shape.cols();
  const std::byte* row = bytes(first, n).data();
  for (int64_t i = 0; i < n; ++i, row += tensor_.row_bytes(), out += cols) {
    tensor_.format->decode(row, out, cols);
    uint32_t bad = 0;  // without branches, so that it vectorizes
    for (int64_t c = 0; c < cols; ++c) bad |= uint32_t((float_bits(out[c]) & 0x7f800000) == 0x7f800000);
    if (bad) refuse_row(first + i, out);
  }
}

void GgufRows::refuse_row(int64_t row, const float* values) const {
  const float* bad = std::find_if(values, values + tensor_.shape.cols(), [](float x) { return !std::isfinite(x); });
  fail(ErrorKind::format, "{}: tensor {}: expected finite weights, found {} in row {}, column {}", file_.path(),
       tensor_.name, *bad, first_row_ + row, bad - values);
}

void GgufRows::will_need(int64_t first, int64_t n) const {
  if (part_) part_->will_need(bytes(first, n));
}
void GgufRows::dont_need(int64_t first, int64_t n) const {
  if (part_) part_->dont_need(bytes(first, n));
}
void GgufRows::release() const {
  if (part_) part_->release(bytes(0, n_rows_));
}

JoinedKvRows::JoinedKvRows(const GgufFile& file, const Tensor& k_b, const Tensor& v_b, int64_t n_heads)
    : k_b_(k_b),
      k_rows_(file, k_b, 0, k_b.shape.rows()),
      v_rows_(file, v_b, 0, v_b.shape.rows()),
      dn_(k_b.shape.cols()),
      dv_(v_b.shape.rows() / n_heads),
      r_(v_b.shape.cols()) {}

// Calls keys(head, first key row, rows) and values(first row of v_b, rows) by turns, in the order of kv_b.
template <class K, class V>
void JoinedKvRows::for_each_run(int64_t first, int64_t n, K keys, V values) const {
  const int64_t head_rows = dn_ + dv_;
  for (const int64_t end = first + n; first < end;) {
    const int64_t head = first / head_rows, within = first % head_rows;
    const bool key = within < dn_;
    const int64_t count = std::min(end - first, (key ? dn_ : head_rows) - within);
    key ? keys(head, within, count) : values(head * dv_ + within - dn_, count);
    first += count;
  }
}

// Key rows first .. first + n of a head as blocks along r; false: 128 neighbours of a row have several scales.
bool JoinedKvRows::fp8_keys(int64_t head, int64_t first, int64_t n, std::byte* out) const {
  constexpr int64_t kBlock = BlockF8_E4M3::kElems;
  const int64_t per_row = dn_ / kBlock;  // blocks of k_b
  const auto* const of_head = reinterpret_cast<const BlockF8_E4M3*>(k_b_.data) + head * r_ * per_row;
  for (int64_t i = first; i < first + n; ++i) {
    for (int64_t begin = 0; begin < r_; begin += kBlock, out += sizeof(BlockF8_E4M3)) {
      const BlockF8_E4M3* const from = of_head + begin * per_row + i / kBlock;
      uint8_t q[kBlock];
      for (int64_t c = 0; c < kBlock; ++c) {
        if (float_bits(from[c * per_row].d) != float_bits(from->d)) return false;
        q[c] = from[c * per_row].qs[i % kBlock];
      }
      const BlockF8_E4M3 block = f8_e4m3_block(q, from->d);
      std::memcpy(out, &block, sizeof block);
    }
  }
  return true;
}

std::span<const std::byte> JoinedKvRows::blocks(int64_t first, int64_t n, ExportScratch& scratch) const {
  const bool fp8 = format().id == FormatId::f8_e4m3;
  if (!fp8 || v_rows_.format().id != FormatId::f8_e4m3 || r_ % BlockF8_E4M3::kElems != 0) return {};
  const size_t row_bytes = format().bytes(r_);
  scratch.blocks.resize(size_t(n) * row_bytes);
  std::byte* out = scratch.blocks.data();
  bool whole = true;
  for_each_run(
      first, n,
      [&](int64_t head, int64_t row, int64_t count) {
        whole = whole && fp8_keys(head, row, count, out);
        out += size_t(count) * row_bytes;
      },
      [&](int64_t row, int64_t count) {
        const auto bytes = v_rows_.blocks(row, count, scratch);
        std::memcpy(out, bytes.data(), bytes.size());
        out += bytes.size();
      });
  return whole ? std::span<const std::byte>(scratch.blocks) : std::span<const std::byte>();
}

// Key rows first .. first + n of a head [dn, r]: all of its tensor's rows [r, dn] are decoded and turned.
void JoinedKvRows::read_keys(int64_t head, int64_t first, int64_t n, ExportScratch& scratch, float* out) const {
  scratch.part.resize(size_t(r_ * dn_));
  k_rows_.read(head * r_, r_, scratch, scratch.part.data());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < r_; ++c) out[i * r_ + c] = scratch.part[size_t(c * dn_ + first + i)];
  }
}

void JoinedKvRows::read(int64_t first, int64_t n, ExportScratch& scratch, float* out) const {
  for_each_run(
      first, n,
      [&](int64_t head, int64_t row, int64_t count) {
        read_keys(head, row, count, scratch, out);
        out += count * r_;
      },
      [&](int64_t row, int64_t count) {
        v_rows_.read(row, count, scratch, out);
        out += count * r_;
      });
}

void JoinedKvRows::will_need(int64_t first, int64_t n) const {
  for_each_run(
      first, n, [&](int64_t head, int64_t, int64_t) { k_rows_.will_need(head * r_, r_); },
      [&](int64_t row, int64_t count) { v_rows_.will_need(row, count); });
}
void JoinedKvRows::dont_need(int64_t first, int64_t n) const {
  for_each_run(
      first, n, [&](int64_t head, int64_t, int64_t) { k_rows_.dont_need(head * r_, r_); },
      [&](int64_t row, int64_t count) { v_rows_.dont_need(row, count); });
}
void JoinedKvRows::release() const {
  k_rows_.release();
  v_rows_.release();
}

}  // namespace hearth
