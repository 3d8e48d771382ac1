// What the largest call of a test will need: the same for every table of the CPU and for the GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops.h"

namespace hearth::test {

struct AttentionShapes {
  int64_t H, r, dr, nope = 0, v = 0;
};

inline ScratchLimits attention_limits(const AttentionShapes& s, int64_t T, int64_t n_ctx) {
  ScratchLimits l;
  l.max_tokens = T;
  l.n_heads = s.H;
  l.kv_lora_rank = s.r;
  l.qk_nope_head_dim = s.nope;
  l.qk_rope_head_dim = s.dr;
  l.v_head_dim = s.v;
  l.n_ctx = n_ctx;
  l.max_width = std::max({s.r, s.nope, s.H * s.v});
  return l;
}

// d values through n hidden ones, or through `shared` in the shared expert.
inline ScratchLimits ffn_limits(int64_t T, int64_t d, int64_t n, int64_t shared, int64_t E, int64_t K) {
  ScratchLimits l;
  l.max_tokens = T;
  l.dim = d;
  l.max_width = std::max({d, n, shared});
  l.inter_dim = l.moe_inter_dim = n;
  l.shared_inter_dim = shared;
  l.n_experts = E;
  l.n_activated = K;
  return l;
}

inline void softmax(std::vector<double>& scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& s : scores) total += s = std::exp(s - largest);
  for (double& s : scores) s /= total;
}

}  // namespace hearth::test
