// The metadata of an older file, as current programs would write them.
#pragma once

#include "quant/gguf.h"
#include "runtime/model/config.h"

namespace hearth {

// The file's metadata with every key of the model that files of today have: those that are missing are filled in as
// read_config finds them, heads' widths and layers for multi-token prediction are told as in our own files. The latter
// are those whose tensors are there. `config` is what read_config says of this file.
GgufMetadata current_keys(const GgufFile& file, const ModelConfig& config);

}  // namespace hearth
