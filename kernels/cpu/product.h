// matmul, matmul_heads, ffn and moe_ffn of kernels/ops.h for any Engine. A table of operations calls these with its
// own.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth::product {

void matmul(const Engine& engine, const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_heads(const Engine& engine, const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void ffn(const Engine& engine, const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void moe_ffn(const Engine& engine, const Exec& exec, const FfnWeights& experts, const FfnWeights& shared,
             const int32_t* ids, const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// What the largest of them needs.
size_t scratch_bytes(const ScratchLimits& limits);

}  // namespace hearth::product
