// A file's metadata as the model's hyper-parameters.
#pragma once

#include "quant/gguf.h"
#include "runtime/model/config.h"

namespace hearth {

// A key that is missing is derived from tensors' shapes where they tell, else guessed from the class (V2 or V3) where
// its published models agree, else refused. Throws Error(model) for another architecture, a missing, unknown or
// contradictory key: named, with expected and found.
ModelConfig read_config(const GgufFile& file);

}  // namespace hearth
