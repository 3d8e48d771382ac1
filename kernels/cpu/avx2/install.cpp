#include "kernels/cpu/avx2/install.h"

#include "kernels/cpu/avx2/ops.h"

namespace hearth {
namespace {

size_t scratch_bytes(const ScratchLimits& limits) {
  size_t largest = 0;
  for (const auto& need : {avx2::route_scratch, avx2::ffn_scratch, avx2::mla_scratch, avx2::mha_scratch}) {
    const size_t bytes = need(limits);
    if (bytes > largest) largest = bytes;
  }
  return largest;
}

}  // namespace

void install_avx2(Ops& ops) {
  ops.name = "avx2";
  ops.scratch_bytes = scratch_bytes;
  ops.rms_norm = avx2::rms_norm;
  ops.matmul = avx2::matmul;
  ops.matmul_heads = avx2::matmul_heads;
  ops.mla_attend = avx2::mla_attend;
  ops.mha_attend = avx2::mha_attend;
  ops.ffn = avx2::ffn;
  ops.route = avx2::route;
  ops.moe_ffn = avx2::moe_ffn;
}

}  // namespace hearth
