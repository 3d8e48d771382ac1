// Naive (expanded) MLA for many tokens: q_nope [T,H,nope], q_rope [T,H,dr], cache rows [r + dr] -> o [T,H,v].
//
//   k_p = [W^UK c_p | k_rope_p], v_p = W^UV c_p;  score_p = q . k_p scale,  o = sum_p softmax(score)_p v_p
//
// The cache is taken in chunks: expand_latents makes the keys and values of all heads, then each head attends
// (mha_tile.cuh). The rope part of a key is read from the latents, the same for every head. Between chunks the output
// holds what a query has so far, and scratch its softmax's base and sum. Tiles that no query of a warp sees are
// skipped.
//
// What bounds it: the tensor cores, closely followed by ldmatrix (a warp reads every tile whole, for 32 queries).
#include "kernels/cuda/attention/mha_attend.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention/mha_tile.cuh"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/scratch_sizes.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

// ---- Which kernel

struct MhaPlan {
  void (*kernel)(MhaProblem);
  int queries, threads;  // of a block
  size_t shared_bytes;

  int64_t blocks(int64_t n_tokens) const { return (n_tokens + queries - 1) / queries; }
};

template <class Shape>
MhaPlan plan_of() {
  return {attend_chunk<Shape>, Shape::queries, Shape::threads, Shape::shared_bytes};
}

// The more queries a block has, the less often tiles are read: the largest that give every multiprocessor a block.
MhaPlan plan(const ExpandedWidths& w, int64_t n_tokens, int64_t n_heads, int multiprocessors) {
  using P = PublishedHeads;
  if (w.nope != P::nope || w.rope != P::rope || w.v != P::v) return plan_of<Shape<4, 1, 64, 64, OtherHeads>>();
  for (const MhaPlan& plan : {plan_of<Shape<8, 2, 32, 16, P>>(), plan_of<Shape<4, 2, 32, 16, P>>()}) {
    if (plan.blocks(n_tokens) * n_heads >= multiprocessors) return plan;
  }
  return plan_of<Shape<4, 1, 64, 64, P>>();
}

// ---- Scratch

// Where everything lies for chunks of n positions.
struct Layout {
  size_t weights, latents, expanded, largest, total, bytes = 0;

  Layout(const ExpandedWidths& w, int64_t n_tokens, int64_t n_heads, int64_t n) {
    const auto take = [&](int64_t size) {
      const size_t at = bytes;
      bytes += size_t(round_up(size, 256));
      return at;
    };
    weights = take(n_heads * w.columns() * w.padded_r * 2);
    latents = take(n * w.latent_width() * 2);
    expanded = take(n * n_heads * w.columns() * 2);
    largest = take(n_heads * n_tokens * 4);
    total = take(n_heads * n_tokens * 4);
  }
};

// The longest chunk that fits into `bytes`, if any does, for at most n_keys positions.
int64_t chunk_that_fits(const ExpandedWidths& w, int64_t n_tokens, int64_t n_heads, int64_t n_keys, size_t bytes) {
  const size_t fixed = Layout(w, n_tokens, n_heads, 0).bytes;
  const size_t each = Layout(w, n_tokens, n_heads, kChunkMultiple).bytes - fixed;
  const int64_t chunks = bytes > fixed ? int64_t((bytes - fixed) / each) : 0;
  return std::min(std::max<int64_t>(chunks, 1) * kChunkMultiple, round_up(n_keys, kChunkMultiple));
}

}  // namespace

size_t mha_attend_scratch(const ScratchLimits& l) {
  const ExpandedWidths w(l.kv_lora_rank, l.qk_nope_head_dim, l.qk_rope_head_dim, l.v_head_dim);
  const int64_t chunk =
      std::min(std::max<int64_t>(kExpandedBytes / (l.n_heads * w.columns() * 2) / kChunkMultiple, 1) * kChunkMultiple,
               round_up(l.n_ctx, kChunkMultiple));
  return Layout(w, l.max_tokens, l.n_heads, chunk).bytes;
}

void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
  const int64_t T = q_nope.n_tokens, H = q_nope.n_heads, bound = at.bound;
  const ExpandedWidths widths(cache.kv_lora_rank, q_nope.width, cache.rope_dim, o.width);
  const int64_t n = chunk_that_fits(widths, T, H, bound, exec.scratch.size());
  const Layout layout(widths, T, H, n);
  const auto scratch = [&](size_t at) { return exec.scratch.data() + at; };
  const Queue& queue = queue_of(exec);
  uint16_t* weights = reinterpret_cast<uint16_t*>(scratch(layout.weights));
  uint16_t* latents = reinterpret_cast<uint16_t*>(scratch(layout.latents));
  uint16_t* expanded = reinterpret_cast<uint16_t*>(scratch(layout.expanded));

  const MhaPlan plan = gpu::plan(widths, T, H, queue.multiprocessors);
  widen_weights(queue, widths, k_b, v_b, weights);
  for (int64_t first = 0; first < bound; first += n) {
    const LatentChunk chunk{at, T, first, n};
    widen_latents(queue, widths, cache, chunk, latents);
    expand_latents(queue, widths, weights, latents, H, chunk, expanded);
    const MhaProblem problem{q_nope,
                             q_rope,
                             widths,
                             expanded,
                             latents,
                             chunk,
                             scale * kLog2e,
                             reinterpret_cast<float*>(scratch(layout.largest)),
                             reinterpret_cast<float*>(scratch(layout.total)),
                             first + n < bound,
                             o};
    launch("mha_attend", plan.kernel, dim3(unsigned(plan.blocks(T)), unsigned(H)), dim3(unsigned(plan.threads)),
           plan.shared_bytes, queue, problem);
  }
}

}  // namespace hearth::gpu
