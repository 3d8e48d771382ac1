// Where these tests run operations: on the GPU's default stream, so that whatever is copied or launched without naming
// a stream comes in order with them.
#pragma once

#include "kernels/cuda/host/capability.h"
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

// The same GPU, as one whose bf16 products with float sums have half of the tensor cores' rate, or as one with the
// whole.
inline const gpu::Queue& queue_with(bool halved_float_sums) {
  static const gpu::Queue halved = [] {
    gpu::Queue q = default_queue();
    q.halved_float_sums = true;
    return q;
  }();
  return halved_float_sums ? halved : default_queue();
}

// Is there code of tiles of bytes for this GPU? The emulated one has it.
inline bool has_byte_tiles() {
  int major = 0, minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "compute capability");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "compute capability");
  return gpu::halves_float_sums(10 * major + minor);
}

// What an operation without scratch memory needs.
inline Exec on_gpu() {
  return {1, {}, &default_queue()};
}

inline Exec on_gpu(const DeviceArray<std::byte>& scratch, const gpu::Queue& queue = default_queue()) {
  return {1, {scratch.data(), scratch.size()}, &queue};
}

inline ScratchLimits on_gpu(ScratchLimits limits) {
  limits.multiprocessors = default_queue().multiprocessors;
  return limits;
}

}  // namespace hearth::test
