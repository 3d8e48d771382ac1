// A file that `convert` is about to write, looked at as the commands that open it will look at it.
#pragma once

#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth::cli {

// Configuration, tensors and tokenizer go through the runtime's own readers. Throws their Error where they refuse the
// file; returns what will not work though the file opens.
std::vector<std::string> check_planned_file(const GgufFile& file);

}  // namespace hearth::cli
