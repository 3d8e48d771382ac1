// What went wrong on a GPU: the first thing since somebody last asked. From any thread.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <string>
#include <utility>

namespace hearth::gpu {

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

// Operations of one GPU, in the order in which they are launched; and who is told what fails in it, null: nobody (the
// runtime knows it too).
struct Queue {
  cudaStream_t stream = nullptr;
  Failures* failures = nullptr;

  // Is all well?
  bool check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return true;
    if (failures) failures->note(error, what);
    return false;
  }
};

}  // namespace hearth::gpu
