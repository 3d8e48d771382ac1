#include "tests/emulation/samples.h"

#include "tests/support/device_memory.h"

#include "kernels/cuda/kernel.h"

namespace hearth::samples {

using namespace gpu;

namespace {

__global__ void scale_kernel(Fault fault, const float* __restrict__ x, float factor, float* __restrict__ y, int n) {
  const int i = 4 * int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n + (fault == Fault::global_overrun ? 4 : 0)) return;
  const float4 v = *reinterpret_cast<const float4*>(x + i + (fault == Fault::misaligned_vectors ? 1 : 0));
  *reinterpret_cast<float4*>(y + i) = make_float4(factor * v.x, factor * v.y, factor * v.z, factor * v.w);
}

__global__ void __launch_bounds__(1024)
    row_sums_kernel(Fault fault, const float* __restrict__ x, float* __restrict__ y, int n) {
  GPU_SHARED(float, part, 32);
  const float* const row = x + size_t(blockIdx.x) * n;
  float sum = 0.0f;
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) sum += row[i];
  if (fault == Fault::divergent_barrier && warp_of_thread() == 0) __syncthreads();
  if (fault == Fault::ended_lane && lane_of_thread() == 5) return;
  if (fault == Fault::deadlock && lane_of_thread() == 3) __syncthreads();
  sum = warp_sum(sum);
  const int first = fault == Fault::shared_overrun ? 33 - int(blockDim.x / 32) : 0;
  if (lane_of_thread() == 0) part[first + warp_of_thread()] = sum;
  if (fault != Fault::no_barrier_after_write) __syncthreads();
  if (warp_of_thread() > 0) return;
  sum = warp_sum(lane_of_thread() < int(blockDim.x / 32) ? part[first + lane_of_thread()] : 0.0f);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

__global__ void mirror_kernel(Fault fault, const float* __restrict__ x, float* __restrict__ y, int* count, int n) {
  GPU_SHARED(float, values, 4 * 32);
  GPU_SHARED(int, not_zero, 1);
  if (threadIdx.x == 0) not_zero[0] = 0;
  __syncthreads();
  const int lane = lane_of_thread(), group = int(blockIdx.x) * 4 + warp_of_thread();
  if (group < n) {
    float* const own = values + 32 * warp_of_thread();
    float v = x[32 * group + lane];
    if (fault == Fault::too_many_lanes && group == n - 1) __syncwarp(1);
    if (v != 0.0f) atomicAdd(not_zero, 1);
    for (int pass = 0; pass < 2; pass++) {
      own[lane] = v;
      if (fault != Fault::no_warp_barrier) __syncwarp();
      v = own[31 - lane];
      __syncwarp();
    }
    y[32 * group + lane] = v;
  }
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(count, not_zero[0]);
}

constexpr int kTile = 32, kStride = 32 + 8;  // a row's padding keeps ldmatrix free of bank conflicts

// A warp per 16 x 16 of a 32 x 32 tile; two stages of 32 columns of a and b.
__global__ void __launch_bounds__(128)
    product_kernel(Fault fault, const uint16_t* __restrict__ a, const uint16_t* __restrict__ b, float* __restrict__ c,
                   int n, int k) {
  GPU_DYNAMIC_SHARED(uint16_t, tiles);
  const int row0 = int(blockIdx.y) * kTile, column0 = int(blockIdx.x) * kTile;
  const int thread = int(threadIdx.x), lane = lane_of_thread(), warp = warp_of_thread();
  const auto fetch = [&](int stage, int k0) {
    const int row = thread / 4, column = thread % 4 * 8;
    uint16_t* const to = tiles + stage * 2 * kTile * kStride + row * kStride + column;
    cp_async_16(to, a + size_t(row0 + row) * k + k0 + column);
    cp_async_16(to + kTile * kStride, b + size_t(column0 + row) * k + k0 + column);
    cp_async_commit();
  };
  float sum[2][4] = {};
  fetch(0, 0);
  for (int k0 = 0, stage = 0; k0 < k; k0 += kTile, stage ^= 1) {
    if (k0 + kTile < k) {
      fetch(stage ^ 1, k0 + kTile);
      cp_async_wait<1>();
    } else if (fault == Fault::weak_wait) {
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    const uint16_t* const left = tiles + stage * 2 * kTile * kStride + warp % 2 * 16 * kStride;
    const uint16_t* const right = tiles + (stage * 2 + 1) * kTile * kStride + warp / 2 * 16 * kStride;
    for (int j = 0; j < kTile; j += 16) {
      uint32_t l[4], r[4];
      ldmatrix_x4(l, left + lane % 16 * kStride + j + lane / 16 * 8);
      ldmatrix_x4(r, right + (lane % 8 + lane / 16 * 8) * kStride + j + lane / 8 % 2 * 8);
      mma_bf16(sum[0], l, r[0], r[1]);
      mma_bf16(sum[1], l, r[2], r[3]);
    }
    if (fault != Fault::no_barrier_before_reuse) __syncthreads();
  }
  for (int half = 0; half < 2; half++) {
    for (int i = 0; i < 4; i++) {
      const int row = row0 + warp % 2 * 16 + lane / 4 + i / 2 * 8;
      const int column = column0 + warp / 2 * 16 + half * 8 + 2 * (lane % 4) + i % 2;
      c[size_t(row) * n + column] = sum[half][i];
    }
  }
}

__global__ void weighted_kernel(Fault fault, const float* __restrict__ weights, const float* x, float* y, int n) {
  launch_dependents();
  GPU_SHARED(float, staged, 64);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  cp_async_4(staged + threadIdx.x, fault == Fault::early_copy ? x + i : weights + i, i < n);
  cp_async_commit();
  if (fault == Fault::no_wait && blockIdx.x + 1 == gridDim.x) return;
  float v = fault == Fault::early_read && i < n ? x[i] : 0.0f;
  if (fault == Fault::early_write && i < n) y[i] = v;
  wait_for_earlier();
  if (i < n) v = x[i];
  cp_async_wait<0>();
  if (i < n) y[i] = staged[threadIdx.x] * v;
}

}  // namespace

namespace {

// Launches, and throws what that fails with.
template <class Kernel, class... A>
void start(const char* name, Kernel kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
           A... args) {
  Failures failures;
  launch(name, kernel, grid, block, shared_bytes, Queue{stream, &failures}, args...);
  test::check_cuda(failures.take().error, name);
}

}  // namespace

void scale(Fault fault, const float* x, float factor, float* y, int n, int threads, cudaStream_t stream) {
  const unsigned blocks = unsigned((n / 4 + threads - 1) / threads) + (fault == Fault::global_overrun ? 1 : 0);
  start("scale", scale_kernel, blocks, unsigned(threads), 0, stream, fault, x, factor, y, n);
}

void row_sums(Fault fault, const float* x, float* y, int rows, int n, int threads, cudaStream_t stream) {
  start("row_sums", row_sums_kernel, unsigned(rows), unsigned(threads), 0, stream, fault, x, y, n);
}

void mirror(Fault fault, const float* x, float* y, int* count, int n, cudaStream_t stream) {
  start("mirror", mirror_kernel, unsigned((n + 3) / 4), 128u, 0, stream, fault, x, y, count, n);
}

void product(Fault fault, const uint16_t* a, const uint16_t* b, float* c, int m, int n, int k, cudaStream_t stream) {
  const size_t bytes = 2 * 2 * kTile * kStride * sizeof(uint16_t);
  start("product", product_kernel, dim3(unsigned(n / kTile), unsigned(m / kTile)), 128u,
        fault == Fault::small_dynamic_shared ? bytes - 64 : bytes, stream, fault, a, b, c, n, k);
}

void weighted(Fault fault, const float* weights, const float* x, float* y, int n, cudaStream_t stream) {
  Failures failures;
  launch_early("weighted", weighted_kernel, unsigned((n + 63) / 64), 64u, 0, Queue{stream, &failures}, fault, weights,
               x, y, n);
  test::check_cuda(failures.take().error, "weighted");
}

}  // namespace hearth::samples
