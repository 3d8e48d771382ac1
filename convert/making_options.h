// What whoever makes a file may choose: by `hearth convert` or by `hearth quantize`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "convert/make_file.h"
#include "quant/gguf.h"

namespace hearth {

struct MakingOptions {
  std::string output;
  std::string recipe = "q4_k_m";
  // In place of a recipe: the formats that lose least in a file of at most so many bytes (size_target.h).
  std::optional<uint64_t> target_bytes = {};
  std::vector<std::string> tensor_rules;  // "PATTERN=FORMAT" (format_plan.h); the last that matches counts
  std::string imatrix;  // path: importance by which errors are weighed (importance.h); empty: all columns count alike
  int n_threads = 1;
  bool overwrite = false;  // if false, an existing output is refused
  // Called with the planned file, without its tensors' data, before anything is written. Whoever will open the file can
  // refuse it here (Error) or return notes for the report on what it will not do with it.
  std::function<std::vector<std::string>(const GgufFile&)> check_planned = {};
  // Called now and then from one thread. Returning false interrupts: Error(interrupted) is thrown. What is finished is
  // kept for the next run (make_file.h).
  std::function<bool(const ConvertProgress&)> progress = {};

  // What stands in the file, and what decides where no rule and no size does.
  std::string recipe_name() const { return target_bytes ? "fitted" : recipe; }
  std::string base_recipe() const { return target_bytes ? "q8_0" : recipe; }
};

}  // namespace hearth
