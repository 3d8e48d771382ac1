// hearth inspect MODEL.gguf: what is in the file.
#include "runtime/eval/inspect.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "quant/error.h"
#include "quant/gguf.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"
#include "runtime/eval/expert_plots.h"
#include "runtime/eval/inspect_json.h"
#include "runtime/model/mtp.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/support/size_text.h"
#include "runtime/support/text_file.h"

namespace hearth::cli {
namespace {

struct InspectArguments {
  std::string path, mtp, experts, svg;
  bool tensors = false, metadata = false, json = false;
};

void print_facts(const std::vector<Fact>& facts) {
  for (const auto& fact : facts) print("  {:18} {}\n", fact.name, fact.value);
}

void print_groups(const InspectReport& report) {
  print("\n  {:16} {:10} {:>8} {:>14} {:>14} {:>6}\n", "tensors", "format", "count", "parameters", "bytes", "bits");
  for (const auto& group : report.groups)
    print("  {:16} {:10} {:>8} {:>14} {:>14} {:>6.2f}\n", tensor_role_name(group.role), group.format->name,
          group.n_tensors, count_text(double(group.n_parameters)), decimal_size_text(double(group.bytes)),
          group.bits_per_weight());
  print("  {:16} {:10} {:>8} {:>14} {:>14} {:>6.2f}\n", "all", "", report.n_tensors,
        count_text(double(report.n_parameters)), decimal_size_text(double(report.tensor_bytes)),
        report.bits_per_weight);
  if (report.n_active_parameters > 0)
    print("  {:16} {:10} {:>8} {:>14}\n", "used per token", "", "", count_text(double(report.n_active_parameters)));
}

void inspect_file(const InspectArguments& arguments) {
  GgufFile file = GgufFile::open(arguments.path);
  if (!arguments.mtp.empty()) add_mtp_file(file, GgufFile::open(arguments.mtp));
  const InspectReport report = inspect(file);
  if (arguments.json) return print("{}\n", inspect_json(file, report));
  print("{}: {}", arguments.path, decimal_size_text(double(report.file_bytes)));
  print("{}\n", report.n_parts > 1 ? fmt::format(" in {} parts", report.n_parts) : "");
  print_facts(report.model);
  print_facts(report.vocabulary);
  print_facts(report.origin);
  if (!report.why_not.empty()) print("  {:18} no: {}\n", "runs here", report.why_not);
  if (report.n_tensors > 0) print_groups(report);
  if (arguments.metadata) {
    print("\n");
    for (const auto& [name, value] : file.metadata().entries()) print("  {} = {}\n", name, value.text());
  }
  if (arguments.tensors) {
    print("\n");
    for (const auto& tensor : file.tensors())
      print("  {:44} {:10} {:>22} {:>14}\n", tensor.name, tensor.format->name, tensor.shape.text(), tensor.bytes());
  }
}

void print_expert_names(const char* what, const std::vector<ExpertShares::Expert>& experts) {
  print("  {:18}", what);
  for (const auto& e : experts) print(" {}/{} ({:.2f} %)", e.layer, e.expert, 100 * e.share);
  print("\n");
}

// How much each expert is used: in words, and as a picture. The picture alone where it goes to standard output.
void inspect_experts(const InspectArguments& arguments) {
  const ExpertStats stats = read_expert_stats(arguments.experts);
  if (!arguments.svg.empty()) {
    write_text_file(arguments.svg, plot_heat_map(stats));
    if (arguments.svg == "-") return;
  }
  const ExpertShares shares = expert_shares(stats);
  print("{}: {} MoE layers of {} experts, {:.0f} tokens\n", arguments.experts, stats.n_layers, stats.n_experts,
        stats.tokens);
  print("  {:18} {:.1f} % of all use (evenly used: 10 %)\n", "busiest 10 %", 100 * shares.top_10);
  print("  {:18} {:.1f} % of all use (evenly used: 30 %)\n", "busiest 30 %", 100 * shares.top_30);
  print("  {:18} {} of {} experts\n", "never used", shares.never, stats.counts.size());
  print("  {:18} layer/expert (share of tokens)\n", "");
  print_expert_names("most used", shares.most);
  print_expert_names("least used", shares.least);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "what is in a model file");
  CLI::Option* model = command->add_option("model", arguments->path, "a GGUF file");
  command->add_flag("--tensors", arguments->tensors, "list every tensor");
  command->add_flag("--metadata", arguments->metadata, "list every metadata key");
  CLI::Option* json = command->add_flag("--json", arguments->json, "all of this as one JSON document");
  CLI::Option* mtp = command->add_option(
      "--mtp", arguments->mtp, "with the layer for multi-token prediction that lies beside the model: mtp-*.gguf");
  CLI::Option* experts = command->add_option("--experts", arguments->experts,
                                             "instead of a model, statistics of its experts: MODEL.gguf.experts");
  for (CLI::Option* option : {model, json, mtp}) experts->excludes(option);
  command->add_option("--svg", arguments->svg, "with --experts: write a heat map; -: to standard output")
      ->needs(experts);
  command->callback([arguments, experts] {
    if (experts->count() > 0) return inspect_experts(*arguments);
    require(!arguments->path.empty(), ErrorKind::usage, "inspect: which file? (see: hearth inspect --help)");
    inspect_file(*arguments);
  });
}

}  // namespace hearth::cli
