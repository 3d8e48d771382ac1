// hearth export: what it says, and that a model comes through it whole.
#include <doctest/doctest.h>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

TEST_CASE("a model is exported, converted back, and the same") {
  TempDir dir;
  for (const std::string form : {"bf16", "fp8", "int4"}) {
    CAPTURE(form);
    const std::string folder = dir / form, file = dir / (form + ".gguf");
    const ProcessResult made = run_hearth({"export", demo_model(), folder, "--format", form});
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    CHECK(made.out == "");
    CHECK(contains(made.err, "exporting " + demo_model() + " as " + form));
    CHECK(contains(made.err, form + ": "));
    CHECK(contains(made.err, "in 1 file, written in "));
    CHECK(contains(made.err, "BF16 to " + form + ": relative RMS error 0.") == (form != "bf16"));
    REQUIRE(run_hearth({"convert", folder, file, "--recipe", form == "bf16" ? "bf16" : "keep"}).exit_code == 0);
    if (form == "bf16") CHECK((read_text(file) == read_text(demo_model())));
    const ProcessResult answer = run_hearth({"run", file, "What is 12 + 7?", "--temp", "0"});
    CHECK(contains(answer.out, "19"));
  }
}

TEST_CASE("a dry run tells the files and their sizes, and writes nothing") {
  TempDir dir;
  const std::vector<std::string> command = {"export", demo_model(),   dir / "out", "--format",
                                            "fp8",    "--shard-size", "1M"};
  std::vector<std::string> dry = command;
  dry.push_back("--dry-run");
  const ProcessResult plan = run_hearth(dry);
  REQUIRE_MESSAGE(plan.exit_code == 0, plan.err);
  CHECK(!fs::exists(dir / "out"));
  CHECK(contains(plan.out, "memory: at most "));
  CHECK(contains(plan.err, "104 matrices in BF16 go through float32 once"));
  REQUIRE(run_hearth(command).exit_code == 0);
  size_t n_files = 0;
  for (const auto& entry : fs::directory_iterator(dir / "out")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++n_files;
    CHECK(contains(plan.out, entry.path().filename().string()));
    CHECK(contains(plan.out, std::to_string(entry.file_size())));
  }
  CHECK(n_files > 3);
}

TEST_CASE("what export refuses") {
  TempDir dir;
  const std::string out = dir / "out";
  check_refused(run_hearth({"export", demo_model(), out}), 2, {"--format"});
  check_refused(run_hearth({"export", demo_model(), out, "--format", "q4_0"}), 2,
                {"unknown format q4_0: expected one of bf16 fp8 int4"});
  check_refused(run_hearth({"export", demo_model(), out, "--format", "fp8", "--attention"}), 2,
                {"--attention is for --format int4"});
  check_refused(run_hearth({"export", demo_model(), out, "--format", "fp8", "--shard-size", "much"}), 2,
                {"--shard-size", "much"});
  check_refused(run_hearth({"export", dir / "no.gguf", out, "--format", "fp8"}), 1, {"no.gguf: cannot open"});
  check_refused(run_hearth({"export", demo_model(), dir / "no/such\n/out", "--format", "fp8", "-t", "-1"}), 2,
                {"--threads"});
  CHECK(!fs::exists(out));
  fs::create_directory(out);
  write_text(out + "/thesis.tex", "x");
  check_refused(run_hearth({"export", demo_model(), out, "--format", "fp8"}), 2,
                {"out: expected an empty folder, found thesis.tex", "overwriting was not asked for"});
  CHECK(run_hearth({"export", demo_model(), out, "--format", "fp8", "--force"}).exit_code == 0);
  CHECK(read_text(out + "/thesis.tex") == "x");
  const ProcessResult full =
      run_hearth({"export", demo_model(), dir / "full", "--format", "bf16"}, {.file_size_limit = 1 << 20});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "model-00001-of-00001.safetensors.partial: cannot claim 9601512 bytes: File too large"));
  CHECK(!fs::exists(dir / "full"));
}
