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
#include <cassert>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/rounded_row.cuh"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int64_t kNormThreads = 512, kAddThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// kAdd: the residual's sum is written to its x, which is x; without it the residual is empty. kRounds, for
// one row: `rounded` is y as integers as well, for which threads have neighbours.
template <bool kAdd, bool kRounds>
__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(Residual residual, Mat<const float> x, const float* w, float eps, Mat<float> y, std::byte* rounded) {
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
  if constexpr (!kRounds) {
    for (int64_t i = threadIdx.x; i < d; i += blockDim.x) to[i] = w[i] * (from[i] * factor);
    return;
  }
  constexpr int kAtOnce = 4;  // loads of V3's 7168 values do not wait for one another
  constexpr int64_t kWarpValues = 128;
  const int64_t end = (d + kWarpValues - 1) / kWarpValues * kWarpValues, step = 4 * int64_t(blockDim.x);
  for (int64_t first = 4 * threadIdx.x; first < end; first += kAtOnce * step) {
    float values[kAtOnce][4] = {};
    GPU_UNROLL
    for (int n = 0; n < kAtOnce; ++n) {
      GPU_UNROLL
      for (int j = 0; j < 4; ++j) {
        const int64_t i = first + n * step + j;
        if (i < d) values[n][j] = w[i] * (from[i] * factor);
      }
    }
    GPU_UNROLL
    for (int n = 0; n < kAtOnce; ++n) {
      const int64_t i = first + n * step;
      if (i >= end) break;
      for (int j = 0; j < 4 && i + j < d; ++j) to[i + j] = values[n][j];
      store_rounded(values[n], int(i), int(d), rounded);
    }
  }
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
  launch_early("rms_norm", norm_kernel<false, false>, dim3(unsigned(x.rows)), norm_threads(x.cols), 0, queue_of(exec),
               Residual{}, x, w, eps, y, static_cast<std::byte*>(nullptr));
}

void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h) {
  if (x.rows == 0) return;
  launch_early("add_rms_norm", norm_kernel<true, false>, dim3(unsigned(x.rows)), norm_threads(x.cols), 0,
               queue_of(exec), Residual{x, y, rest}, Mat<const float>(x), w, eps, h, static_cast<std::byte*>(nullptr));
}

void norm_one(const Exec& exec, const Residual& residual, const float* norm, float eps, Mat<float> h,
              std::byte* rounded) {
  assert(residual.x.rows == 1);
  const bool adds = residual.y.data != nullptr;
  launch_early(adds ? "add_rms_norm" : "rms_norm", adds ? norm_kernel<true, true> : norm_kernel<false, true>, dim3(1),
               norm_threads(residual.x.cols), 0, queue_of(exec), residual, Mat<const float>(residual.x), norm, eps, h,
               rounded);
}

void add(const Exec& exec, Mat<const float> y, Mat<float> x) {
  if (x.rows == 0) return;
  const dim3 grid(unsigned((x.cols + kAddThreads - 1) / kAddThreads), unsigned(std::min(x.rows, kMaxGridY)));
  launch_early("add", add_kernel, grid, dim3(unsigned(kAddThreads)), 0, queue_of(exec), y, x);
}

}  // namespace hearth::gpu
