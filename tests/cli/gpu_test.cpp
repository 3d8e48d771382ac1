// The command with a GPU, which is the emulated one of build/hearth-emulated; what it says without one is the same as
// what build/hearth says.
#include "tests/cli/hearth.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The GPU as HEARTH_EMULATED_GPU describes it (tests/emulation/settings.h).
ProcessResult run_emulated(std::vector<std::string> arguments, const std::string& gpu = "") {
  arguments.insert(arguments.begin(), (build_dir() / "hearth-emulated").string());
  ProcessOptions options;
  if (!gpu.empty()) options.environment.push_back({"HEARTH_EMULATED_GPU", gpu});
  return run_process(arguments, options);
}

std::vector<std::string> ask(std::vector<std::string> more) {
  std::vector<std::string> all = {"run", demo_model(), "--chat", "-p", "What is 12 + 7?", "--temp", "0", "-n", "12"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("the whole model on the GPU: the same answer, and the first lines say where it runs") {
  const auto said = run_emulated(ask({"--device", "emulated", "-v"}));
  INFO(said.err);
  CHECK(said.exit_code == 0);
  CHECK(said.out == run_hearth(ask({"--device", "cpu"})).out);
  CHECK(contains(said.err, "running   emulated operations\n"));
  CHECK(contains(said.err, "gpu       emulated GPU, sm_"));
  CHECK(contains(said.err, " on the GPU, "));
  CHECK(contains(said.err, "ready     loaded in "));
  CHECK(contains(said.err, "B/s\n"));
  const auto by_itself = run_emulated(ask({"-v"}));  // where there is one, it is used
  CHECK(by_itself.out == said.out);
  CHECK(contains(by_itself.err, "running   emulated operations\n"));
  const auto table = run_emulated(ask({"-v", "--isa", "scalar"}));  // a table of the CPU was asked for
  CHECK(contains(table.err, "running   scalar operations"));
}

TEST_CASE("no driver: the CPU, and it says so; an error under --strict") {
  const auto loud = run_emulated(ask({"--device", "emulated"}), "driver=none");
  CHECK(loud.exit_code == 0);
  CHECK(loud.err ==
        "hearth: --device emulated: no GPU can be used: CUDA driver version is insufficient for CUDA "
        "runtime version; running on the CPU\n");
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "driver=none"), 1,
                {"--device emulated", "no GPU can be used"});
  const auto silent = run_emulated(ask({"-v"}), "driver=none");
  CHECK(contains(silent.err, "gpu       none: no GPU can be used: "));
  CHECK(contains(silent.err, "running   "));
}

TEST_CASE("a GPU too old for the kernels is no GPU") {
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "capability=75"), 1,
                {"emulated GPU is too old: compute capability 7.5, expected at least 8.0"});
}

TEST_CASE("bench: the floor is that of the GPU's memory") {
  const auto result = run_emulated({"bench", demo_model(), "-p", "16", "-n", "2", "-r", "1", "--device", "emulated"});
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, "; memory gives "));
}

TEST_CASE("a GPU too small for the model: the numbers, and the CPU unless somebody insists") {
  check_refused(run_emulated(ask({"--device", "emulated"}), "memory=4M"), 1,
                {"does not fit into the GPU's memory: weights 9.6 MB, the cache of 2048 tokens 2.6 MB, working memory ",
                 " are free"});
  check_refused(run_emulated(ask({"--strict"}), "memory=4M"), 1, {"does not fit into the GPU's memory"});
  const auto loud = run_emulated(ask({}), "memory=4M");
  CHECK(loud.exit_code == 0);
  CHECK(contains(loud.err, "does not fit into the GPU's memory"));
  CHECK(contains(loud.err, "; running on the CPU\n"));
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
}

TEST_CASE("a GPU that fails ends in one clear error") {
  for (const char* fault : {"fail_launch=3", "fail_launch=400", "fail_copy=1", "fail_copy=60", "fail_allocation=7"}) {
    CAPTURE(fault);
    const auto result = run_emulated(ask({"--device", "emulated"}), fault);
    INFO(result.err);
    CHECK(result.exit_code == 1);
    const size_t last = result.err.rfind("hearth: ");
    REQUIRE(last != std::string::npos);
    CHECK(result.err.find('\n', last) == result.err.size() - 1);
  }
}
