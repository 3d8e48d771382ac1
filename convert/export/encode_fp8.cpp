#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "convert/export/weight_encoder.h"
#include "quant/blocks.h"
#include "quant/fp.h"

namespace hearth {
namespace {

constexpr int64_t kScaled = 128;  // rows and columns that share a scale

int64_t scales_of(int64_t n) {
  return (n + kScaled - 1) / kScaled;
}

// The codes of one block [rows, cols] in a matrix of `stride` columns.
struct CodeBlock {
  uint8_t* codes;
  int64_t rows, cols, stride;
};

// float_to_e4m3 (quant/fp.h) for numbers up to 463, without branches, so that the loops below vectorize.
uint32_t nearest_e4m3(float x) {
  const uint32_t bits = float_bits(x), magnitude = bits & 0x7fffffff;
  const uint32_t normal = (magnitude + 0x7ffff + (magnitude >> 20 & 1) - (uint32_t(127 - 7) << 23)) >> 20;
  const uint32_t small = float_bits(float_from_bits(magnitude) + 0x1p14f) - float_bits(0x1p14f);
  const uint32_t is_small = -uint32_t(int32_t(magnitude) < int32_t(float_bits(0x1p-6f)));
  return (bits >> 24 & 0x80) | (small & is_small) | (normal & ~is_small);
}

// Bits of positive floats are in the order of the numbers, and maxima of integers may be taken in any order.
float largest_magnitude(const float* x, int64_t rows, int64_t cols, int64_t stride) {
  int32_t largest = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) largest = std::max(largest, int32_t(float_bits(x[r * stride + c]) & 0x7fffffff));
  }
  return float_from_bits(uint32_t(largest));
}

// x [rows, cols], `stride` values a row -> codes; returns their scale: the largest weight becomes 448, FP8's largest,
// as in DeepSeek's own quantization (V3 technical report, 3.3.2).
float encode_block(const float* x, const CodeBlock& to) {
  const float largest = largest_magnitude(x, to.rows, to.cols, to.stride);
  const float scale = largest > 0 ? std::max(largest / 448, std::numeric_limits<float>::min()) : 1;
  for (int64_t r = 0; r < to.rows; ++r) {
    const float* const from = x + r * to.stride;
    uint8_t* const codes = to.codes + r * to.stride;
    uint32_t row[kScaled];  // codes of 32 bits vectorize, and stores of bytes might be to `from`
    for (int64_t c = 0; c < to.cols; ++c) row[c] = nearest_e4m3(from[c] / scale);
    for (int64_t c = 0; c < to.cols; ++c) codes[c] = uint8_t(row[c]);
  }
  return scale;
}

void measure_block(const float* x, const CodeBlock& block, float scale, SquareSums& sums) {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table;
    for (int i = 0; i < 256; ++i) table[size_t(i)] = e4m3_to_float(uint8_t(i));
    return table;
  }();
  float is[kScaled];
  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t c = 0; c < block.cols; ++c) is[c] = values[block.codes[r * block.stride + c]] * scale;
    sums.add(x + r * block.stride, is, block.cols);
  }
}

// Eight codes at a time: E4M3's NaN is s1111111, the only seven bits that a one more carries out of.
bool has_nan(std::span<const std::byte> codes) {
  uint64_t found = 0;
  size_t i = 0;
  for (; i + 8 <= codes.size(); i += 8) {
    uint64_t eight;
    std::memcpy(&eight, codes.data() + i, sizeof eight);
    found |= (eight & 0x7f7f7f7f7f7f7f7f) + 0x0101010101010101;
  }
  for (; i < codes.size(); ++i) found |= (uint64_t(codes[i]) & 0x7f) + 1;
  return found & 0x8080808080808080;
}

bool scales_are_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

class Fp8Encoder : public WeightEncoder {
 public:
  std::vector<NewTensor> tensors(const ExportWeight& weight) const override {
    const Shape scales(scales_of(weight.shape.dim[0]), scales_of(weight.shape.dim[1]));
    return {{weight.name, "F8_E4M3", weight.shape}, {weight.name + "_scale_inv", "F32", scales}};
  }
  bool holds(const Format& format) const override { return format.id == FormatId::f8_e4m3; }
  int64_t unit() const override { return kScaled; }

  void encode(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, ExportLoss& loss,
              std::vector<EncodedPiece>& pieces) const override {
    const int64_t cols = weight.shape.cols(), per_row = scales_of(cols);
    scratch.scales.resize(size_t(scales_of(n) * per_row) * sizeof(float));
    auto* scales = reinterpret_cast<float*>(scratch.scales.data());
    std::span<const std::byte> codes = weight.rows->fp8(first, n, scales);
    if (codes.empty()) codes = encode_units(weight, first, n, scratch, loss, scales);
    if (has_nan(codes) || !scales_are_finite({scales, scratch.scales.size() / sizeof(float)})) {
      scratch.rows.resize(size_t(n * cols));
      weight.rows->read(first, n, scratch, scratch.rows.data());  // says where
    }
    pieces.push_back({0, uint64_t(first * cols), codes});
    pieces.push_back({1, uint64_t(first / kScaled * per_row) * sizeof(float), scratch.scales});
  }

 private:
  // 128 rows at a time.
  std::span<const std::byte> encode_units(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch,
                                          ExportLoss& loss, float* scales) const {
    const int64_t cols = weight.shape.cols();
    scratch.weights.resize(size_t(n * cols));
    auto* codes = reinterpret_cast<uint8_t*>(scratch.weights.data());
    SquareSums sums;
    for (int64_t row = 0; row < n; row += kScaled, codes += kScaled * cols, scales += scales_of(cols)) {
      const int64_t count = std::min(kScaled, n - row);
      if (!take_over(weight, first + row, count, scratch, codes, scales))
        encode_anew(weight, first + row, count, scratch, codes, scales, sums);
    }
    loss.add(weight.rows->format(), sums);
    return scratch.weights;
  }

  // Codes and scales of blocks; false: where a scale is to be one, there are several, or the source is not FP8.
  bool take_over(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, uint8_t* codes,
                 float* scales) const {
    if (!holds(weight.rows->format())) return false;
    const auto bytes = weight.rows->blocks(first, n, scratch);
    if (bytes.empty()) return false;
    const auto* block = reinterpret_cast<const BlockF8_E4M3*>(bytes.data());
    const int64_t per_row = weight.shape.cols() / kScaled;
    for (int64_t c = 0; c < per_row; ++c) scales[c] = block[c].d;
    uint32_t different = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = 0; c < per_row; ++c, ++block, codes += kScaled) {
        std::memcpy(codes, block->qs, kScaled);
        different |= float_bits(block->d) ^ float_bits(scales[c]);
      }
    }
    return different == 0;
  }

  void encode_anew(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, uint8_t* codes,
                   float* scales, SquareSums& sums) const {
    const int64_t cols = weight.shape.cols();
    scratch.rows.resize(size_t(n * cols));
    weight.rows->read(first, n, scratch, scratch.rows.data());
    for (int64_t c = 0; c < cols; c += kScaled) {
      const CodeBlock block{codes + c, n, std::min(kScaled, cols - c), cols};
      const float* x = scratch.rows.data() + c;
      scales[c / kScaled] = encode_block(x, block);
      measure_block(x, block, scales[c / kScaled], sums);
    }
  }
};

}  // namespace

const WeightEncoder& fp8_encoder() {
  static const Fp8Encoder encoder;
  return encoder;
}

}  // namespace hearth
