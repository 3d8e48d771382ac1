// Sizes that config.json leaves out and that the tensors' shapes show.
#pragma once

#include "convert/checkpoint.h"
#include "convert/hf_config.h"

namespace hearth {

// Sets the fields that are HfConfig::kAskTensors, with a note for each.
void read_sizes_off_tensors(const Checkpoint& checkpoint, HfConfig& config);

}  // namespace hearth
