// Absorbed MLA for any instruction set: every head attends over the same latent rows, which are keys and (their first r
// columns) values. A kernel does the unit of work, up to 16 heads of one token over a piece of the cache; this cuts the
// call into units and merges what they give.
//
// Pieces are a function of the token's position alone, and are merged in their order; so the result depends neither on
// threads nor on the other tokens.
#pragma once

#include "kernels/ops.h"

namespace hearth::latent {

constexpr int64_t kHeads = 16;  // of a unit of work, at most

struct Unit {
  const float* q;  // [n_heads][r + dr], times the softmax scale
  int64_t n_heads;
  const LatentCache* cache;
  int64_t first, n;  // positions, n >= 1
  // Sum over positions of e^(score - largest) * value [n_heads][r], the largest score and the sum of the weights.
  float *o, *largest, *total;
  std::byte* work;  // of this thread, as many bytes as the kernel asked for, aligned to 64
};
using Kernel = void (*)(const Unit& unit);

void mla_attend(Kernel kernel, size_t work_bytes, const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                const LatentCache& cache, int64_t pos0, float scale, Heads<float> o_c);
size_t scratch_bytes(const ScratchLimits& limits, size_t work_bytes);

}  // namespace hearth::latent
