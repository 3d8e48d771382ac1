// What the tests of the prefill kernels share: weights and rows of activations on the device, exactly as large as they
// are, the rows inside NaNs.
#pragma once

#include "kernels/cuda/matmul/tile_product.h"
#include "kernels/rounding.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/fixture.h"
#include "tests/support/device_memory.h"
#include "tests/support/schedules.h"

namespace hearth::test {

// A weight's bytes on the device.
struct TileWeight {
  DeviceArray<std::byte> bytes;
  Weight view;

  explicit TileWeight(const TestWeight& w) : bytes(w.bytes), view(w.view) { view.data = bytes.data(); }
};

// Rows of floats, or room for them, in an array of NaNs. As in Rows, start and stride are odd.
class TileRows {
 public:
  TileRows(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), floats_(values().size()) {}
  explicit TileRows(const Rows& rows) : TileRows(rows.view().rows, rows.view().cols) {
    std::vector<float> all = values();
    for (int64_t t = 0; t < rows_; ++t) std::copy_n(rows[t], cols_, all.data() + kEdge + t * stride());
    floats_.upload(all);
  }
  Mat<float> view() const { return {floats_.data() + kEdge, rows_, cols_, stride()}; }
  Heads<float> heads(int64_t H, int64_t width) const {
    return {floats_.data() + kEdge, rows_, H, width, stride(), width};
  }
  // The rows, after a check that nothing beside them was written and nothing in them left out, and that no launch
  // failed. `may_be_nan`: results may be NaN as what was left out is.
  Rows download(bool may_be_nan = false) const {
    CHECK(cudaGetLastError() == cudaSuccess);
    const std::vector<float> all = floats_.download();
    Rows rows(rows_, cols_);
    bool clean = true;
    for (size_t i = 0; i < all.size(); ++i) {
      const int64_t at = int64_t(i) - kEdge;
      const bool inside = at >= 0 && at / stride() < rows_ && at % stride() < cols_;
      if (inside) rows.view().row(at / stride())[at % stride()] = all[i];
      clean = clean && (inside ? may_be_nan || !std::isnan(all[i]) : std::isnan(all[i]));
    }
    CHECK(clean);
    return rows;
  }

 private:
  static constexpr int64_t kEdge = 17, kGap = 3;
  int64_t stride() const { return cols_ + kGap; }
  std::vector<float> values() const {
    return std::vector<float>(size_t(kEdge + rows_ * stride() + kEdge), std::numeric_limits<float>::quiet_NaN());
  }
  int64_t rows_, cols_;
  DeviceArray<float> floats_;
};

// Scratch of so many bytes, full of NaNs.
struct DeviceScratch {
  DeviceArray<std::byte> memory;
  explicit DeviceScratch(size_t bytes) : memory(bytes) {}
  Exec exec(const gpu::Queue& queue = default_queue()) const { return on_gpu(memory, queue); }
};

// Tiles of a shape, on a GPU whose bf16 products with float sums have half of the tensor cores' rate, or not.
struct TileKind {
  gpu::TileShape shape;
  bool halved = false;

  const gpu::Queue& queue() const { return queue_with(halved); }
  bool in_bytes(FormatId weights) const { return gpu::takes_bytes(weights, shape, queue()); }
};

// n activations as such tiles multiply them: rounded to bf16, and in small tiles also what that left of them; or each
// 64 to multiples of their largest magnitude / kMostLevel.
inline std::vector<float> as_multiplied(const float* x, int64_t n, FormatId weights, gpu::TileShape shape,
                                        bool in_bytes) {
  std::vector<float> out(x, x + n);
  if (weights == FormatId::f32) return out;
  if (in_bytes) {
    for (int64_t first = 0; first < n; first += gpu::TokenGroup::kValues) {
      const int64_t end = std::min(n, first + gpu::TokenGroup::kValues);
      float largest = 0;
      for (int64_t i = first; i < end; ++i) largest = std::max(largest, std::abs(out[i]));
      const float inverse = largest > 0 ? kMostLevel / largest : 0.0f, scale = largest / kMostLevel;
      for (int64_t i = first; i < end; ++i) out[i] = scale * std::nearbyint(out[i] * inverse);
    }
    return out;
  }
  for (float& v : out) v = to_bf16(v) + (gpu::keeps_16_bits(shape) ? to_bf16(v - to_bf16(v)) : 0.0f);
  return out;
}

// How they store weights.
inline Stored tile_storage(FormatId id, const TileKind& tile) {
  return id == FormatId::f32 || gpu::keeps_16_bits(tile.shape) || tile.in_bytes(id) ? Stored::exact : Stored::bf16;
}

// Each token's experts: expert 0 has none, expert 1 the last token only, expert 2 every token, the others some.
struct Assignment {
  std::vector<int32_t> ids;
  std::vector<float> weights;

  Assignment(Rng& rng, int64_t T, int64_t E, int64_t K) {
    for (int64_t t = 0; t < T; ++t) {
      std::vector<int32_t> some;
      for (int64_t e = 3; e < E; ++e) some.push_back(int32_t(e));
      std::shuffle(some.begin(), some.end(), rng);
      some.resize(K - 1);
      if (t == T - 1) some[0] = 1;
      some.push_back(2);
      std::shuffle(some.begin(), some.end(), rng);
      ids.insert(ids.end(), some.begin(), some.end());
      for (int64_t k = 0; k < K; ++k) weights.push_back(0.1f + std::abs(normal(rng)));
    }
  }
};

}  // namespace hearth::test
