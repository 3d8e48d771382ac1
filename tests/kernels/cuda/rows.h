// Matrices of floats on the device inside NaNs, as fixture.h's Rows are on the host: what is read from outside shows as
// NaN, what is written there is found.
#pragma once

#include "tests/kernels/fixture.h"
#include "tests/support/device_memory.h"

namespace hearth::test {

class DeviceRows {
 public:
  // Rows start at a multiple of 16 bytes where both `edge` and cols + gap are multiples of 4.
  DeviceRows(int64_t rows, int64_t cols, int64_t gap = 3, int64_t edge = 5)
      : rows_(rows), cols_(cols), stride_(cols + gap), edge_(edge), memory_(size_t(2 * edge + rows * stride_)) {}
  explicit DeviceRows(const Rows& from, int64_t gap = 3, int64_t edge = 5)
      : DeviceRows(from.view().rows, from.view().cols, gap, edge) {
    std::vector<float> all(memory_.size(), std::numeric_limits<float>::quiet_NaN());
    for (int64_t t = 0; t < rows_; ++t) std::copy_n(from[t], cols_, all.data() + edge_ + t * stride_);
    memory_.upload(all);
  }

  Mat<float> view() const { return {memory_.data() + edge_, rows_, cols_, stride_}; }
  Mat<const float> read_only() const { return view(); }

  // Waits for the device; everything outside must still be NaN.
  Rows download() const {
    const std::vector<float> all = memory_.download();
    Rows to(rows_, cols_);
    for (size_t i = 0; i < all.size(); ++i) {
      const int64_t at = int64_t(i) - edge_;
      const bool inside = at >= 0 && at / stride_ < rows_ && at % stride_ < cols_;
      if (inside) {
        to.view().row(at / stride_)[at % stride_] = all[i];
      } else {
        REQUIRE(std::isnan(all[i]));
      }
    }
    return to;
  }

 private:
  int64_t rows_, cols_, stride_, edge_;
  DeviceArray<float> memory_;
};

// A host weight's bytes on the device, ending where the last row ends.
class DeviceWeight {
 public:
  explicit DeviceWeight(const TestWeight& from) : memory_(from.bytes), view(from.view) { view.data = memory_; }

 private:
  DeviceArray<std::byte> memory_;

 public:
  Weight view;
};

inline const Ops& scalar_table() {
  const Ops* found = nullptr;
  for (const CpuIsa& isa : cpu_isas()) {
    if (std::string(isa.name) == "scalar") found = isa.ops;
  }
  REQUIRE(found);
  return *found;
}

}  // namespace hearth::test
