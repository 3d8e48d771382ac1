// tests/export_check.sh: how it tells servers that agree from those that do not, and what it refuses.
#include <doctest/doctest.h>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/convert.h"

using namespace hearth;
using namespace hearth::test;

namespace {

ProcessResult export_check(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {(source_dir() / "tests/export_check.sh").string(), "--hearth", hearth_program()});
  return run_process(arguments);
}

void check_given_up(std::vector<std::string> arguments, const std::string& why) {
  const auto result = export_check(std::move(arguments));
  CHECK(result.exit_code == 2);
  CHECK(result.err == "export_check.sh: " + why + "\n");
}

}  // namespace

TEST_CASE("export_check.sh refuses what it cannot do") {
  check_given_up({"--hearth", "/nonexistent"}, "no program /nonexistent: build it, or name it with --hearth");
  check_given_up({"--python", "/nonexistent"}, "no /nonexistent: name one with --python");
  check_given_up({"--formats"}, "--formats needs a value");
  check_given_up({"--self-check", "model.gguf"}, "--self-check needs two files");
}

TEST_CASE("two servers with one model agree, with two models they differ" * doctest::test_suite("may skip")) {
  if (run_process({"python3", "--version"}).exit_code != 0) {
    std::printf("SKIP: there is no Python\n");
    return;
  }
  const std::string coarse = shared_folder() / "coarse.gguf";
  convert(demo_checkpoint(), coarse, "q2_k");
  const auto told_apart = export_check({"--self-check", demo_model(), coarse});
  CHECK_MESSAGE(told_apart.exit_code == 0, told_apart.out, told_apart.err);
  CHECK(contains(told_apart.out, "the same\n"));
  CHECK(contains(told_apart.out, "they differ\n"));
  const auto not_told_apart = export_check({"--self-check", demo_model(), demo_model()});
  CHECK(not_told_apart.exit_code == 2);
  CHECK(contains(not_told_apart.err, "two models: expected that they differ"));
  const auto no_file = export_check({"--self-check", shared_folder() / "nothing.gguf", demo_model()});
  CHECK(no_file.exit_code == 2);
  CHECK(contains(no_file.out, "a server ended by itself"));
}
