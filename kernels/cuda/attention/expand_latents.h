// Naive MLA's first half: keys W^UK c_p and values W^UV c_p of every head, from the latent cache into scratch.
#pragma once

#include "kernels/cuda/queue.h"

#include "kernels/ops.h"
#include "quant/fp.h"

namespace hearth::gpu {

// Widths of the model and, as padded_, rounded up to 16, as in all bf16 scratch; the padding is zero.
struct ExpandedWidths {
  int r, nope, rope, v;
  int padded_r, padded_nope, padded_rope, padded_v;

  ExpandedWidths(int64_t r, int64_t nope, int64_t rope, int64_t v);
  // Columns of an expanded row: the key without its rope part, then the value.
  HEARTH_HD int columns() const { return padded_nope + padded_v; }
  HEARTH_HD int latent_width() const { return padded_r + padded_rope; }
};

// Some positions of a sequence in one call. n is an upper bound: the kernels stop at at.ids[0] + n_tokens, the
// sequence's length as the device knows it.
struct LatentChunk {
  Positions at;
  int64_t n_tokens;
  int64_t first, n;
};

// k_b [H, r, nope] (stored transposed) and v_b [H, v, r], any format -> bf16 [H, padded_nope + padded_v, padded_r].
void widen_weights(const Queue& queue, const ExpandedWidths& widths, const Weight& k_b, const Weight& v_b,
                   uint16_t* weights);

// Rows of the cache, one after the other -> bf16 [n, latent_width].
void widen_latents(const Queue& queue, const ExpandedWidths& widths, const LatentCache& cache, const LatentChunk& chunk,
                   uint16_t* latents);

// latents [n, latent_width] times the weights of every head -> bf16 [H, n, columns].
void expand_latents(const Queue& queue, const ExpandedWidths& widths, const uint16_t* weights, const uint16_t* latents,
                    int64_t n_heads, const LatentChunk& chunk, uint16_t* expanded);

}  // namespace hearth::gpu
