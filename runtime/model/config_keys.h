// Keys of the architecture that this program does not compute with.
#pragma once

#include "quant/gguf.h"

namespace hearth {

// A key of the architecture that nothing here reads may change the result, as an unknown tensor may (a temperature of
// attention, a scale of logits, a window). It is refused, unless its value says "none of it" or the key is known to
// change nothing. Throws Error(model) naming key and value.
void refuse_unknown_keys(const GgufMetadata& metadata);

}  // namespace hearth
