// How fast this machine moves bytes: measured once, at the first need, and kept in a file for the next time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernels/device.h"
#include "runtime/offload/machine.h"
#include "runtime/offload/prefill_share.h"

namespace hearth {

struct CalibrationInput {
  int n_threads = 1;
  std::string cpu, gpu;                                      // in words: what was measured with others is measured anew
  Device* gpu_device = nullptr;                              // null: no GPU
  std::string model;                                         // a large file on the disk in question; empty: none
  std::string folder;                                        // of what is kept; empty: nothing is
  uint64_t model_key = 0;                                    // of expert_stats.h: what was seen of this model counts
  bool again = false;                                        // measure what is kept, too
  size_t bytes = size_t(512) << 20;                          // of memory to measure with
  double seconds = 0.12;                                     // for each look at the memory, of which the best counts
  std::function<void(std::string_view what)> progress = {};  // told before each of what takes some tenths of a second
};

struct MeasuredBandwidths {
  Machine machine;    // budgets 0; what is not there, or cannot be measured, is 0 as well
  int64_t since = 0;  // when the oldest of them was measured: seconds since 1970
};

// They come from FOLDER/bandwidth.json where that holds them for the same processor and threads (and the same GPU and
// disk), else they are measured and kept there. Such a file that is damaged or somebody else's counts for nothing, and
// one that cannot be written is not missed. A machine that was busy when it was measured is not slow for good: memory
// is looked at again each time, and the fastest that was ever seen counts, keep_seen's among it.
// Throws Error(resource): no memory of the host's to measure with.
MeasuredBandwidths measured_bandwidths(const CalibrationInput& input);

// What a model that runs has seen of this machine, in bytes/s; 0: nothing.
struct SeenBandwidths {
  double memory = 0;    // measured beside it
  double decoding = 0;  // that it read itself: more than memory gives where it fits the processor's caches
  bool on_gpu = false;  // of the GPU's memory
};
// Raises what is kept under the same conditions; figures of other conditions stay.
void keep_seen(const CalibrationInput& machine, uint64_t model_key, const SeenBandwidths& seen);

// The rates at which prompts of a model run here, as earlier sessions saw them; 0: not known. They are in the same
// file, under the same conditions; of `machine` only what names it is looked at.
PrefillRates kept_rates(const CalibrationInput& machine, uint64_t model_key);
void keep_rates(const CalibrationInput& machine, uint64_t model_key, const PrefillRates& rates);

// $XDG_CACHE_HOME/hearth, or ~/.cache/hearth; empty: neither variable is an absolute path.
std::string cache_folder();

}  // namespace hearth
