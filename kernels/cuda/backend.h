// The CUDA backend as the rest of the program sees it: plain C++, with or without a toolkit at build time.
#pragma once

#include <string>
#include <vector>

#include "kernels/ops.h"

namespace hearth {

// What --device calls it: "cuda", or "emulated" in the test program whose kernels run on the CPU (tests/emulation).
const char* gpu_name();

struct Gpu {
  const Ops* ops = nullptr;  // null: none can be used
  std::string why_not;       // "this build has no CUDA back end (...)", "the NVIDIA driver found no GPU (...)"
  std::string description;   // "NVIDIA H200, sm_90, 139.7 GiB"
};

// The first GPU, opened once: every call returns the same. Never throws; without a driver it says so.
const Gpu& open_gpu();

// Why copies are slower than they could be: "the system refused to lock ...". Empty: nothing was refused so far.
std::string gpu_refusal();

// For tests and benchmarks: how often a step was queued anew, and how often a recorded one was repeated.
struct StepCounts {
  int queued = 0, recorded = 0, repeated = 0;
};
StepCounts gpu_step_counts();

// For reports: when the GPU was at work in a step, and when the host was in its turns, in seconds since it began.
struct StepSpan {
  bool on_gpu = false;
  double begin = 0, end = 0;
};
void time_next_gpu_step();               // of those that are recorded
std::vector<StepSpan> timed_gpu_step();  // the last one that was timed; empty: none was

}  // namespace hearth
