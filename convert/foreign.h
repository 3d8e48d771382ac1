// Refuses what people give to `convert` that is no checkpoint of this family, and says what it is.
#pragma once

#include <string>
#include <vector>

#include "convert/safetensors.h"

namespace hearth {

// Throws Error(file) or Error(model) for anything that is not a folder with a config.json: a file, a GGUF file, a LoRA
// adapter, a folder of GGUF files. The message says what to do instead.
void require_checkpoint_folder(const std::string& dir);

// What the unknown tensors say about the checkpoint's kind: " (...)", or nothing.
std::string layout_hint(const std::vector<const SourceTensor*>& unknown);

}  // namespace hearth
