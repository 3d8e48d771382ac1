// The operations that the AVX2 table overwrites beside the products (kernels.h); kernels/ops.h says what they compute.
// The others are scalar's, which the compiler vectorises well enough for what they cost.
#pragma once

#include "kernels/cpu/latent.h"
#include "kernels/ops.h"

namespace hearth::avx2 {

void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y);
void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                int64_t pos0, float scale, Heads<float> o_c);
void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, int64_t pos0, float scale, Heads<float> o);
void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights);

size_t route_scratch(const ScratchLimits& limits);
size_t mla_scratch(const ScratchLimits& limits);

// The kernel of mla_attend, for any widths and both formats of the cache, and the memory it works in.
void attend_latents(const latent::Unit& unit);
size_t mla_work(const ScratchLimits& limits);
size_t mha_scratch(const ScratchLimits& limits);

}  // namespace hearth::avx2
