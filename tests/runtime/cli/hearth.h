// The program under test and the demo model it speaks with, converted once per test program.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace hearth::test {

inline std::string hearth_program() {
  return (build_dir() / "hearth").string();
}
inline std::string demo_checkpoint() {
  return (source_dir() / "demo" / "checkpoint").string();
}

inline ProcessResult run_hearth(std::vector<std::string> arguments, const ProcessOptions& options = {}) {
  arguments.insert(arguments.begin(), hearth_program());
  return run_process(arguments, options);
}

inline TempDir& shared_folder() {
  static TempDir folder;
  return folder;
}

// What programs measure of this machine, they do not keep for its user.
struct OwnCache {
  TempDir folder;
  OwnCache() { setenv("XDG_CACHE_HOME", folder.path().c_str(), 1); }
};
inline const OwnCache own_cache;

// The demo model in BF16.
inline const std::string& demo_model() {
  static const std::string path = [] {
    const std::string output = shared_folder() / "demo.gguf";
    const ProcessResult made = run_hearth({"convert", demo_checkpoint(), output, "--recipe", "bf16"});
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    return output;
  }();
  return path;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A refusal: the exit code, exactly one line on standard error that holds every one of `parts`, and nothing else said.
inline void check_refused(const ProcessResult& result, int exit_code, const std::vector<std::string>& parts) {
  INFO("stderr: ", result.err);
  INFO("stdout: ", result.out);
  CHECK(result.exit_code == exit_code);
  CHECK(result.out == "");
  CHECK(result.err.rfind("hearth: ", 0) == 0);
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  for (const auto& part : parts) CHECK_MESSAGE(contains(result.err, part), "expected in the message: ", part);
}

}  // namespace hearth::test
