// A GPU's memory, and the memory of the host's that it copies from and to by itself, which is page-locked where the
// system allows it. Who allocated what is known, so that a copy knows its direction.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <set>

#include "kernels/cuda/queue.h"

namespace hearth::gpu {

// Page-locked memory, from any thread.
class LockedMemory {
 public:
  // Null where the system refuses to lock so much, which is kept.
  std::byte* take(size_t bytes);
  // Of the first thing that could not be locked; 0: none.
  size_t refused_bytes() const { return refused_bytes_; }

 private:
  std::atomic<size_t> refused_bytes_ = 0;
};

class Memory {
 public:
  Memory(const Queue& queue, LockedMemory& locked) : queue_(queue), locked_(locked) {}

  // Zeroed in the queue; null when there is none left.
  std::byte* allocate(size_t bytes);
  void free(std::byte* p);
  bool on_device(const void* p) const { return within(device_, p); }

  // The host's, zeroed and aligned to 64; null when there is none left. Without page-locked memory the driver copies
  // through some of its own, and waits.
  std::byte* allocate_shared(size_t bytes);
  void free_shared(std::byte* p);  // nothing that is queued may use it
  bool is_shared(const void* p) const { return within(shared_, p); }

 private:
  // Stretches of memory, by their first byte.
  using Stretches = std::map<const std::byte*, size_t>;
  static bool within(const Stretches& all, const void* p);

  const Queue& queue_;
  LockedMemory& locked_;
  Stretches device_, shared_;
  std::set<const std::byte*> pageable_;  // of the shared ones: those that could not be page-locked
};

}  // namespace hearth::gpu
