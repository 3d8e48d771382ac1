#include "runtime/cli/making.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/cpu/backend.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/planned_file.h"
#include "runtime/cli/terminal.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

void print_plan(const ConvertReport& report) {
  for (const auto& row : report.tensors)
    print("{:44} {:9} {:>22} {:>12}  {}\n", row.name, row.format, row.shape, row.bytes, row.note);
}

void print_notes(const ConvertReport& report) {
  for (const auto& text : report.notes) note("note: {}\n", text);
}

// "about 35 to 50 minutes"
std::string time_text(double least, double most) {
  const bool minutes = most > 180;
  const auto whole = [&](double seconds) { return std::max(1L, std::lround(minutes ? seconds / 60 : seconds)); };
  const long from = whole(least), to = whole(most);
  const char* unit = minutes ? "minutes" : to == 1 ? "second" : "seconds";
  return from == to ? fmt::format("about {} {}", to, unit) : fmt::format("about {} to {} {}", from, to, unit);
}

void print_estimate(const MakingEstimate& e) {
  print("memory: at most {}\n", decimal_size_text(double(e.memory_bytes)));
  print("time: {}: encoding at {}/s on {} thread{}", time_text(e.least_seconds, e.most_seconds),
        decimal_size_text(e.encode_bytes_per_second), e.n_threads, e.n_threads == 1 ? "" : "s");
  if (e.disk_bytes_per_second > 0) {
    print("; {} to read and {} to write and read back, at {}/s if both disks are as fast as the first",
          decimal_size_text(double(e.source_bytes)), decimal_size_text(double(e.file_bytes)),
          decimal_size_text(e.disk_bytes_per_second));
  }
  print("\n");
}

}  // namespace

void MakingArguments::set(MakingOptions& options) const {
  options.output = output;
  options.recipe = recipe;
  if (target_size > 0) options.target_bytes = target_size;
  options.tensor_rules = tensors;
  options.imatrix = imatrix;
  options.n_threads = threads > 0 ? threads : default_threads();
  options.overwrite = force;
  options.check_planned = check_planned_file;
}

std::string recipes_text() {
  std::string names;
  for (const auto& name : recipe_names()) names += name + " ";
  return names + "keep (what the source has)";
}

void add_making_options(CLI::App& command, MakingArguments& arguments) {
  CLI::Option* recipe =
      command.add_option("--recipe", arguments.recipe, "which format each tensor gets: " + recipes_text());
  recipe->capture_default_str();
  command
      .add_option("--target-size", arguments.target_size,
                  "in place of a recipe: the formats that lose least in a file of at most this size, as 110G, by the "
                  "error that they are measured to make (with --imatrix: where it matters)")
      ->transform(memory_bytes())
      ->excludes(recipe);
  command.add_flag("--dry-run", arguments.dry_run,
                   "print every tensor's format, the exact size, memory and time; write nothing");
  add_encoding_options(command, arguments);
}

std::vector<CLI::Option*> add_encoding_options(CLI::App& command, MakingArguments& arguments) {
  std::vector<CLI::Option*> options;
  options.push_back(
      command
          .add_option("--tensor", arguments.tensors,
                      "PATTERN=FORMAT: matrices in whose names the regular expression is found get that format "
                      "(ffn_down_exps=q6_k); may be given more than once, the last that matches counts")
          ->allow_extra_args(false));
  options.push_back(command.add_option(
      "--imatrix", arguments.imatrix,
      "importance of the weights' columns, as hearth imatrix or llama-imatrix gathers it: .gguf or .dat"));
  options.push_back(
      command.add_option("--threads,-t", arguments.threads, "threads; 0: one per core (default: the same)")
          ->transform(whole_number(0, 1024)));
  options.push_back(command.add_flag("--force", arguments.force, "replace an existing output file"));
  options.push_back(command.add_flag("-v,--verbose", arguments.verbose, "print every tensor's format"));
  return options;
}

void make(const MakingArguments& arguments, const Making& making) {
  if (arguments.dry_run) {
    const ConvertReport plan = making.plan();
    print_plan(plan);
    print_notes(plan);
    print("{}: {} tensors, {} bytes ({}), {:.2f} bits per weight\n", arguments.output, plan.tensors.size(),
          plan.file_bytes, decimal_size_text(double(plan.file_bytes)), plan.bits_per_weight);
    if (plan.estimate.memory_bytes > 0) print_estimate(plan.estimate);
    return;
  }
  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("converting"), verifying("verifying ");
  bool begun = false;  // what is refused is refused before
  const ConvertReport report = making.make([&](const ConvertProgress& p) {
    if (!begun)
      note("{}{}\n", making.begun, arguments.target_size > 0 ? ", fitted to a size" : " by recipe " + arguments.recipe);
    if (!begun && !p.earlier.empty()) note("{}\n", p.earlier);
    begun = true;
    if (making.show && making.show(p)) return !interrupted();
    if (p.bytes_done == p.bytes_total)
      verifying.show(p.bytes_verified, p.bytes_total, "");
    else
      bar.show(p.bytes_done, p.bytes_total, p.tensor);
    return !interrupted();
  });
  verifying.finish();
  if (arguments.verbose) print_plan(report);
  print_notes(report);
  note("{}: {}, {} tensors, {:.2f} bits per weight, written and verified in {:.1f} s\n", arguments.output,
       decimal_size_text(double(report.file_bytes)), report.tensors.size(), report.bits_per_weight,
       seconds_since(start));
}

}  // namespace hearth::cli
