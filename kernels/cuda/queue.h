// A GPU's queue, as operations are given it, and what went wrong in it.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <string>
#include <utility>

namespace hearth::gpu {

// The first thing that went wrong since somebody last asked. From any thread.
struct Failure {
  cudaError_t error = cudaSuccess;
  std::string what;  // the kernel or call
};

class Failures {
 public:
  void note(cudaError_t error, const char* what) {
    const std::lock_guard lock(mutex_);
    if (first_.error == cudaSuccess) first_ = {error, what};
  }
  // Gives it, and forgets it.
  Failure take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(first_, {});
  }

 private:
  std::mutex mutex_;
  Failure first_;
};

// Operations of one GPU, in the order in which they are launched.
struct Queue {
  cudaStream_t stream = nullptr;
  Failures* failures = nullptr;  // who is told what fails; null: nobody (the runtime knows it too)
  int multiprocessors = 132;     // by which grids are split: whatever the number, results are valid
  // [kCounters] in the GPU's memory, zero between launches: the blocks of one launch count each other in them. Each
  // queue has its own, because launches of two queues may overlap. In scratch memory they would have to be cleared
  // first, with one more launch.
  unsigned* counters = nullptr;
  static constexpr int kCounters = 64;

  // Is all well?
  bool check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return true;
    if (failures) failures->note(error, what);
    return false;
  }
};

}  // namespace hearth::gpu
