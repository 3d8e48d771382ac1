// Chooses between the two ways to multiply: for few tokens the bound is the bytes of the weights, for many the
// products.
#include <algorithm>

#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/matmul/matmul_tile.h"
#include "kernels/cuda/matmul/matmul_vec.h"
#include "kernels/cuda/matmul/moe_tile.h"

namespace hearth::gpu {

size_t matmul_scratch(const ScratchLimits& limits) {
  return std::max({matmul_vec_scratch(limits), matmul_tile_scratch(limits), matmul_heads_tile_scratch(limits),
                   ffn_tile_scratch(limits), moe_tile_scratch(limits)});
}

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  x.rows == 1 ? matmul_vec(exec, w, x, y) : matmul_tile(exec, w, x, y);
}

void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b) {
  matmul(exec, a, x, y_a);
  matmul(exec, b, x, y_b);
}

void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  x.n_tokens == 1 ? matmul_heads_vec(exec, w, x, y) : matmul_heads_tile(exec, w, x, y);
}

void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  x.rows == 1 ? ffn_vec(exec, w, x, y) : ffn_tile(exec, w, x, y);
}

void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  if (x.rows == 1) {
    moe_vec(exec, experts, shared, ids, weights, n_activated, x, y);
  } else {
    moe_tile(exec, experts, shared, ids, weights, n_activated, x, y);
  }
}

}  // namespace hearth::gpu
