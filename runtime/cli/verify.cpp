// hearth verify MODEL.gguf: whether the file still is what was written. --check of the other commands: the part of it
// that needs no checksums.
#include "runtime/cli/verify.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/backend.h"
#include "quant/error.h"
#include "quant/verify.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

// body(0) ... body(n - 1), each taken by the next free thread.
void on_all_cores(size_t n, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < default_threads(); ++i)
    threads.emplace_back([&] {
      for (size_t job = next++; job < n; job = next++) body(job);
    });
}

VerifyReport verify_with_bar(const GgufFile& file, const char* title, bool checksums) {
  ProgressBar bar(title);
  VerifyOptions options;
  options.checksums = checksums;
  options.parallel_for = on_all_cores;
  options.progress = [&bar](uint64_t done, uint64_t total) { bar.show(done, total, ""); };
  VerifyReport report = verify(file, options);
  bar.finish();
  return report;
}

[[noreturn]] void refuse(const std::vector<std::string>& problems) {
  fail(ErrorKind::format, "{}{}", problems.front(),
       problems.size() > 1 ? fmt::format(" (and {} more problems)", problems.size() - 1) : "");
}

void verify_file(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  const VerifyReport report = verify_with_bar(file, "verifying", true);
  // One problem is the error itself; of several, the others are listed before it.
  for (size_t i = 1; i < report.problems.size(); ++i) print("{}\n", report.problems[i]);
  if (!report.problems.empty()) refuse(report.problems);
  print("{}: ok, {} tensors, {}\n", path, file.tensors().size(),
        report.has_checksums ? "all checksums match and all weights are finite"
                             : "all weights are finite (the file holds no checksums)");
}

}  // namespace

void require_finite_weights(const GgufFile& file) {
  const VerifyReport report = verify_with_bar(file, "checking", false);
  if (!report.problems.empty()) refuse(report.problems);
}

void add_verify(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("verify", "check every tensor's checksum and that all weights are finite");
  command->add_option("model", *path, "a GGUF file")->required();
  command->callback([path] { verify_file(*path); });
}

}  // namespace hearth::cli
