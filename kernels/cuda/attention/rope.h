// Rotary positions, and the storing of a token's latent in the cache (DeepSeek-V2 equations 9, 14, 15). Contracts:
// kernels/ops.h.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// x [T,H,dr] in place, positions [T].
void rope(const Exec& exec, const RopeTable& table, const int32_t* positions, Heads<float> x);

// kv_a [T, r+dr] -> rows `positions` of the cache, in its format.
void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                  const LatentCache& cache, const Positions& at);

}  // namespace hearth::gpu
