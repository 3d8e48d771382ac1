// How fast this machine moves bytes: measured once, at the first need, and kept in a file for the next time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernels/device.h"
#include "runtime/offload/kept_figures.h"
#include "runtime/offload/machine.h"

namespace hearth {

struct CalibrationInput {
  MeasuredOn machine;                // what was measured under other conditions is measured anew
  Device* gpu_device = nullptr;      // null: no GPU
  std::string model;                 // a large file on the disk in question; empty: none
  uint64_t model_key = 0;            // of expert_stats.h: what was seen of this model counts
  bool again = false;                // measure what is kept, too
  size_t bytes = size_t(512) << 20;  // of memory to measure with
  double seconds = 0.12;             // for each look at the memory, of which the best counts
  std::function<void(std::string_view what)> progress = {};  // told before each of what takes some tenths of a second
};

struct MeasuredBandwidths {
  Machine machine;    // budgets 0; what is not there, or cannot be measured, is 0 as well
  int64_t since = 0;  // when the oldest of them was measured: seconds since 1970
};

// They come from what is kept (runtime/offload/kept_figures.h) where that is of the same processor and threads (and the
// same GPU and disk), else they are measured and kept. A machine that was busy when it was measured is not slow for
// good: memory is looked at again each time, and the fastest that was ever seen counts, keep_seen's among it.
// Throws Error(resource): no memory of the host's to measure with.
MeasuredBandwidths measured_bandwidths(const CalibrationInput& input);

}  // namespace hearth
