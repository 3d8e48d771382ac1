// How many tokens of a prompt the CPU runs at once, where nobody says.
//
// Every slice of a prompt reads and unpacks nearly all experts, whatever its length: of 512 tokens an expert of V3 sees
// 16. From about 128 on longer slices gain nothing (docs/measurements.md, "Slices of a prompt").
#pragma once

#include <cstdint>

#include "runtime/offload/placement.h"

namespace hearth {

// At most so many tokens of a prompt are one slice: all of a shorter prompt. 512, or as many more, up to 4096, as give
// an expert 128 tokens; up to 4096 also where experts come from the disk, once for each slice. Fewer, but never less
// than 512, where the working memory for it is more than a sixteenth of input.machine.ram, or would push weights out:
// where the model fits, there must be room for that memory twice. Never more than the context.
//
// The memory is a reservation: host buffers take none until they are written (kernels/cpu/device.cpp), and a step
// writes as much of them as it has tokens. Who never sends a long prompt never pays for one.
int64_t host_ubatch(const ModelSizes& model, const PlacementInput& input);

}  // namespace hearth
