#include "kernels/cpu/avx512/install.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/matmul.h"

namespace hearth::HEARTH_AVX512 {
const Engine& engine() {
  static const Engine engine = {{kFloats, kLargeBlocks, kSmallBlocks}, quantize, nullptr, silu_product};
  return engine;
}

namespace {

size_t (*inherited_scratch)(const ScratchLimits&) = nullptr;  // of the operations that stay as they were

size_t scratch_bytes(const ScratchLimits& limits) {
  size_t largest = inherited_scratch(limits);
  for (const size_t bytes : {product::scratch_bytes(limits), attention::scratch_bytes(kAttention, limits),
                             mla::scratch_bytes(mla::float_kernel<kAttention>, limits)}) {
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
