// RMSNorm of rows [T,d] (docs/model.md section 1), with or without the residual sum before it, and that sum alone.
//
// A block takes a row. Its threads go over the row twice: for the sum of squares, and to scale. Each thread takes the
// same elements both times, so the second time they are in the cache, and x may be overwritten. 512 threads have 4 (d
// 2048) to 14 (d 7168) elements each: few enough to be loaded at once.
//
// Bound by bytes when T is large (8 per element, 16 with the sum). With one token there is one block, bound by the
// latency of two passes and two barriers. That is why the sum is fused: it saves a launch and a pass.
#include "kernels/cuda/norm.h"

#include <algorithm>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/host/queue_of.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int64_t kNormThreads = 512, kAddThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// The residual sum: y is added to x, and rest, if there is one; the sum is written to x. All are null in a norm without
// a sum.
struct Residual {
  Mat<const float> y, rest;
  Mat<float> x;
};

template <bool kAdd>
__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(Residual residual, Mat<const float> x, const float* w, float eps, Mat<float> y) {
  launch_dependents();
  GPU_SHARED(float, partial, kMaxWarps);
  const int64_t t = blockIdx.x, d = x.cols;
  constexpr int64_t kLine = 16;  // floats that one request brings
  for (int64_t i = kLine * threadIdx.x; i < d; i += kLine * blockDim.x) prefetch_to_l2(w + i);
  wait_for_earlier();
  const float* from = x.data + t * x.stride;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) {
    float v = from[i];
    if constexpr (kAdd) {
      v += residual.y.data[t * residual.y.stride + i];
      if (residual.rest.data) v += residual.rest.data[t * residual.rest.stride + i];
      residual.x.data[t * residual.x.stride + i] = v;
    }
    squares += v * v;
  }
  const float factor = 1.0f / sqrtf(block_sum(squares, partial) / float(d) + eps);
  float* to = y.data + t * y.stride;
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) to[i] = w[i] * (from[i] * factor);
}

__global__ void __launch_bounds__(kAddThreads) add_kernel(Mat<const float> y, Mat<float> x) {
  launch_dependents();
  wait_for_earlier();
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) x.data[t * x.stride + i] += y.data[t * y.stride + i];
}

// As few whole warps as have a thread for each element, at most kNormThreads.
dim3 norm_threads(int64_t d) {
  return dim3(unsigned(std::min(kNormThreads, round_up(d, 32))));
}

}  // namespace

void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y) {
  if (x.rows == 0) return;
  launch_early("rms_norm", norm_kernel<false>, dim3(unsigned(x.rows)), norm_threads(x.cols), 0, queue_of(exec),
               Residual{}, x, w, eps, y);
}

void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h) {
  if (x.rows == 0) return;
  launch_early("add_rms_norm", norm_kernel<true>, dim3(unsigned(x.rows)), norm_threads(x.cols), 0, queue_of(exec),
               Residual{y, rest, x}, Mat<const float>(x), w, eps, h);
}

void add(const Exec& exec, Mat<const float> y, Mat<float> x) {
  if (x.rows == 0) return;
  const dim3 grid(unsigned((x.cols + kAddThreads - 1) / kAddThreads), unsigned(std::min(x.rows, kMaxGridY)));
  launch_early("add", add_kernel, grid, dim3(unsigned(kAddThreads)), 0, queue_of(exec), y, x);
}

}  // namespace hearth::gpu
