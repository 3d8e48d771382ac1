#include "convert/export/encode_anew.h"
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
    const uint64_t offset = uint64_t(first) * format_.bytes(weight.shape.cols());
    std::span<const std::byte> blocks;
    if (holds(weight.rows->format())) blocks = weight.rows->blocks(first, n, scratch);
    if (blocks.empty()) {
      encode_anew(weight, format_, first, n, scratch, scratch.weights, loss);
      blocks = scratch.weights;
    }
    pieces.push_back({0, offset, blocks});
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
