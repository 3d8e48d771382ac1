#include "kernels/cpu/avx2/install.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/matmul.h"

namespace hearth {
namespace avx2 {
const Engine& engine() {
  static const Engine engine = {
      {kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks}, quantize, nullptr, silu_product};
  return engine;
}

}  // namespace avx2

void install_avx2(Ops& ops) {
  ops.name = "avx2";
  ops.rms_norm = avx2::rms_norm;
  ops.add_rms_norm = avx2::add_rms_norm;
  product::install<avx2::engine>(ops);
  attention::install<avx2::engine, avx2::kAttention>(ops);
  ops.route = avx2::route;
  ops.scratch.route = avx2::route_scratch;
}

}  // namespace hearth
