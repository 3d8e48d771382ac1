// A GGUF file -> the same model by another recipe, in one file.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "quant/gguf.h"

namespace hearth {

struct QuantizeOptions {
  std::string input, output;  // input: any part of a split file
  std::string recipe = "q4_k_m";
  int n_threads = 1;
  bool overwrite = false;  // if false, an existing output is refused
  // As those of ConvertOptions.
  std::function<std::vector<std::string>(const GgufFile&)> check_planned = {};
  std::function<bool(const ConvertProgress&)> progress = {};
};

// Everything but the writing: exact size and the format of each tensor. Throws Error.
ConvertReport plan_quantization(const QuantizeOptions& options);
// What is in the recipe's format already is copied, the rest is decoded and encoded anew. All metadata is kept but what
// tells of the file itself. Reads the file back and verifies checksums, then renames to the final name. Throws Error.
ConvertReport quantize_file(const QuantizeOptions& options);

}  // namespace hearth
