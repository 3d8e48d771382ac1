// What the commands that make a file have in common: `hearth convert` and `hearth quantize`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "convert/convert.h"

namespace hearth::cli {

struct MakingArguments {
  std::string output, recipe = "q4_k_m", imatrix;
  uint64_t target_size = 0;  // 0: by the recipe
  std::vector<std::string> tensors;
  bool dry_run = false, force = false, verbose = false;
  int threads = 0;

  // All that these arguments decide.
  void set(MakingOptions& options) const;
};

// --recipe, --target-size, --dry-run, and those below.
void add_making_options(CLI::App& command, MakingArguments& arguments);
// --tensor, --imatrix, --threads, --force, --verbose.
std::vector<CLI::Option*> add_encoding_options(CLI::App& command, MakingArguments& arguments);
std::string recipes_text();  // for help

struct Making {
  std::string begun;  // "converting DIR": the line that tells what it does, once it does it
  std::function<ConvertReport()> plan;
  std::function<ConvertReport(const std::function<bool(const ConvertProgress&)>& progress)> make;
  // Shows how far it is; false: there is nothing special to show. May throw, which ends it.
  std::function<bool(const ConvertProgress&)> show = {};
};

// Prints the plan, or makes the file with its progress shown; then what the user should know.
void make(const MakingArguments& arguments, const Making& making);

}  // namespace hearth::cli
