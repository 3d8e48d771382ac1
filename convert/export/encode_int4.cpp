#include <cstring>

#include "convert/export/encode_anew.h"
#include "convert/export/weight_encoder.h"
#include "quant/blocks.h"
#include "quant/fp.h"

namespace hearth {
namespace {

// From I4_G128's bytes, of which each has weights i and i + 64 in two's complement, to pairs of neighbours in excess 8.
//
//            7      4 3      0                      7         4 3       0
//   qs[i]   [ q[i+64] | q[i]  ]      ->    out[i]  [ q[2i+1]+8 | q[2i]+8 ]
void repack(const uint8_t* qs, uint8_t* out) {
  constexpr int kHalf = BlockI4_G128::kElems / 2;
  for (int i = 0; i < kHalf; i += 2) {
    const uint8_t a = qs[i], b = qs[i + 1];
    out[i / 2] = uint8_t((a & 0x0f) | b << 4) ^ 0x88;
    out[(kHalf + i) / 2] = uint8_t(a >> 4 | (b & 0xf0)) ^ 0x88;
  }
}

class Int4Encoder : public WeightEncoder {
 public:
  std::vector<NewTensor> tensors(const ExportWeight& weight) const override {
    const int64_t out = weight.shape.dim[0], in = weight.shape.dim[1];
    const std::string stem = weight.module() + ".weight";
    return {{stem + "_packed", "I32", Shape(out, in / 8)},
            {stem + "_scale", "F16", Shape(out, in / BlockI4_G128::kElems)},
            {stem + "_shape", "I64", Shape(2)}};
  }
  bool holds(const Format& format) const override { return format.id == FormatId::i4_g128; }

  void encode(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, ExportLoss& loss,
              std::vector<EncodedPiece>& pieces) const override {
    const int64_t cols = weight.shape.cols(), groups = cols / BlockI4_G128::kElems;
    std::span<const std::byte> blocks;
    if (holds(weight.rows->format())) blocks = weight.rows->blocks(first, n, scratch);
    if (blocks.empty()) {
      encode_anew(weight, format_of(FormatId::i4_g128), first, n, scratch, scratch.blocks, loss);
      blocks = scratch.blocks;
    }

    scratch.weights.resize(size_t(n * cols / 2));
    scratch.scales.resize(size_t(n * groups) * sizeof(uint16_t));
    auto* packed = reinterpret_cast<uint8_t*>(scratch.weights.data());
    int64_t rounded = 0;
    for (int64_t i = 0; i < n * groups; ++i) {
      BlockI4_G128 block;
      std::memcpy(&block, blocks.data() + size_t(i) * sizeof block, sizeof block);
      repack(block.qs, packed + i * int64_t(sizeof block.qs));
      std::memcpy(scratch.scales.data() + size_t(i) * sizeof block.d, &block.d, sizeof block.d);
      const float scale = fp16_to_float(block.d);
      rounded += bf16_to_float(float_to_bf16(scale)) != scale;
    }
    loss.add_scales(n * groups, rounded);
    pieces.push_back({0, uint64_t(first * cols / 2), scratch.weights});
    pieces.push_back({1, uint64_t(first * groups) * sizeof(uint16_t), scratch.scales});
    // Once for the weight: with its first rows.
    if (first == 0) pieces.push_back({2, 0, std::as_bytes(std::span(weight.shape.dim).first(2))});
  }
};

}  // namespace

const WeightEncoder& int4_encoder() {
  static const Int4Encoder encoder;
  return encoder;
}

}  // namespace hearth
