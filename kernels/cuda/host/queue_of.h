// The queue that an operation is to be put into.
#pragma once

#include <cassert>

#include "kernels/cuda/kernel.h"
#include "kernels/ops.h"

namespace hearth::gpu {

inline const Queue& queue_of(const Exec& exec) {
  assert(exec.queue && "Exec::queue is Device::queue()");
  return *static_cast<const Queue*>(exec.queue);
}

}  // namespace hearth::gpu
