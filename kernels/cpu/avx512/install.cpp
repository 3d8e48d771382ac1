#include "kernels/cpu/avx512/install.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/product.h"

namespace hearth::HEARTH_AVX512 {
const Engine& engine() {
  static const FormatEngine formats[] = {
      kFloats[0],      kFloats[1],      kFloats[2],      kFloats[3],      kLargeBlocks[0], kLargeBlocks[1],
      kLargeBlocks[2], kLargeBlocks[3], kLargeBlocks[4], kLargeBlocks[5], kSmallBlocks[0], kSmallBlocks[1],
      kSmallBlocks[2], kSmallBlocks[3], kSmallBlocks[4], kSmallBlocks[5], kSmallBlocks[6],
  };
  static const Engine engine = {formats, int(sizeof formats / sizeof formats[0]), quantize, nullptr, silu_product};
  return engine;
}

namespace {

size_t (*inherited_scratch)(const ScratchLimits&) = nullptr;  // of the operations that stay as they were

size_t scratch_bytes(const ScratchLimits& limits) {
  size_t largest = inherited_scratch(limits);
  for (const size_t bytes : {product::scratch_bytes(limits), attention::scratch_bytes(kAttention, limits),
                             latent::scratch_bytes(latent::float_kernel<kAttention>, limits)}) {
    if (bytes > largest) largest = bytes;
  }
  return largest;
}

}  // namespace

void install(Ops& ops) {
  inherited_scratch = ops.scratch_bytes;
  ops.scratch_bytes = scratch_bytes;
  product::install<engine>(ops);
  attention::install<engine, kAttention>(ops);
}

}  // namespace hearth::HEARTH_AVX512
