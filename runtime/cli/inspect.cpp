// hearth inspect MODEL.gguf: what is in the file. hearth verify MODEL.gguf: whether it still is what was written.
#include "runtime/inspect.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/backend.h"
#include "quant/error.h"
#include "quant/gguf.h"
#include "quant/verify.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

struct InspectArguments {
  std::string path;
  bool tensors = false, metadata = false;
};

void print_facts(const std::vector<Fact>& facts) {
  for (const auto& fact : facts) print("  {:18} {}\n", fact.name, fact.value);
}

void print_groups(const InspectReport& report) {
  print("\n  {:16} {:8} {:>8} {:>14} {:>14} {:>6}\n", "tensors", "format", "count", "parameters", "bytes", "bits");
  for (const auto& group : report.groups)
    print("  {:16} {:8} {:>8} {:>14} {:>14} {:>6.2f}\n", tensor_role_name(group.role), group.format->name,
          group.n_tensors, count_text(group.n_parameters), bytes_text(group.bytes), group.format->bits_per_weight());
  print("  {:16} {:8} {:>8} {:>14} {:>14} {:>6.2f}\n", "all", "", report.n_tensors, count_text(report.n_parameters),
        bytes_text(report.tensor_bytes), report.bits_per_weight);
  if (report.n_active_parameters > 0)
    print("  {:16} {:8} {:>8} {:>14}\n", "used per token", "", "", count_text(report.n_active_parameters));
}

void inspect_file(const InspectArguments& arguments) {
  const GgufFile file = GgufFile::open(arguments.path);
  const InspectReport report = inspect(file);
  print("{}: {}", arguments.path, bytes_text(report.file_bytes));
  print("{}\n", report.n_parts > 1 ? fmt::format(" in {} parts", report.n_parts) : "");
  print_facts(report.model);
  print_facts(report.vocabulary);
  print_facts(report.origin);
  if (!report.config) print("  {:18} no: {}\n", "runs here", report.config_error);
  if (report.n_tensors > 0) print_groups(report);
  if (arguments.metadata) {
    print("\n");
    for (const auto& [name, value] : file.metadata().entries()) print("  {} = {}\n", name, value.text());
  }
  if (arguments.tensors) {
    print("\n");
    for (const auto& tensor : file.tensors())
      print("  {:44} {:8} {:>22} {:>14}\n", tensor.name, tensor.format->name, tensor.shape.text(), tensor.bytes());
  }
}

// body(0) ... body(n - 1), each taken by the next free thread.
void on_all_cores(size_t n, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < default_threads(); ++i)
    threads.emplace_back([&] {
      for (size_t job = next++; job < n; job = next++) body(job);
    });
}

void verify_file(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  ProgressBar bar("verifying");
  VerifyOptions options;
  options.parallel_for = on_all_cores;
  options.progress = [&bar](uint64_t done, uint64_t total) { bar.show(done, total, ""); };
  const VerifyReport report = verify(file, options);
  bar.finish();
  // One problem is the error itself; of several, the others are listed before it.
  for (size_t i = 1; i < report.problems.size(); ++i) print("{}\n", report.problems[i]);
  if (!report.problems.empty())
    fail(ErrorKind::format, "{}{}", report.problems.front(),
         report.problems.size() > 1 ? fmt::format(" (and {} more problems)", report.problems.size() - 1) : "");
  print("{}: ok, {} tensors, {}\n", path, file.tensors().size(),
        report.has_checksums ? "all checksums match and all weights are finite"
                             : "all weights are finite (the file holds no checksums)");
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "what is in a model file");
  command->add_option("model", arguments->path, "a GGUF file")->required();
  command->add_flag("--tensors", arguments->tensors, "list every tensor");
  command->add_flag("--metadata", arguments->metadata, "list every metadata key");
  command->callback([arguments] { inspect_file(*arguments); });
}

void add_verify(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("verify", "check every tensor's checksum and that all weights are finite");
  command->add_option("model", *path, "a GGUF file")->required();
  command->callback([path] { verify_file(*path); });
}

}  // namespace hearth::cli
