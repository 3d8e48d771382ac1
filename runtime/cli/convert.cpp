// hearth convert CHECKPOINT_DIR OUT.gguf
#include "convert/convert.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "kernels/cpu/backend.h"
#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/planned_file.h"
#include "runtime/cli/terminal.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

struct ConvertArguments {
  ConvertOptions options;
  bool dry_run = false, verbose = false, no_mtp = false;
  int threads = 0;
};

void print_plan(const ConvertReport& report) {
  for (const auto& row : report.tensors)
    print("{:44} {:9} {:>22} {:>12}  {}\n", row.name, row.format, row.shape, row.bytes, row.note);
}

void print_notes(const ConvertReport& report) {
  for (const auto& text : report.notes) note("note: {}\n", text);
}

void convert(ConvertArguments& arguments) {
  ConvertOptions& options = arguments.options;
  options.keep_mtp = !arguments.no_mtp;
  options.check_planned = check_planned_file;
  options.n_threads = arguments.threads > 0 ? arguments.threads : default_threads();
  if (arguments.dry_run) {
    const ConvertReport plan = plan_conversion(options);
    print_plan(plan);
    print_notes(plan);
    print("{}: {} tensors, {} bytes ({}), {:.2f} bits per weight\n", options.output, plan.tensors.size(),
          plan.file_bytes, decimal_size_text(double(plan.file_bytes)), plan.bits_per_weight);
    return;
  }
  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("converting"), verifying("verifying ");
  bool begun = false;  // what is refused is refused before
  options.progress = [&](const ConvertProgress& p) {
    if (!begun) note("converting {} by recipe {}\n", options.checkpoint_dir, options.recipe);
    begun = true;
    if (p.bytes_verified > 0)
      verifying.show(p.bytes_verified, p.bytes_total, "");
    else
      bar.show(p.bytes_done, p.bytes_total, p.tensor);
    return !interrupted();
  };
  const ConvertReport report = convert_checkpoint(options);
  verifying.finish();
  if (arguments.verbose) print_plan(report);
  print_notes(report);
  const double seconds = seconds_since(start);
  note("{}: {}, {} tensors, {:.2f} bits per weight, written and verified in {:.1f} s\n", options.output,
       decimal_size_text(double(report.file_bytes)), report.tensors.size(), report.bits_per_weight, seconds);
}

}  // namespace

void add_convert(CLI::App& app) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand("convert", "turn a Hugging Face checkpoint into one quantized GGUF file");
  command
      ->add_option("checkpoint", arguments->options.checkpoint_dir,
                   "folder with config.json, *.safetensors, tokenizer.json")
      ->required();
  command->add_option("output", arguments->options.output, "the file to make")->required();
  std::string names;
  for (const auto& name : recipe_names()) names += (names.empty() ? "" : " ") + name;
  command->add_option("--recipe", arguments->options.recipe, "which format each tensor gets: " + names)
      ->capture_default_str();
  command->add_option("--threads,-t", arguments->threads, "threads; 0: one per core (default: the same)")
      ->transform(whole_number(0, 1024));
  command->add_flag("--dry-run", arguments->dry_run, "print every tensor's format and the exact size, write nothing");
  command->add_flag("--no-mtp", arguments->no_mtp, "leave out the multi-token-prediction layer of V3 and R1");
  command->add_flag("--force", arguments->options.overwrite, "replace an existing output file");
  command->add_flag("-v,--verbose", arguments->verbose, "print every tensor's format");
  command->callback([arguments] { convert(*arguments); });
}

}  // namespace hearth::cli
