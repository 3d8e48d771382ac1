// Kernels of the kinds that the project has, and the faults that can be planted in them.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace hearth::samples {

enum class Fault {
  none,
  // row_sums
  no_barrier_after_write,
  divergent_barrier,
  deadlock,        // some lanes wait at a barrier, others in a shuffle
  ended_lane,      // one lane of each warp is gone when the others add
  shared_overrun,  // one float behind the array
  // product
  no_barrier_before_reuse,
  weak_wait,             // for one group of copies too few
  small_dynamic_shared,  // 64 bytes less than the kernel uses
  // mirror
  no_warp_barrier,
  too_many_lanes,  // a warp operation of lanes that the caller is not among, in the last block
  // scale
  global_overrun,
  misaligned_vectors,
  // weighted
  early_read,   // of what the launch before writes, before waiting for it
  early_copy,   // the same by cp.async
  early_write,  // before waiting
  no_wait,      // in the last block
};

// y[row] = the sum of row `row` of x [rows, n], by blocks of `threads` threads.
void row_sums(Fault fault, const float* x, float* y, int rows, int n, int threads, cudaStream_t stream);

// c [m,n] = a [m,k] b [n,k]^T, bf16 in, float out; m, n and k multiples of 32.
void product(Fault fault, const uint16_t* a, const uint16_t* b, float* c, int m, int n, int k, cudaStream_t stream);

// Reverses every 32 values of x [32 n], twice through the same shared memory: y = x. Shared with a count of the values
// that are not 0, by atomics, in `count`.
void mirror(Fault fault, const float* x, float* y, int* count, int n, cudaStream_t stream);

// y[i] = factor * x[i], 0 <= i < n, a multiple of 4: no barrier, no shared memory.
void scale(Fault fault, const float* x, float factor, float* y, int n, int threads, cudaStream_t stream);

// y[i] = weights[i] * x[i], 0 <= i < n. May begin early, and has its weights under way before it waits.
void weighted(Fault fault, const float* weights, const float* x, float* y, int n, cudaStream_t stream);

}  // namespace hearth::samples
