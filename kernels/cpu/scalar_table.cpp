// The scalar table itself.
#include "kernels/cpu/scalar.h"

namespace hearth {
const Ops& scalar_ops() {
  static constexpr Ops ops = {
      .name = "scalar",
      .scratch = {.matmul = scalar::matmul_scratch,
                  .mla_attend = scalar::mla_scratch,
                  .mha_attend = scalar::mha_scratch,
                  .route = scalar::route_scratch,
                  .largest = [](const ScratchLimits&) -> size_t { return 0; }},
      .refuses = [](const ScratchLimits&) { return std::string(); },
      .embed = scalar::embed,
      .rms_norm = scalar::rms_norm,
      .matmul = scalar::matmul,
      .matmul_pair = scalar::matmul_pair,
      .matmul_heads = scalar::matmul_heads,
      .rope = scalar::rope,
      .store_latent = scalar::store_latent,
      .mla_attend = scalar::mla_attend,
      .absorbed_attend = scalar::absorbed_attend,
      .mha_attend = scalar::mha_attend,
      .ffn = scalar::ffn,
      .route = scalar::route,
      .moe_ffn = scalar::moe_ffn,
      .add = scalar::add,
      .add_rms_norm = scalar::add_rms_norm,
      .largest = scalar::largest,
  };
  return ops;
}

}  // namespace hearth
