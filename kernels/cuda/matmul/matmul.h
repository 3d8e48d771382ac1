// The matrix products of kernels/ops.h: for one token by matmul_vec, for few by matmul_few, for many by matmul_tile and
// moe_tile.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// Bytes of scratch that the largest of these operations needs.
size_t matmul_scratch(const ScratchLimits& limits);

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b);
void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

}  // namespace hearth::gpu
