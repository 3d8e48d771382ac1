// Stores a token's latent: kv_a [T, r+dr] -> the row of the cache where it stands, bf16 or f32. The first r values are
// RMS-normalised (c^KV), the last dr rotated (k^R); both in float, rounded once.
//
// A block takes one token and reads its 2.3 KB twice, the second time from L1. Bound: the launch.
#include "kernels/cuda/attention/heads.cuh"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/kernel.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 256;

GPU_FN void store(float* to, float value) {
  *to = value;
}
GPU_FN void store(uint16_t* to, float value) {
  *to = float_to_bf16(value);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    store_rows(Mat<const float> kv_a, const float* norm, float eps, RopeTable table, LatentCache cache, Positions at) {
  GPU_SHARED(float, sums, kThreads / 32);
  const int r = int(cache.kv_lora_rank), dr = int(cache.rope_dim), thread = int(threadIdx.x);
  const float* row = kv_a.data + blockIdx.x * kv_a.stride;
  const int position = at.ids[blockIdx.x];
  T* out = reinterpret_cast<T*>(cache.data) + row_number(at, pages_of(at, int(blockIdx.x)), position) * (r + dr);

  float sum = 0;
  for (int c = thread; c < r; c += kThreads) sum += row[c] * row[c];
  sum = warp_sum(sum);
  if (lane_of_thread() == 0) sums[warp_of_thread()] = sum;
  __syncthreads();
  sum = 0;
  GPU_UNROLL
  for (int w = 0; w < kThreads / 32; ++w) sum += sums[w];
  const float factor = 1.0f / sqrtf(sum / float(r) + eps);
  for (int c = thread; c < r; c += kThreads) store(out + c, norm[c] * (row[c] * factor));

  const float* angles = table.cos_sin + int64_t(position) * dr;
  for (int j = thread; j < dr / 2; j += kThreads) {
    const float a = row[r + 2 * j], b = row[r + 2 * j + 1], cos = angles[2 * j], sin = angles[2 * j + 1];
    store(out + r + 2 * j, a * cos - b * sin);
    store(out + r + 2 * j + 1, a * sin + b * cos);
  }
}

}  // namespace

void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                  const LatentCache& cache, const Positions& at) {
  const auto kernel = cache.format == FormatId::f32 ? store_rows<float> : store_rows<uint16_t>;
  launch("store_latent", kernel, dim3(unsigned(kv_a.rows)), dim3(kThreads), 0, queue_of(exec), kv_a, norm, eps, table,
         cache, at);
}

}  // namespace hearth::gpu
