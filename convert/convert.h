// Hugging Face checkpoint directory -> one GGUF file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/make_file.h"
#include "quant/gguf.h"

namespace hearth {

struct ConvertOptions {
  std::string checkpoint_dir, output;
  std::string recipe = "q4_k_m";
  int n_threads = 1;
  bool overwrite = false;  // if false, an existing output is refused
  // The multi-token-prediction layer of V3 and R1 (2 % of the file). true keeps it where llama.cpp-family programs,
  // which would refuse it, do not see it (gguf.h, hearth.appendix); false leaves it out.
  bool keep_mtp = true;
  // Called with the planned file, without its tensors' data, before anything is written. Whoever will open the file can
  // refuse it here (Error) or return notes for the report on what it will not do with it.
  std::function<std::vector<std::string>(const GgufFile&)> check_planned = {};
  // Called now and then from one thread. Returning false interrupts: Error(interrupted) is thrown and no file is left.
  std::function<bool(const ConvertProgress&)> progress = {};
};

struct ConvertPlanRow {
  std::string name, format, shape, note;  // note: "rows of 1408 do not fit Q4_K (256): Q5_0"
  uint64_t bytes = 0;
};

struct ConvertReport {
  uint64_t file_bytes = 0;  // exact, also for a plan
  double bits_per_weight = 0;
  std::vector<ConvertPlanRow> tensors;
  std::vector<std::string> notes;  // what the user should know: fallbacks by group, tensors skipped, odd things found,
                                   // and after a conversion weights that did not fit
};

void add_notes(ConvertReport& report, const std::vector<std::string>& notes);

// Everything but the writing: exact size and the format of each tensor. Throws Error.
ConvertReport plan_conversion(const ConvertOptions& options);
// Converts, reads the file back and verifies checksums, then renames to the final name. Throws Error.
ConvertReport convert_checkpoint(const ConvertOptions& options);

std::vector<std::string> recipe_names();

}  // namespace hearth
