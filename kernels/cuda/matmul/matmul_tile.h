// Matmuls of many tokens (prefill), on tensor cores: bf16 inputs and float32 sums for all formats but F32, which stays
// in float32; where such sums have half of the tensor cores' rate (GeForce), larger tiles of integer formats multiply
// bytes (byte_product.cuh). The contracts are those of kernels/ops.h; all pointers are device pointers.
//
// Each operation needs as much scratch as its _scratch function returns, for at most limits.max_tokens tokens.
#pragma once

#include "kernels/cuda/scratch_sizes.h"
#include "kernels/ops.h"

namespace hearth::gpu {

// x [T,k], W [n,k] -> y [T,n].
size_t matmul_tile_scratch(const ScratchLimits& limits);
void matmul_tile(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

// One matrix per head: x [T,H,k], W [H,n,k] -> y [T,H,n].
//
// The tokens of all heads together can be large (128 heads x 512 latents, two bf16 planes: 256 KB a token), so they are
// rounded and multiplied in slices of at most slice_bytes, but of at least 128 tokens.
size_t matmul_heads_tile_scratch(const ScratchLimits& limits, int64_t slice_bytes = kHeadsSliceBytes);
void matmul_heads_tile(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y,
                       int64_t slice_bytes = kHeadsSliceBytes);

// y = down(silu(gate x) * up x): x [T,d] -> y [T,d].
size_t ffn_tile_scratch(const ScratchLimits& limits);
void ffn_tile(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

}  // namespace hearth::gpu
