#include "kernels/cuda/host/failure.h"

#include <mutex>
#include <utility>

namespace hearth::gpu {

namespace {

std::mutex lock;
Failure first;

}  // namespace

void note_failure(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const std::lock_guard<std::mutex> locked(lock);
  if (first.error == cudaSuccess) first = {error, what};
}

Failure take_failure() {
  const std::lock_guard<std::mutex> locked(lock);
  return std::exchange(first, {});
}

}  // namespace hearth::gpu
