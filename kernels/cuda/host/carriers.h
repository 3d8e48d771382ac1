// Large copies from pageable memory. The copy engine reads page-locked memory only, and locking a mapped file's pages
// costs more than copying them, so a few threads copy the bytes into page-locked slots. Each thread has two: one is
// filled while the other is copied to the GPU. Bound: the threads' copying (about 10 GB/s each) or the bus.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/cuda/host/memory.h"

namespace hearth::gpu {

class Carriers {
 public:
  // For GPU number `gpu`; failures are noted in queue.failures.
  Carriers(int gpu, const Queue& queue, LockedMemory& locked);
  ~Carriers();

  // The copy is done when upload returns. False: it failed, and the failure was noted.
  bool upload(const std::byte* from, std::byte* to, size_t bytes);

 private:
  class Carrier;
  bool well(cudaError_t error) const { return queue_.check(error, "loading weights into the GPU's memory"); }

  const int gpu_;
  const Queue& queue_;
  std::vector<std::unique_ptr<Carrier>> all_;  // empty if no memory can be page-locked
};

}  // namespace hearth::gpu
