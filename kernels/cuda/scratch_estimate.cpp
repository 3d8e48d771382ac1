// Scratch that the GPU's operations would take, in builds without any too. The functions that lay it out are beside the
// kernels, where only a CUDA compiler goes; this one repeats their sums, a little high
// (tests/runtime/offload/placement_gpu_test.cpp compares).
#include <algorithm>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/scratch_sizes.h"
#include "quant/round_up.h"

namespace hearth {

// The largest of what the operations lay out: keys and values of a chunk of the context (attention/mha_attend.cu),
// partial sums of split attention (attention/mla_attend.cu), rows as the products of several tokens want them
// (matmul/matmul_few.cu, matmul/matmul_tile.cu, matmul/moe_tile.cu), and keys of a few rows' groups of columns
// (largest.cu).
size_t estimated_gpu_scratch(const ScratchLimits& l) {
  using namespace gpu;
  const int64_t T = l.max_tokens, H = l.n_heads, r = l.kv_lora_rank, columns = l.qk_nope_head_dim + l.v_head_dim;
  const int64_t chunk =
      std::min(std::max<int64_t>(kExpandedBytes / (H * columns * 2) / kChunkMultiple, 1) * kChunkMultiple,
               l.n_ctx + kChunkMultiple - 1);
  const int64_t naive = H * columns * r * 2 + chunk * (r + l.qk_rope_head_dim + H * columns) * 2 + 2 * H * T * 4;
  const int64_t absorbed = int64_t(l.multiprocessors) * 64 * (r + 2) * 4 + 4 * (H * l.v_head_dim + 512);
  const int64_t rows = T * l.n_activated;
  const auto row = [](int64_t k) { return 4 * round_up(k, 64); };  // bytes, as groups of 64 or as bf16
  const int64_t experts = T * row(l.dim) + rows * row(l.moe_inter_dim) + 40 * rows + 8 * l.n_experts +
                          std::min(rows * l.dim * 4, std::max(kMoeSliceBytes, rows * kSliceColumns * 4));
  const int64_t dense = T * std::max(row(l.max_width), row(l.dim) + row(std::max(l.inter_dim, l.shared_inter_dim)));
  const int64_t heads = std::min(T * H * row(r), kHeadsSliceBytes);
  // What few tokens take (matmul/matmul_few.cu).
  const int64_t few = std::min<int64_t>(T, 64), few_slots = few * l.n_activated;
  const auto few_rows = [](int64_t n, int64_t k) { return n * (4 * k + 4 * 128 + 64); };
  const auto few_hidden = [&](int64_t n, int64_t k) { return few_rows(n, k) + 4 * n * k; };
  const int64_t few_experts = few_rows(few, l.dim) + few_hidden(few, l.shared_inter_dim) +
                              few_hidden(few_slots, l.moe_inter_dim) + few_slots * (4 * l.dim + 32) + 8 * l.n_experts;
  const int64_t few_heads = few_rows(few * H, std::max({r, l.qk_nope_head_dim, l.v_head_dim}));
  const int64_t few_dense = few_rows(few, l.max_width) + few_hidden(few, std::max(l.inter_dim, l.shared_inter_dim));
  const int64_t router = (T * l.n_experts + l.n_experts * l.dim) * 4;
  const int64_t best = std::min(T, kLargestRows) * kLargestGroups * 8;
  constexpr int64_t kRounding = 4096;  // of each part
  return size_t(std::max({naive, absorbed, experts, dense, heads, few_experts, few_heads, few_dense, router, best}) +
                kRounding);
}

}  // namespace hearth
