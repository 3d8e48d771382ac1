// Matrix products for 1 to 8 tokens, all of ops.h's shapes: a byte of the weights is read once for all tokens.
//
// All pointers are the device's. Weights of integer formats are multiplied with activations rounded to 16 bits, a scale
// for every 16 of them along k; those of float formats and of F8_E4M3 with the activations as they are. Sums are
// float32, in an order that does not depend on time. NaN in an activation makes its token's outputs NaN. (F8_E4M3: its
// scales must be below 2^120.)
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

inline constexpr int64_t kMaxVecTokens = 8;

// x [T,k], W [n,k] -> y [T,n]. One launch; two where the activations are too many for each block to prepare (T k above
// 7300 values, or 4600 with a float format).
void matmul_vec(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

// One matrix per head: x [T,H,k], W [H,n,k] -> y [T,H,n]. Launches as matmul_vec.
void matmul_heads_vec(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);

// y = down(silu(gate x) * up x): x [T,d] -> y [T,d]. Two launches, and one as above; one more where gate and up differ
// in format.
void ffn_vec(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

// y = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x), as Ops::moe_ffn. Launches as ffn_vec, where shared and
// routed experts have the same formats; otherwise as one ffn_vec for each. An expert that several tokens chose is read
// once.
void moe_vec(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// Bytes that the largest of their calls needs, for at most kMaxVecTokens tokens.
size_t matmul_vec_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
