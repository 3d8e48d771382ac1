// The queue that an operation is to be put into.
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/ops.h"

namespace hearth::gpu {

// Without any (in tests) it is the runtime's own.
inline Queue queue_of(const Exec& exec) {
  return exec.queue ? *static_cast<const Queue*>(exec.queue) : Queue{};
}

}  // namespace hearth::gpu
