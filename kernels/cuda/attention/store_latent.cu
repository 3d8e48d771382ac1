// Stores the latents of tokens (latent_row.cuh), a block each. Bound: the launch.
#include "kernels/cuda/attention/latent_row.cuh"
#include "kernels/cuda/attention/rope.h"
#include "kernels/cuda/host/queue_of.h"

namespace hearth::gpu {
namespace {

// Grid (T).
__global__ void __launch_bounds__(kLatentThreads)
    store_rows(Mat<const float> kv_a, const float* norm, float eps, RopeTable table, LatentCache cache, Positions at) {
  launch_dependents();
  wait_for_earlier();
  store_latent_row(kv_a.data + blockIdx.x * kv_a.stride, norm, eps, table, cache, at, int(blockIdx.x));
}

}  // namespace

void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                  const LatentCache& cache, const Positions& at) {
  launch_early("store_latent", store_rows, dim3(unsigned(kv_a.rows)), dim3(kLatentThreads), 0, queue_of(exec), kv_a,
               norm, eps, table, cache, at);
}

}  // namespace hearth::gpu
