// The operations that the AVX2 table overwrites besides products and attention (kernels.h); kernels/ops.h says what
// they compute. The rest come from the scalar table: they cost little, and the compiler vectorises them well enough.
#pragma once

#include "kernels/ops.h"

namespace hearth::avx2 {

void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y);
void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h);
void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights);

size_t route_scratch(const ScratchLimits& limits);

}  // namespace hearth::avx2
