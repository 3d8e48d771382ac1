// The CUDA backend as the rest of the program sees it: plain C++, with or without a toolkit at build time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/ops.h"

namespace hearth {

// What --device calls it: "cuda", or "emulated" in the test program whose kernels run on the CPU (tests/emulation).
const char* gpu_name();

struct Gpu {
  const Ops* ops = nullptr;  // null: none can be used
  Device* device = nullptr;  // null as well
  std::string why_not;       // "this build has no CUDA back end (...)", "the NVIDIA driver found no GPU (...)"
  std::string description;   // "NVIDIA H200, sm_90, 139.7 GiB"
  // "this build has no code for sm_103: ...", a minute's work for the driver at the first start; empty: it has.
  std::string slow_start;
};

// Which GPU open_gpu takes, by its number from 0. Only before it is opened; not called: the one with the most memory.
void choose_gpu(int number);
// That GPU, opened once: every call returns the same. Never throws; without a driver it says so.
const Gpu& open_gpu();

// A GPU by its number, from 0, with a queue and books of its own; `device` is filled with what the returned one points
// to, and the caller owns it.
Gpu new_gpu(int number, std::unique_ptr<Device>& device);

// Ops::scratch_bytes where none is at hand to be asked: not less than it takes.
size_t estimated_gpu_scratch(const ScratchLimits& limits);

}  // namespace hearth
