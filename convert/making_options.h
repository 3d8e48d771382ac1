// What whoever makes a file may choose: by `hearth convert` or by `hearth quantize`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "convert/make_file.h"
#include "quant/gguf.h"

namespace hearth {

struct MakingOptions {
  std::string output;
  std::string recipe = "q4_k_m";
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
};

}  // namespace hearth
