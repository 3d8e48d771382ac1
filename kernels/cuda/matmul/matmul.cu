// Chooses between the ways to multiply. For one token the bound is the bytes of the weights; for few it still is, if
// instructions do not grow with the tokens; for many it is the products.
#include <algorithm>

#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/matmul/matmul_few.h"
#include "kernels/cuda/matmul/matmul_tile.h"
#include "kernels/cuda/matmul/matmul_vec.h"
#include "kernels/cuda/matmul/moe_tile.h"
#include "kernels/cuda/matmul/tile_product.h"

namespace hearth::gpu {
namespace {

enum class Way { vec, few, tile };

// Tiles of 64 tokens, where there are rows enough for a GPU full of them, multiply half as much as `few` does, which
// keeps 16 bits of the activations. F32 has no `few`.
Way way_for(int64_t n_tokens, bool takes_few, TileShape shape) {
  if (n_tokens > 1 && n_tokens <= kMaxFewTokens && takes_few && keeps_16_bits(shape)) return Way::few;
  return n_tokens == 1 ? Way::vec : Way::tile;
}
Way way_of(const Weight& w, int64_t n_tokens) {
  return way_for(n_tokens, takes_few(w), choose_tile(n_tokens, w.n, 1));
}

}  // namespace

size_t matmul_scratch(const ScratchLimits& limits) {
  return std::max({matmul_vec_scratch(limits), matmul_few_scratch(limits), matmul_tile_scratch(limits),
                   matmul_heads_tile_scratch(limits), ffn_tile_scratch(limits), moe_tile_scratch(limits)});
}

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  switch (way_of(w, x.rows)) {
    case Way::vec:
      return matmul_vec(exec, w, x, y);
    case Way::few:
      return matmul_few(exec, w, x, y);
    case Way::tile:
      return matmul_tile(exec, w, x, y);
  }
}

void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b) {
  if (way_of(a, x.rows) == Way::few && way_of(b, x.rows) == Way::few) return matmul_pair_few(exec, a, b, x, y_a, y_b);
  matmul(exec, a, x, y_a);
  matmul(exec, b, x, y_b);
}

void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  switch (way_for(x.n_tokens, takes_few(w), choose_tile(x.n_tokens, w.n, w.count))) {
    case Way::vec:
      return matmul_heads_vec(exec, w, x, y);
    case Way::few:
      return matmul_heads_few(exec, w, x, y);
    case Way::tile:
      return matmul_heads_tile(exec, w, x, y);
  }
}

void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  switch (way_for(x.rows, takes_few(w), choose_tile(x.rows, 2 * w.gate.n, 1))) {
    case Way::vec:
      return ffn_vec(exec, w, x, y);
    case Way::few:
      return ffn_few(exec, w, x, y);
    case Way::tile:
      return ffn_tile(exec, w, x, y);
  }
}

void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  const TileShape shape = choose_expert_tile(x.rows * n_activated, experts.n_experts(), exec.alike);
  switch (way_for(x.rows, takes_few(experts) && takes_few(shared), shape)) {
    case Way::vec:
      return moe_vec(exec, experts, shared, ids, weights, n_activated, x, y);
    case Way::few:
      return moe_few(exec, experts, shared, ids, weights, n_activated, x, y);
    case Way::tile:
      return moe_tile(exec, experts, shared, ids, weights, n_activated, x, y);
  }
}

}  // namespace hearth::gpu
