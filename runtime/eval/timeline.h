// One token on two devices: when each was at work, and how much of the time both were.
#pragma once

#include <span>
#include <string>

#include "kernels/device.h"

namespace hearth {

struct Timeline {
  double seconds = 0;                  // to the end of the last span
  double gpu = 0, host = 0, both = 0;  // seconds of them at work
  std::string gpu_row, host_row;       // `#`: at work for most of that part of the time, `-`: for some of it
};

// The spans in any order; those of one device do not overlap, but may touch. `width`: of the rows.
Timeline timeline(std::span<const StepSpan> spans, int width = 100);

}  // namespace hearth
