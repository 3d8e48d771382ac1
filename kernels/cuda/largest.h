// The k largest of each row (logits).
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// Ops::largest: x [T,n], without [ceil(n / 32)] -> best [T,k].
void largest(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best);

size_t largest_scratch(const ScratchLimits& limits);

}  // namespace hearth::gpu
