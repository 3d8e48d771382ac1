// Looking at every weight of a file, with all cores and a progress bar.
#pragma once

#include "quant/gguf.h"

namespace hearth::cli {

// --check: throws Error(format) naming the tensor, row, column and value of a weight that is not finite. Reads the
// whole file, at the speed of disk or memory.
void require_finite_weights(const GgufFile& file);

}  // namespace hearth::cli
