// Hugging Face checkpoint directory -> one GGUF file.
#pragma once

#include <string>
#include <vector>

#include "convert/format_plan.h"
#include "convert/making_options.h"
#include "convert/shard_source.h"

namespace hearth {

struct ConvertOptions : MakingOptions {
  std::string checkpoint_dir;
  // The multi-token-prediction layer of V3 and R1 (2 % of the file). true keeps it where llama.cpp-family programs,
  // which would refuse it, do not see it (gguf.h, hearth.appendix); false leaves it out.
  bool keep_mtp = true;
  // Who has the checkpoint's safetensors files, if not the folder (all else is there); they may still have to come.
  // Then nothing of their weights is looked at before the file is made: no `target_bytes`, and of a plan no estimate.
  ShardSource* shards = nullptr;
};

// Everything but the writing: exact size, the format of each tensor, and what it will take. Throws Error.
ConvertReport plan_conversion(const ConvertOptions& options);
// Converts, reads the file back and verifies checksums, then renames to the final name; goes on with what an earlier
// run left (make_file.h). Throws Error.
ConvertReport convert_checkpoint(const ConvertOptions& options);

std::vector<std::string> recipe_names();

}  // namespace hearth
