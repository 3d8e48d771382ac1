// Large copies from pageable memory. The copy engine reads page-locked memory only, and locking a mapped file's pages
// costs more than copying them, so a few threads carry the bytes over into page-locked slots, each with a slot that is
// being filled and one that is being emptied. Bounded by the threads' copying (about 10 GB/s each) or by the bus.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/cuda/host/memory.h"

namespace hearth::gpu {

class Carriers {
 public:
  // For the GPU of that number; failures are told to `queue`'s.
  Carriers(int gpu, const Queue& queue, LockedMemory& locked);
  ~Carriers();

  // Is done when it returns. False: failed, which was noted.
  bool upload(const std::byte* from, std::byte* to, size_t bytes);

 private:
  class Carrier;
  bool well(cudaError_t error) const { return queue_.check(error, "loading weights into the GPU's memory"); }

  const int gpu_;
  const Queue& queue_;
  std::vector<std::unique_ptr<Carrier>> all_;  // none: nothing can be page-locked
};

}  // namespace hearth::gpu
