// Naive (expanded) MLA over the latent cache (DeepSeek-V2 2.1.2), for many tokens of a prompt.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// Widths that mha_attend takes, all even.
inline constexpr int64_t kMaxKeyWidth = 192, kMaxValueWidth = 128;  // qk_nope + qk_rope (each rounded up to 16), v

// q_nope [T,H,nope], q_rope [T,H,dr], k_b [H,r,nope] (stored transposed), v_b [H,v,r] -> o [T,H,v]; token t is at
// ids[0] + t and sees the rows of the cache up to there. On tensor cores: queries, expanded keys and values, and
// softmax weights are rounded to bf16, whatever the cache's format. The last bits depend on the number of tokens, by
// the blocks that share them.
void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, const Positions& positions, float scale, Heads<float> o);
size_t mha_attend_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
