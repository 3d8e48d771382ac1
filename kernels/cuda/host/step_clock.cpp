#include "kernels/cuda/host/step_clock.h"

#include <utility>

namespace hearth::gpu {

StepClock::~StepClock() {
  for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

void StepClock::step_begins() {
  running_ = std::exchange(wanted_, false);
  if (!running_) return;
  mark();
  running_ = running_ && timed(cudaEventSynchronize(events_.front()));
  began_ = std::chrono::steady_clock::now();
}

void StepClock::mark() {
  if (!running_) return;
  if (n_marks_ == events_.size()) {
    cudaEvent_t event = nullptr;
    running_ = timed(cudaEventCreate(&event));
    if (!running_) return;
    events_.push_back(event);
  }
  running_ = timed(cudaEventRecord(events_[n_marks_], queue_.stream));
  ++n_marks_;
}

void StepClock::look() {
  if (running_) looks_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count());
}

std::vector<StepSpan> StepClock::spans() const {
  std::vector<StepSpan> spans;
  const auto seconds = [&](size_t mark) {
    float ms = 0;
    return timed(cudaEventElapsedTime(&ms, events_.front(), events_[mark])) ? ms / 1e3 : 0.0;
  };
  if (n_marks_ == 0 || !timed(cudaEventSynchronize(events_[n_marks_ - 1]))) return spans;
  for (size_t i = 1; i + 1 < n_marks_; i += 2) spans.push_back({true, seconds(i), seconds(i + 1)});
  for (size_t i = 0; i + 1 < looks_.size(); i += 2) spans.push_back({false, looks_[i], looks_[i + 1]});
  return spans;
}

}  // namespace hearth::gpu
