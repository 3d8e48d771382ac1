// hearth export MODEL.gguf|CHECKPOINT OUT_DIR
#include "convert/export/export.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "kernels/cpu/backend.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/terminal.h"
#include "runtime/model/current_keys.h"
#include "runtime/model/read_config.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

struct ExportArguments {
  std::string source, output, format;
  bool attention = false, dry_run = false, force = false;
  uint64_t shard_size = uint64_t(5) << 30;
  int threads = 0;
};

ExportOptions options_of(const ExportArguments& arguments) {
  ExportOptions options;
  options.source = arguments.source;
  options.output = arguments.output;
  options.format = find_export_format(arguments.format);
  require(!arguments.attention || options.format == ExportFormat::kInt4, ErrorKind::usage,
          "--attention is for --format int4: {} has all linear layers anyway", arguments.format);
  options.all_linears = arguments.attention;
  options.shard_bytes = arguments.shard_size;
  options.n_threads = arguments.threads > 0 ? arguments.threads : default_threads();
  options.overwrite = arguments.force;
  options.current_metadata = [](const GgufFile& file, std::vector<std::string>& notes) {
    const ModelConfig config = read_config(file);
    notes.insert(notes.end(), config.notes.begin(), config.notes.end());
    return current_keys(file, config);
  };
  return options;
}

void print_notes(const ExportReport& report) {
  for (const auto& text : report.notes) note("note: {}\n", text);
}

std::string files_text(const ExportReport& report) {
  return fmt::format("{} file{}", report.shards.size(), report.shards.size() == 1 ? "" : "s");
}

void print_plan(const ExportReport& report, const ExportOptions& options) {
  for (const ExportReport::File& shard : report.shards)
    print("{}  {:6} tensors {:>14}\n", shard.name, shard.n_tensors, shard.bytes);
  print_notes(report);
  print("{}: {}, {} tensors, {} bytes ({})\n", options.output, files_text(report), report.n_tensors, report.bytes,
        decimal_size_text(double(report.bytes)));
  print("memory: at most {} on {} thread{}\n", decimal_size_text(double(report.memory_bytes)), options.n_threads,
        options.n_threads == 1 ? "" : "s");
}

void export_to_folder(const ExportArguments& arguments) {
  ExportOptions options = options_of(arguments);
  if (arguments.dry_run) return print_plan(plan_export(options), options);
  catch_interrupts();
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar("exporting");
  bool begun = false;  // what is refused is refused before
  options.progress = [&](const ExportProgress& p) {
    if (!begun) note("exporting {} as {}\n", options.source, export_format_name(options.format));
    if (!begun && !p.earlier.empty()) note("{}\n", p.earlier);
    begun = true;
    bar.show(p.bytes_done, p.bytes_total, p.weight);
    return !interrupted();
  };
  const ExportReport report = export_model(options);
  bar.finish();
  print_notes(report);
  note("{}: {}, {} tensors in {}, written in {:.1f} s\n", options.output, decimal_size_text(double(report.bytes)),
       report.n_tensors, files_text(report), seconds_since(start));
}

}  // namespace

void add_export(CLI::App& app) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand("export", "turn a GGUF file into a checkpoint for vLLM and SGLang");
  command->add_option("source", arguments->source, "a GGUF file, any part of a split one, or a checkpoint's folder")
      ->required();
  command->add_option("output", arguments->output, "the folder to make")->required();
  command->add_option("--format", arguments->format, "what the weights become: " + export_format_names())->required();
  command->add_flag("--attention", arguments->attention,
                    "int4: all linear layers, not those of the routed experts alone");
  command->add_option("--shard-size", arguments->shard_size, "bytes of a file of weights at most (default: 5G)")
      ->transform(memory_bytes());
  command->add_option("--threads,-t", arguments->threads, "threads; 0: one per core (default: the same)")
      ->transform(whole_number(0, 1024));
  command->add_flag("--dry-run", arguments->dry_run, "print the files and their sizes; write nothing");
  command->add_flag("--force", arguments->force, "replace the model that lies in the folder");
  command->callback([arguments] { export_to_folder(*arguments); });
}

}  // namespace hearth::cli
