// hearth pull REPOSITORY --convert RECIPE: a checkpoint becomes one file while it is fetched.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "runtime/cli/making.h"
#include "runtime/hub/pull.h"

namespace hearth::cli {

struct ConvertOnTheWay : MakingArguments {
  std::string convert;  // the recipe; empty: the checkpoint is fetched as it is
  size_t keep_shards = 0;
  bool no_mtp = false;
};

void add_convert_on_the_way(CLI::App& command, ConvertOnTheWay& arguments);

// The file's name, where none was given: "deepseek-v2-lite-chat.gguf".
std::string output_name(const std::string& repository);

// `plan`: of a checkpoint whose small files are there and whose tensors are left for later. Prints the new file's path.
void convert_on_the_way(ConvertOnTheWay arguments, const hub::PullOptions& options, const hub::PullPlan& plan,
                        const hub::Tell& tell);

}  // namespace hearth::cli
