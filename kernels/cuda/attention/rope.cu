// Rotary positions: x [T,H,dr] in place, adjacent pairs (a, b) -> (a cos - b sin, a sin + b cos), the angles from a
// table [n_ctx, dr / 2] of (cos, sin) that includes YaRN.
//
// A thread rotates one pair. Bound: the launch, with a few kilobytes per call.
#include "kernels/cuda/attention/rope.h"

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/kernel.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) rotate(RopeTable table, const int32_t* positions, Heads<float> x) {
  launch_dependents();
  wait_for_earlier();
  const int n_pairs = int(x.width) / 2;
  const int i = int(blockIdx.y) * kThreads + int(threadIdx.x);
  if (i >= n_pairs * int(x.n_heads)) return;
  const int h = i / n_pairs, j = i % n_pairs, t = int(blockIdx.x);
  const float* angle = table.cos_sin + positions[t] * table.rope_dim + 2 * j;
  float* pair = x.data + t * x.token_stride + h * x.head_stride + 2 * j;
  const float a = pair[0], b = pair[1], cos = angle[0], sin = angle[1];
  pair[0] = a * cos - b * sin;
  pair[1] = a * sin + b * cos;
}

}  // namespace

void rope(const Exec& exec, const RopeTable& table, const int32_t* positions, Heads<float> x) {
  const int64_t pairs = x.n_heads * (x.width / 2);
  launch_early("rope", rotate, dim3(unsigned(x.n_tokens), unsigned((pairs + kThreads - 1) / kThreads)), dim3(kThreads),
               0, queue_of(exec), table, positions, x);
}

}  // namespace hearth::gpu
