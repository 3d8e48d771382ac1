// --isa and HEARTH_ISA: the table that was forced is the one that runs. The proof is in the logits: every table rounds
// and sums in its own way, so each leaves its own bits, and those of `hearth --isa X` must be those of a model that was
// given table X by its address.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "tests/runtime/cli/hearth.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr int kTokens = 40;  // enough for tiles: few tokens take the same way under amx and avx512

// Q4_K where the rows allow it; everything else in Q8_0, F16 or F32.
const std::string& quantized_demo() {
  static const std::string path = [] {
    const std::string output = shared_folder() / "demo-q4.gguf";
    const ProcessResult made = run_hearth({"convert", demo_checkpoint(), output, "--recipe", "q4_k_m"});
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    return output;
  }();
  return path;
}

std::vector<Token> tokens() {
  return some_tokens(kTokens, 1000);
}

std::vector<float> logits_of_program(std::vector<std::string> options, const ProcessOptions& process = {}) {
  std::string list;
  for (const Token token : tokens()) list += (list.empty() ? "" : ",") + std::to_string(token);
  const std::string output = shared_folder() / "logits";
  options.insert(options.begin(), {"logits", quantized_demo(), "--tokens", list, "--output", output});
  const ProcessResult result = run_hearth(options, process);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  std::ifstream in(output, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::vector<float> logits(bytes.size() / sizeof(float));
  std::memcpy(logits.data(), bytes.data(), bytes.size());
  return logits;
}

std::vector<float> logits_of_table(const Ops& ops) {
  Model model(GgufFile::open(quantized_demo()), {.ops = &ops, .n_threads = 2, .n_ctx = kTokens});
  return all_logits(model, tokens());
}

// Bits of every available table, by its address.
const std::map<std::string, std::vector<float>>& expected() {
  static const auto all = [] {
    std::map<std::string, std::vector<float>> found;
    for (const Ops* ops : available_tables()) found[ops->name] = logits_of_table(*ops);
    return found;
  }();
  return all;
}

}  // namespace

TEST_CASE("the tables can be told apart by what they compute") {
  for (const auto& [a, logits_a] : expected()) {
    for (const auto& [b, logits_b] : expected()) {
      if (a >= b) continue;
      MESSAGE(a, " and ", b, " differ by ", relative_error(logits_a, logits_b));
      // VNNI adds the same integers as plain AVX-512 does: the same bits, and dispatch_test tells the two apart.
      if (a == "avx512" && b == "avx512_plain") continue;
      CHECK(logits_a != logits_b);
    }
  }
}

TEST_CASE("hearth --isa runs the table that it names") {
  for (const auto& table : expected()) {
    const std::string& name = table.first;  // CAPTURE takes no structured binding with clang 14
    const std::vector<float>& logits = table.second;
    CAPTURE(name);
    CHECK(logits_of_program({"--isa", name}) == logits);
    CHECK(logits_of_program({"--isa", "auto"}, {.environment = {{"HEARTH_ISA", name}}}) == logits);
    CHECK(logits_of_program({}, {.environment = {{"HEARTH_ISA", name}}}) == logits);
  }
}

TEST_CASE("a name on the command line is stronger than HEARTH_ISA") {
  const std::string best = available_tables().front()->name;
  CHECK(logits_of_program({"--isa", "scalar"}, {.environment = {{"HEARTH_ISA", best}}}) == expected().at("scalar"));
  CHECK(logits_of_program({"--isa", "scalar"}, {.environment = {{"HEARTH_ISA", "mmx"}}}) == expected().at("scalar"));
  CHECK(logits_of_program({}, {.environment = {{"HEARTH_ISA", ""}}}) == expected().at(best));
}

TEST_CASE("the banner names the table that runs and the machine's best") {
  const std::string best = available_tables().front()->name;
  for (const Ops* ops : available_tables()) {
    const auto said = run_hearth({"run", demo_model(), "-p", "x", "-n", "1", "-v", "--isa", ops->name});
    CHECK(contains(said.err, std::string(" ") + ops->name + " operations, "));
    CHECK(contains(said.err, ", " + best + "\n"));
    CHECK(!contains(said.err, "no AVX2"));  // slow because it was asked for is another thing
  }
}

TEST_CASE("names that are unknown, from either side") {
  check_refused(run_hearth({"run", demo_model(), "-p", "x", "--isa", "mmx"}), 2,
                {"no CPU instruction set is called 'mmx'; there are: auto, ", "scalar"});
  const auto by_variable = run_hearth({"run", demo_model(), "-p", "x"}, {.environment = {{"HEARTH_ISA", "mmx"}}});
  check_refused(by_variable, 2, {"HEARTH_ISA: no CPU instruction set is called 'mmx'", "scalar"});
  for (const CpuIsa& isa : cpu_isas()) {
    if (isa.available) continue;
    check_refused(run_hearth({"run", demo_model(), "-p", "x", "--isa", isa.name}), 1,
                  {"lacks the instructions of", isa.name});
  }
}

// An emulator that can pretend to be a processor of 2008 is the honest way to see one.
TEST_CASE("a processor without AVX2 gets the scalar kernels and one line that says so" *
          doctest::test_suite("may skip")) {
  const auto emulator = run_process({"qemu-x86_64", "--version"});
  if (emulator.exit_code != 0) {
    MESSAGE("SKIP: needs qemu-x86_64 (Debian package qemu-user)");
    return;
  }
  const auto run = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"qemu-x86_64", "-cpu", "Nehalem", hearth_program(), "run", demo_model(), "-p", "The",
                               "-n", "1", "-t", "1", "--temp", "0"});
    return run_process(more);
  };
  const auto slow = run({});
  CHECK(slow.exit_code == 0);
  CHECK(contains(slow.err, "has no AVX2: the scalar kernels will be slow\n"));
  CHECK(std::count(slow.err.begin(), slow.err.end(), '\n') == 2);  // and that -n cut it short
  CHECK(slow.out == run_hearth({"run", demo_model(), "-p", "The", "-n", "1", "--temp", "0", "--isa", "scalar"}).out);
  CHECK(!contains(run({"--isa", "scalar"}).err, "slow"));
  check_refused(run({"--strict"}), 1, {"--strict", "no AVX2"});
  check_refused(run({"--isa", "avx2"}), 1, {"lacks the instructions of 'avx2'"});
}
