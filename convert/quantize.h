// A GGUF file -> the same model by another recipe, in one file.
#pragma once

#include <string>

#include "convert/format_plan.h"
#include "convert/making_options.h"

namespace hearth {

struct QuantizeOptions : MakingOptions {
  std::string input;  // any part of a split file
};

// Everything but the writing: exact size, the format of each tensor, and what it will take. Throws Error.
ConvertReport plan_quantization(const QuantizeOptions& options);
// What is in the recipe's format already is copied, the rest is decoded and encoded anew. All metadata is kept but what
// tells of the file itself. Reads the file back and verifies checksums, then renames to the final name. Throws Error.
ConvertReport quantize_file(const QuantizeOptions& options);

}  // namespace hearth
