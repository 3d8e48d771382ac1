// Sizes that config.json leaves out and the tensors' shapes tell.
#pragma once

#include "convert/checkpoint.h"
#include "convert/hf_config.h"

namespace hearth {

// Fills in what is HfConfig::kAskTensors, with a note of each.
void read_sizes_off_tensors(const Checkpoint& checkpoint, HfConfig& config);

}  // namespace hearth
