// Sums and maxima over a block of whole warps. Every thread gets the result. It has the same bits in every run, because
// the order of the additions depends only on the number of threads.
#pragma once

#include "kernels/cuda/kernel.h"

namespace hearth::gpu {

// One value for each of the block's warps. An array of this size can be used by one call after another.
inline constexpr int kMaxWarps = 32;

GPU_FN float block_sum(float v, float (&partial)[kMaxWarps]) {
  v = warp_sum(v);
  __syncthreads();  // threads may still be reading the values of the call before
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

// Is this block the last of n to come here? All its threads ask. What blocks have stored before, the last one reads, by
// volatile pointers; what they have read before, it may overwrite. `finished` is zero before the launch and after it.
GPU_FN bool is_last_block(unsigned* finished, unsigned n) {
  GPU_SHARED(bool, last, 1);
  __threadfence();  // what this thread has stored is seen before its block is counted
  __syncthreads();
  if (threadIdx.x == 0) {
    last[0] = atomicAdd(finished, 1u) == n - 1;
    if (last[0]) *finished = 0;
    __threadfence();  // what others have stored is read after they were counted
  }
  __syncthreads();
  return last[0];
}

}  // namespace hearth::gpu
