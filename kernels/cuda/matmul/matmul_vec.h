// Matrix products for one token, for all the products of ops.h.
//
// All pointers are device pointers. Weights of integer formats are multiplied with activations rounded to 16 bits, with
// a scale for every 16 activations along k; weights of float formats and of F8_E4M3 with the activations as they are.
// Sums are float32, added in an order that does not depend on timing. NaN in an activation makes its token's outputs
// NaN. (Scales of F8_E4M3 must be below 2^120.)
//
// Where Exec::rounded is given, it is x (of matmul_heads_vec, with one head), and blocks copy it.
//
// Each operation needs as much scratch as its _scratch function returns.
#pragma once

#include "kernels/cuda/matmul/matmul_vec_job.h"
#include "kernels/ops.h"

namespace hearth::gpu {

// x [1,k], W [n,k] -> y [1,n]. One launch, and one more before it to prepare the activations if they are too many for
// each block to prepare (k above 7300, or 4600 with a float format).
void matmul_vec(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

// One matrix per head: x [1,H,k], W [H,n,k] -> y [1,H,n]. As many launches as matmul_vec.
void matmul_heads_vec(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);

// y = down(silu(gate x) * up x): x [1,d] -> y [1,d]. Two launches: gate with up, then down; three if gate and up differ
// in format. One more before each of gate and up that has too many activations (see matmul_vec).
void ffn_vec(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

// y = sum_k weights[k] * expert[ids[k]](x) + shared(x), as Ops::moe_ffn. As many launches as ffn_vec if the formats of
// shared and routed experts are the same, or vec::in_one_launch; otherwise as an ffn_vec for each of the two.
void moe_vec(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// Bytes of scratch that the largest of these operations needs.
size_t matmul_vec_scratch(const ScratchLimits& limits);

namespace vec {

// What launches are put together from, for operations that have more to do in them. One matrix, or one for each head;
// or two matrices of the same shape, gate and up.
Stack stack_of(const Weight& w, const Weight* second = nullptr);

// What rows are prepared for that are multiplied with weights of a format.
Apart apart_of(const Format& format);

// Are there kernels for matrices of two formats in one launch?
bool in_one_launch(const Format& a, const Format& b);

// Can each block prepare its own row of k activations?
bool prepares_own(const Format& format, int64_t k);

// Queues a launch of kind `product`, of job.dense for each of n_matrices, and of job.beside for one, where there is
// one: splits it, and prepares rows that are too long for the blocks to, in `scratch`: prepared_scratch(n_matrices, k).
void launch_product(const Exec& exec, Job job, int64_t n_matrices, std::byte* scratch);
inline int64_t prepared_scratch(int64_t n_matrices, int64_t k) {
  return 2 * n_matrices * most_prepared_bytes(k);  // for two formats
}

}  // namespace vec
}  // namespace hearth::gpu
