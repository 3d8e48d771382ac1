// A GPU's memory, and host memory that the GPU copies from and to by itself, page-locked if the system allows it.
// Memory keeps a record of what it allocated where, so that a copy knows its direction.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <set>

#include "kernels/cuda/queue.h"

namespace hearth::gpu {

// Page-locked memory; may be called from any thread.
class LockedMemory {
 public:
  // Null if the system refuses to lock so much; the first refusal is kept.
  std::byte* take(size_t bytes);
  // Bytes of the first request that was refused; 0: none was.
  size_t refused_bytes() const { return refused_bytes_; }

 private:
  std::atomic<size_t> refused_bytes_ = 0;
};

class Memory {
 public:
  Memory(const Queue& queue, LockedMemory& locked) : queue_(queue), locked_(locked) {}

  // GPU memory, zeroed by an operation in the queue; null when there is none left.
  std::byte* allocate(size_t bytes);
  void free(std::byte* p);
  bool on_device(const void* p) const { return within(device_, p); }

  // Host memory, zeroed and aligned to 64; null when there is none left. If it is not page-locked, the driver copies
  // through memory of its own, and waits.
  std::byte* allocate_shared(size_t bytes);
  void free_shared(std::byte* p);  // nothing that is queued may use it
  bool is_shared(const void* p) const { return within(shared_, p); }

 private:
  // Sizes of stretches of memory, by their first byte.
  using Stretches = std::map<const std::byte*, size_t>;
  static bool within(const Stretches& all, const void* p);

  const Queue& queue_;
  LockedMemory& locked_;
  Stretches device_, shared_;
  std::set<const std::byte*> pageable_;  // the shared stretches that could not be page-locked
};

}  // namespace hearth::gpu
