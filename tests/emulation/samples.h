// Kernels of the kinds that the project has, and faults that can be planted in them.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace hearth::samples {

enum class Fault {
  none,
};

// y[row] = the sum of row `row` of x [rows, n], by blocks of `threads` threads.
void row_sums(Fault fault, const float* x, float* y, int rows, int n, int threads, cudaStream_t stream);

// c [m,n] = a [m,k] b [n,k]^T, bf16 in, float out; m and n multiples of 32, k of 32.
void product(Fault fault, const uint16_t* a, const uint16_t* b, float* c, int m, int n, int k, cudaStream_t stream);

// y[i] = factor * x[i]: no barrier, no shared memory.
void scale(const float* x, float factor, float* y, int n, int threads, cudaStream_t stream);

}  // namespace hearth::samples
