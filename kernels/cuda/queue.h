// A GPU's queue, as operations are given it, and what went wrong in it.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

namespace hearth::gpu {

// The least that one of our GPUs lets a block have (sm_89, sm_120), and what a block has without asking.
inline constexpr size_t kMaxSharedBytes = 99 * 1024, kUsualSharedBytes = 48 * 1024;

// The first thing that went wrong since somebody last asked. From any thread.
struct Failure {
  cudaError_t error = cudaSuccess;
  std::string what;  // the kernel or call
};

class Failures {
 public:
  void note(cudaError_t error, const char* what) {
    const std::lock_guard lock(mutex_);
    Failure& first = std::this_thread::get_id() == thread_apart_ ? first_apart_ : first_;
    if (first.error == cudaSuccess) first = {error, what};
  }
  // Gives it, and forgets it.
  Failure take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(first_, {});
  }
  // What fails on this thread from here on is kept apart, for `take_apart`, which also ends this.
  void keep_apart() {
    const std::lock_guard lock(mutex_);
    thread_apart_ = std::this_thread::get_id();
  }
  Failure take_apart() {
    const std::lock_guard lock(mutex_);
    thread_apart_ = {};
    return std::exchange(first_apart_, {});
  }

 private:
  std::mutex mutex_;
  Failure first_, first_apart_;
  std::thread::id thread_apart_;
};

// Lets a kernel have more dynamic shared memory than the usual, as much as a block can have. The limit is an attribute
// of the kernel, and never lowered: a smaller launch would leave a larger one that is recorded above it.
inline cudaError_t raise_shared_memory_limit(const void* kernel) {
  cudaFuncAttributes attributes{};
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel)) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              int(kMaxSharedBytes - attributes.sharedSizeBytes));
}

// The kernels whose limit was raised on one GPU: once each.
class SharedMemoryLimits {
 public:
  cudaError_t raise(const void* kernel) {
    const std::lock_guard lock(mutex_);
    if (raised_.contains(kernel)) return cudaSuccess;
    const cudaError_t error = raise_shared_memory_limit(kernel);
    if (error == cudaSuccess) raised_.insert(kernel);
    return error;
  }

 private:
  std::mutex mutex_;
  std::set<const void*> raised_;
};

// For events that threads in the background wait for: asleep, because the host's experts want the cores.
inline constexpr unsigned kBackgroundEvent = cudaEventDisableTiming | cudaEventBlockingSync;

// Operations of one GPU, in the order in which they are launched.
struct Queue {
  cudaStream_t stream = nullptr;
  Failures* failures = nullptr;  // who is told what fails; null: nobody (the runtime knows it too)
  int multiprocessors = 132;     // by which grids are split: whatever the number, results are valid
  // Have bf16 products with float sums half of the rate that the tensor cores would have for their int8 ones? GeForce.
  bool halved_float_sums = false;
  // [kCounters] in the GPU's memory, zero between launches: the blocks of one launch count each other in them. Each
  // queue has its own, because launches of two queues may overlap. In scratch memory they would have to be cleared
  // first, with one more launch.
  unsigned* counters = nullptr;
  SharedMemoryLimits* limits = nullptr;  // null: nobody remembers which kernels' were raised
  // Whether the code that this GPU runs has the instruction behind wait_for_earlier (kernel.h): kernels may begin
  // early.
  bool kernels_wait = false;
  static constexpr int kCounters = 64;

  // Is all well?
  bool check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return true;
    if (failures) failures->note(error, what);
    return false;
  }
};

}  // namespace hearth::gpu
