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

std::string rewritten_text(const VerifyReport& report) {
  std::string text = fmt::format("rewritten by another program: {} tensors with the bytes that were written{}",
                                 report.n_matching, report.reordered ? ", in another order or under other names" : "");
  const auto add = [&](int64_t n, const char* what) {
    if (n > 0) text += fmt::format(", {} {}", n, what);
  };
  add(report.n_other_format, "in another format now, not to be compared");
  add(report.n_unknown, "of no checksum");
  add(report.n_missing, "missing");
  return text;
}

// Of a file without damage.
std::string verdict(const GgufFile& file, const VerifyReport& report) {
  std::string text = fmt::format("ok, {} tensors", file.tensors().size());
  if (report.rewritten()) {
    text += ", " + rewritten_text(report);
  } else if (report.has_checksums) {
    text += ", all checksums match";
  }
  if (report.n_not_computed < int64_t(file.tensors().size())) text += ", all weights are finite";
  if (!report.has_checksums) text += " (the file holds no checksums)";
  if (report.n_not_computed > 0) {
    std::vector<const Tensor*> others;
    for (const Tensor& t : file.tensors()) {
      if (!t.format->computed()) others.push_back(&t);
    }
    text += fmt::format("; not looked into, as their formats are not computed here: {}", format_counts(others));
  }
  return text;
}

void verify_file(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  const VerifyReport report = verify_with_bar(file, "verifying", true);
  // One problem is the error itself; of several, the others are listed before it.
  for (size_t i = 1; i < report.problems.size(); ++i) print("{}\n", report.problems[i]);
  if (!report.problems.empty() && report.rewritten()) print("{}: {}\n", path, rewritten_text(report));
  if (!report.problems.empty()) refuse(report.problems);
  print("{}: {}\n", path, verdict(file, report));
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
