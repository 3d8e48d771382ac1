// Matrix products for 1 to 8 tokens, for all the products of ops.h. A byte of the weights is read once for all tokens.
//
// All pointers are device pointers. Weights of integer formats are multiplied with activations rounded to 16 bits, with
// a scale for every 16 activations along k; weights of float formats and of F8_E4M3 with the activations as they are.
// Sums are float32, added in an order that does not depend on timing. NaN in an activation makes its token's outputs
// NaN. (Scales of F8_E4M3 must be below 2^120.)
#pragma once

#include "kernels/ops.h"
#include "kernels/rounding.h"

namespace hearth::gpu {

// x [T,k], W [n,k] -> y [T,n]. One launch, and one more before it to prepare the activations if they are too many for
// each block to prepare (T k above 7300 values, or 4600 with a float format).
void matmul_vec(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

// One matrix per head: x [T,H,k], W [H,n,k] -> y [T,H,n]. As many launches as matmul_vec.
void matmul_heads_vec(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);

// y = down(silu(gate x) * up x): x [T,d] -> y [T,d]. Two launches: gate with up, then down; three if gate and up differ
// in format. One more before each of gate and up that has too many activations (see matmul_vec).
void ffn_vec(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

// y = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x), as Ops::moe_ffn. As many launches as ffn_vec if shared and
// routed experts have the same formats; otherwise as an ffn_vec for each of the two. An expert that several tokens
// chose is read once.
void moe_vec(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// Bytes of scratch that the largest of these operations needs, for at most kMaxVecTokens tokens.
size_t matmul_vec_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
