#include "convert/export/weight_encoder.h"

namespace hearth {
namespace {

class FloatEncoder : public WeightEncoder {
 public:
  FloatEncoder(const char* dtype, FormatId format) : dtype_(dtype), format_(format_of(format)) {}

  std::vector<NewTensor> tensors(const ExportWeight& weight) const override {
    return {{weight.name, dtype_, weight.shape}};
  }
  bool holds(const Format& format) const override { return &format == &format_; }

  void encode(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, ExportLoss& loss,
              std::vector<EncodedPiece>& pieces) const override {
    const int64_t cols = weight.shape.cols();
    const uint64_t offset = uint64_t(first) * format_.bytes(cols);
    const WeightRows& rows = *weight.rows;
    if (holds(rows.format())) {
      const auto blocks = rows.blocks(first, n, scratch);
      if (!blocks.empty()) {
        pieces.push_back({0, offset, blocks});
        return;
      }
    }
    scratch.rows.resize(size_t(n * cols));
    rows.read(first, n, scratch, scratch.rows.data());
    scratch.weights.resize(size_t(n) * format_.bytes(cols));
    format_.encode(scratch.rows.data(), nullptr, scratch.weights.data(), n * cols);
    scratch.part.resize(size_t(n * cols));
    format_.decode(scratch.weights.data(), scratch.part.data(), n * cols);
    SquareSums sums;
    sums.add(scratch.rows.data(), scratch.part.data(), n * cols);
    loss.add(rows.format(), sums);
    pieces.push_back({0, offset, scratch.weights});
  }

 private:
  const char* dtype_;
  const Format& format_;
};

}  // namespace

const WeightEncoder& bf16_encoder() {
  static const FloatEncoder encoder("BF16", FormatId::bf16);
  return encoder;
}

const WeightEncoder& f32_encoder() {
  static const FloatEncoder encoder("F32", FormatId::f32);
  return encoder;
}

}  // namespace hearth
