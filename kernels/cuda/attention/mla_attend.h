// Absorbed MLA over the latent cache (DeepSeek-V2 2.1.2, App. C), for decoding and for short slices of a prompt.
#pragma once

#include "kernels/cuda/attention/mla_pieces.h"
#include "kernels/ops.h"

namespace hearth::gpu {

// q_c [T,H,r], q_rope [T,H,dr] -> o_c [T,H,r]; token t is at ids[0] + t and sees the rows of the cache up to there.
// r + dr <= 576. A bf16 cache with r and dr multiples of 16 and r <= 512 takes the tensor cores, which round queries
// and softmax weights to bf16; any other, plain floats. The last bits depend on `positions.bound` and on the GPU, by
// the number of pieces that the cache is cut into.
void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                const Positions& positions, float scale, Heads<float> o_c);

// The same, but where at most most_pieces are to be merged they are left as they are, at the beginning of the scratch
// memory, for somebody else to merge. Returns them; without any (n == 0) o_c is complete.
MlaPieces mla_attend_pieces(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                            const LatentCache& cache, const Positions& positions, float scale, Heads<float> o_c,
                            int64_t most_pieces);

inline constexpr int64_t kMaxLatentWidth = 576;  // r + dr
size_t mla_attend_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
