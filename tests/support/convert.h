// A checkpoint's folder -> a file by a recipe, all else as the command would have it.
#pragma once

#include "convert/convert.h"
#include "tests/support/paths.h"

namespace hearth::test {

inline ConvertReport convert(const fs::path& folder, const std::string& output, const std::string& recipe) {
  ConvertOptions options;
  options.checkpoint_dir = folder.string();
  options.output = output;
  options.recipe = recipe;
  options.n_threads = 2;
  return convert_checkpoint(options);
}

}  // namespace hearth::test
