// Some small copies as one operation. A copy engine takes copies of one direction in the order in which they were asked
// for, whatever the stream: a few kilobytes would wait behind megabytes of experts. A kernel reads and writes
// page-locked memory by itself.
#pragma once

#include <span>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace hearth::gpu {

// At most Device::kMostSmallMoves, each of whole words; the host's side is page-locked.
void small_moves(const Queue& queue, std::span<const Device::SmallMove> moves);

// Of the code for this GPU (Queue::kernels_wait): that kernel is at hand, and all are compiled alike.
bool kernels_wait();

}  // namespace hearth::gpu
