// Matrix products for 2 to 64 tokens, for all the products of ops.h, with weights in any format but F32. A byte of the
// weights is read once for all tokens; of experts, once for up to 64 of an expert's tokens.
//
// All pointers are device pointers. Weights are multiplied as they are with activations in two bf16, 16 bits of them
// (kernels/rounding.h: halves). Sums are float32, added in an order that depends neither on timing nor on the number of
// tokens.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

inline constexpr int64_t kMaxFewTokens = 64;

inline bool takes_few(const Weight& w) {
  return w.format->id != FormatId::f32;
}
// Of experts or a dense FFN; or of none at all.
inline bool takes_few(const FfnWeights& w) {
  return !w.gate || (takes_few(w.gate) && takes_few(w.up) && takes_few(w.down));
}

// x [T,k], W [n,k] -> y [T,n]. Two launches: the activations are prepared first.
void matmul_few(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

// Two matrices of one input: x [T,k], A [n,k], B [m,k] -> y_a [T,n], y_b [T,m]. Three launches, or four if the formats
// need the activations in two orders (16-bit floats, and others).
void matmul_pair_few(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                     Mat<float> y_b);

// One matrix per head: x [T,H,k], W [H,n,k] -> y [T,H,n]. Two launches.
void matmul_heads_few(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);

// y = down(silu(gate x) * up x): x [T,d] -> y [T,d]. Three launches, a fourth if gate and up differ in format.
void ffn_few(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

// y = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x), as Ops::moe_ffn. Every id is the number of an expert, and a
// token's ids differ. Five launches, two more for shared experts, and one more where gate and up differ in format.
void moe_few(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// Bytes of scratch that the largest of these operations needs, for at most kMaxFewTokens tokens.
size_t matmul_few_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
