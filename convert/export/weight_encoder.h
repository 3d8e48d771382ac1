// How a weight is written: as which tensors, and what is in them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "convert/export/export_loss.h"
#include "convert/export/weight_rows.h"
#include "convert/safetensors_writer.h"

namespace hearth {

// Bytes of one of a weight's tensors.
struct EncodedPiece {
  size_t tensor = 0;    // of those that WeightEncoder::tensors names
  uint64_t offset = 0;  // in it
  std::span<const std::byte> bytes;
};

class WeightEncoder {
 public:
  virtual ~WeightEncoder() = default;

  virtual std::vector<NewTensor> tensors(const ExportWeight& weight) const = 0;
  // Whether weights of this format are written as they are: of FP8, those of them whose scales are of blocks.
  virtual bool holds(const Format& format) const = 0;
  // Rows are encoded in multiples of this, but for the last.
  virtual int64_t unit() const { return 1; }
  // Rows first .. first + n -> pieces, which point into the source or into `scratch`. Whatever rows are encoded
  // together, the bytes are the same. Throws Error(format) for weights that are not finite.
  virtual void encode(const ExportWeight& weight, int64_t first, int64_t n, ExportScratch& scratch, ExportLoss& loss,
                      std::vector<EncodedPiece>& pieces) const = 0;
};

const WeightEncoder& bf16_encoder();
const WeightEncoder& f32_encoder();

// X.weight F8_E4M3 [out, in], X.weight_scale_inv F32 [out / 128, in / 128], rounded up: w = q * scale.
const WeightEncoder& fp8_encoder();

// compressed-tensors, pack-quantized: X.weight_packed I32 [out, in / 8], X.weight_scale F16 [out, in / 128],
// X.weight_shape I64 [2] = out, in. w = (nibble - 8) * scale; the lowest nibble of a word comes first. `in` is a
// multiple of 128.
const WeightEncoder& int4_encoder();

}  // namespace hearth
