// Times one step: when the GPU was at work, and when the host had its turns. Events with times are recorded before and
// after each piece of the step, and the host's clock is read before and after each turn; both count from the step's
// beginning.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <vector>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace hearth::gpu {

class StepClock {
 public:
  explicit StepClock(const Queue& queue) : queue_(queue) {}
  ~StepClock();

  void time_next_step() {
    wanted_ = true;
    n_marks_ = 0;
    looks_.clear();
  }
  // These do nothing unless the step is to be timed.
  void step_begins();  // waits for what was queued before
  void step_ends() { running_ = false; }
  void piece_begins() { mark(); }
  void piece_ends() { mark(); }
  void turn_begins() { look(); }
  void turn_ends() { look(); }
  // The spans of the last step that was timed; waits for the GPU.
  std::vector<StepSpan> spans() const;

 private:
  bool timed(cudaError_t error) const { return queue_.check(error, "timing a step"); }
  void mark();
  void look();

  const Queue& queue_;
  bool wanted_ = false, running_ = false;
  std::vector<cudaEvent_t> events_;  // created when first needed: the step's beginning, then two for each piece
  size_t n_marks_ = 0;               // events recorded in this step
  std::chrono::steady_clock::time_point began_;
  std::vector<double> looks_;  // two for each turn
};

}  // namespace hearth::gpu
