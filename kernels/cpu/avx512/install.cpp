#include "kernels/cpu/avx512/install.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/matmul.h"

namespace hearth::HEARTH_AVX512 {
const Engine& engine() {
  static const Engine engine = {
      {kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks}, quantize, nullptr, silu_product};
  return engine;
}

void install(Ops& ops) {
  product::install<engine>(ops);
  attention::install<engine, kAttention>(ops);
}

}  // namespace hearth::HEARTH_AVX512
