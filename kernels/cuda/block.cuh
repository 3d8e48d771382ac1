// Sums and maxima over a block of whole warps. Every thread gets the result, and the same bits every run: the order of
// the additions is fixed by the number of threads.
#pragma once

#include "kernels/cuda/kernel.h"

namespace hearth::gpu {

// Room for one value of each of the block's warps; one array serves one call after another.
inline constexpr int kMaxWarps = 32;

GPU_FN float block_sum(float v, float (&partial)[kMaxWarps]) {
  v = warp_sum(v);
  __syncthreads();  // who still reads the last call's values?
  if (lane_of_thread() == 0) partial[warp_of_thread()] = v;
  __syncthreads();
  return warp_sum(lane_of_thread() < int(blockDim.x / 32) ? partial[lane_of_thread()] : 0.0f);
}

GPU_FN float block_max(float v, float (&partial)[kMaxWarps]) {
  v = warp_max(v);
  __syncthreads();
  if (lane_of_thread() == 0) partial[warp_of_thread()] = v;
  __syncthreads();
  return warp_max(partial[lane_of_thread() % int(blockDim.x / 32)]);
}

}  // namespace hearth::gpu
