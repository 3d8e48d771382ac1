// Page-locked memory that small copies cross through, piece after piece, so that nobody waits: tokens and positions on
// the way in, logits on the way out. All of it is free again when somebody has waited for the GPU, which every step
// does at its end; only hundreds of slices of a prompt in one call wait here.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cuda/host/memory.h"

namespace hearth::gpu {

class Staging {
 public:
  Staging(const Queue& queue, LockedMemory& locked) : queue_(queue), locked_(locked) {}
  ~Staging();

  // Null: too many bytes, or no memory can be page-locked.
  std::byte* take(size_t bytes);
  // Is to be copied to the host's memory when the GPU has written it.
  void hand_over_later(const std::byte* piece, void* to, size_t bytes) { waiting_.push_back({piece, to, bytes}); }
  // The GPU has done everything.
  void settle();

 private:
  static constexpr size_t kBytes = size_t(4) << 20;  // some rows of logits of any of our models
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
