// Mixture of experts for many tokens (prefill): kernels/ops.h, moe_ffn. All pointers are device pointers.
#pragma once

#include "kernels/cuda/scratch_sizes.h"
#include "kernels/ops.h"

namespace hearth::gpu {

// y = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x); shared.gate empty: none. x [T,d], ids and weights [T,K] ->
// y [T,d]. Every id is the number of an expert, and a token's ids differ. The result has the same bits in every run.
//
// The experts' outputs wait in scratch as float32: T * K * d values, or only as many columns of y at a time as fit in
// slice_bytes (at least kSliceColumns).
size_t moe_tile_scratch(const ScratchLimits& limits, int64_t slice_bytes = kMoeSliceBytes);
void moe_tile(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
              const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y,
              int64_t slice_bytes = kMoeSliceBytes);

}  // namespace hearth::gpu
