// A token's attention in few launches (Ops::OneToken): what is cheap is done in the products before and behind it.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// In DeepSeek-V2-Lite one launch: every block of the products with W^Q and W^DKV normalises the residual for itself,
// those of W^Q rotate q, and the last one of W^DKV stores the latent. Where the residual is too wide for that, or is
// partly in the host's memory, the norm is one more; where q has a latent, W^UQ, whose blocks normalise that.
Residual project_one(const Exec& exec, const AttentionWeights& w, float eps, const Residual& residual,
                     const RopeTable& table, const LatentCache& cache, const Positions& at, Mat<float> h,
                     Mat<float> q_a, Mat<float> kv_a, Mat<float> q);

// Four launches: W^UK; attention; W^UV, whose blocks merge the pieces of attention and prepare what they give; W^O. One
// more where the pieces are too many to be merged so.
void attend_one(const Exec& exec, const AttentionWeights& w, Mat<const float> q, const LatentCache& cache,
                const Positions& at, float scale, Heads<float> q_c, Heads<float> o_c, Mat<float> o, Mat<float> y);
size_t attend_one_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
