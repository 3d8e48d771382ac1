#include "kernels/cuda/host/staging.h"

#include <cstring>

#include "quant/round_up.h"

namespace hearth::gpu {

Staging::~Staging() {
  if (memory_) cudaFreeHost(memory_);
}

std::byte* Staging::take(size_t bytes) {
  if (bytes > kBytes || (!memory_ && !open())) return nullptr;
  if (used_ + bytes > kBytes) {
    queue_.check(cudaStreamSynchronize(queue_.stream), "waiting for the GPU");
    settle();
  }
  std::byte* const piece = memory_ + used_;
  used_ += round_up(bytes, 64);
  return piece;
}

void Staging::settle() {
  for (const Waiting& w : waiting_) std::memcpy(w.to, w.piece, w.bytes);
  waiting_.clear();
  used_ = 0;
}

bool Staging::open() {
  if (!refused_) memory_ = locked_.take(kBytes);
  refused_ = !memory_;
  return memory_ != nullptr;
}

}  // namespace hearth::gpu
