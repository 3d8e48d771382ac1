// The router on the GPU (docs/model.md section 4): all three published rules.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// What route() can choose among and from; a model beyond it is refused while loading.
inline constexpr int kMaxExperts = 512, kMaxActivated = 32;

// x [T,d], gate_inp [E,d] in any format, bias [E] or null -> ids [T,K], weights [T,K], by falling selection score; of
// equal scores the lower index first. Products and scores in float32. Whatever the scores are, NaN included, ids are K
// different experts that exist.
//
// One launch for at most kFusedTokens tokens, two for more, and one more where gate_inp is not F32.
void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights);

// The residual's sum, its norm h [1,d], also rounded (norm_one), and route of that, for one token:
// Ops::OneToken::route. One launch, and one more where gate_inp is not F32.
void norm_route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias,
                const Residual& residual, const float* norm, float eps, Mat<float> h, std::byte* rounded, int32_t* ids,
                float* weights);

inline constexpr int kFusedTokens = 64;

// Bytes: the logits of max_tokens tokens, and gate_inp as floats.
size_t route_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
