// Where these tests run operations: on the GPU's default stream, so that whatever is copied or launched without naming
// a stream comes in order with them.
#pragma once

#include "kernels/cuda/host/small_moves.h"
#include "kernels/cuda/queue.h"
#include "kernels/ops.h"
#include "tests/support/device_memory.h"

namespace hearth::test {

inline const gpu::Queue& default_queue() {
  static const DeviceArray<unsigned> counters(std::vector<unsigned>(gpu::Queue::kCounters, 0));
  static const gpu::Queue queue = [] {
    gpu::Queue q;
    check_cuda(cudaDeviceGetAttribute(&q.multiprocessors, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
    q.counters = counters;
    q.kernels_wait = gpu::kernels_wait();
    return q;
  }();
  return queue;
}

// What an operation without scratch memory needs.
inline Exec on_gpu() {
  return {1, {}, &default_queue()};
}

inline Exec on_gpu(const DeviceArray<std::byte>& scratch) {
  return {1, {scratch.data(), scratch.size()}, &default_queue()};
}

inline ScratchLimits on_gpu(ScratchLimits limits) {
  limits.multiprocessors = default_queue().multiprocessors;
  return limits;
}

}  // namespace hearth::test
