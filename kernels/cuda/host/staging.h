// Page-locked memory through which small copies go, piece after piece, so that nobody waits: tokens and positions to
// the GPU, logits from it. All of it is free again after a wait for the GPU, which every step has at its end; take()
// itself has to wait only when hundreds of slices of a prompt are queued in one call.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cuda/host/memory.h"

namespace hearth::gpu {

class Staging {
 public:
  Staging(const Queue& queue, LockedMemory& locked) : queue_(queue), locked_(locked) {}
  ~Staging();

  // Null if bytes > kBytes, or if no memory can be page-locked.
  std::byte* take(size_t bytes);
  // At the next settle(), `bytes` of `piece`, which the GPU has then written, are copied to `to`.
  void hand_over_later(const std::byte* piece, void* to, size_t bytes) { waiting_.push_back({piece, to, bytes}); }
  // Call this when the GPU has done everything that is queued.
  void settle();

 private:
  static constexpr size_t kBytes = size_t(4) << 20;  // several rows of logits of any supported model
  struct Waiting {
    const std::byte* piece;
    void* to;
    size_t bytes;
  };
  bool open();

  const Queue& queue_;
  LockedMemory& locked_;
  std::byte* memory_ = nullptr;
  bool refused_ = false;
  size_t used_ = 0;
  std::vector<Waiting> waiting_;
};

}  // namespace hearth::gpu
