// Files that other programs wrote, or rewrote: what can be told of them is told, and what was guessed is said.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/quant/gguf_bytes.h"
#include "tests/quant/split_parts.h"
#include "tests/runtime/cli/hearth.h"

using namespace hearth::test;

namespace {

// The demo model without a key: its name becomes another of the same length.
std::string without_key(std::string text, const std::string& key) {
  const size_t at = text.find(key);
  REQUIRE(at != std::string::npos);
  return text.replace(at, 9, "somebody2");
}

int64_t n_lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("a file with a format that nobody computes is inspected, verified and planned with, and not run") {
  TempDir dir;
  const std::string path = dir / "x.gguf";
  write_text(path, with_type(read_text(demo_model()), "output_norm.weight", 999));

  const auto inspected = run_hearth({"inspect", path, "--tensors"});
  REQUIRE_MESSAGE(inspected.exit_code == 0, inspected.err);
  CHECK(contains(inspected.out, "type 999"));
  CHECK(contains(inspected.out, "runs here          no: 1 tensor in formats that are not computed here"));
  const auto verified = run_hearth({"verify", path});
  REQUIRE_MESSAGE(verified.exit_code == 0, verified.err);
  CHECK(contains(verified.out, "rewritten by another program"));
  CHECK(contains(verified.out, "1 in another format now"));
  CHECK(contains(verified.out, "not looked into, as their formats are not computed here: 1 type 999"));
  const auto planned =
      run_hearth({"plan", path, "--vram", "0", "--ram", "1G", "--ram-bandwidth", "10", "--disk-bandwidth", "1"});
  REQUIRE_MESSAGE(planned.exit_code == 0, planned.err);
  CHECK(contains(planned.err, "does not run here"));
  for (const char* command : {"run", "chat", "bench"}) {
    CAPTURE(command);
    check_refused(run_hearth({command, path}, {.input = "x"}), 1, {path, "1 tensor", "type 999", "output_norm.weight"});
  }
}

TEST_CASE("what was guessed is said once, in every command that computes") {
  TempDir dir;
  const std::string path = dir / "x.gguf";
  write_text(path, without_key(read_text(demo_model()), "deepseek2.expert_weights_scale"));
  const std::string said = "hearth: " + path + ": deepseek2.expert_weights_scale is missing: assumed 1 (";
  for (const std::vector<std::string>& command : {std::vector<std::string>{"run", path, "-p", "x", "-n", "1"},
                                                  {"logits", path, "--tokens", "1", "-o", dir / "l"}}) {
    const auto result = run_hearth(command);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    CHECK(result.err.starts_with(said));
    CHECK(result.err.find(said, 1) == std::string::npos);
  }
  CHECK(contains(run_hearth({"inspect", path}).out, "guessed            deepseek2.expert_weights_scale is missing"));
}

TEST_CASE("logits need no vocabulary") {
  TempDir dir;
  const std::string path = dir / "x.gguf";
  std::string text = read_text(demo_model());
  const size_t at = text.find("tokenizer.ggml.model");
  REQUIRE(at != std::string::npos);
  write_text(path, text.replace(at, 9, "somebody2"));
  check_refused(run_hearth({"run", path, "-p", "x"}), 1, {"tokenizer.ggml.model"});
  const auto result = run_hearth({"logits", path, "--tokens", "1,2", "-o", dir / "l"});
  CHECK_MESSAGE(result.exit_code == 0, result.err);
  CHECK(n_lines(result.err) == 1);
}

TEST_CASE("another architecture is inspected and verified, and refused by its name where it would run") {
  TempDir dir;
  const std::string path = dir / "x.gguf";
  std::string text = read_text(demo_model());
  const size_t at = text.find("deepseek2", text.find("general.architecture"));
  write_text(path, text.replace(at, 9, "shallowsk"));
  const auto inspected = run_hearth({"inspect", path, "--metadata", "--tensors"});
  REQUIRE_MESSAGE(inspected.exit_code == 0, inspected.err);
  CHECK(contains(inspected.out, "general.architecture = \"shallowsk\""));
  CHECK(contains(inspected.out, "runs here          no: "));
  CHECK(contains(inspected.out, "output_norm.weight"));
  CHECK(contains(run_hearth({"verify", path}).out, "all checksums match"));
  for (const char* command : {"plan", "run"})
    check_refused(run_hearth({command, path}, {.input = "x"}), 1, {"shallowsk", "deepseek2"});
}

TEST_CASE("a model in a part for every tensor answers as the whole file does, and says which part is missing") {
  TempDir dir;
  const std::string first = split_one_by_one(hearth::GgufFile::open(demo_model()), dir.path());
  const auto answer = [](const std::string& path) {
    const auto result = run_hearth({"run", path, "-p", "What is 12 + 7?", "-n", "6", "--temp", "0"});
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    return result.out;
  };
  CHECK(answer(first) == answer(demo_model()));
  const size_t n_parts = hearth::GgufFile::open(first).parts().size();
  const auto inspected = run_hearth({"inspect", first});
  CHECK(contains(inspected.out, " in " + std::to_string(n_parts) + " parts\n"));
  CHECK(contains(inspected.out, "layout             attn_k_b and attn_v_b\n"));
  const std::string last = part_name(n_parts - 1, n_parts);
  fs::remove(dir / last);
  for (const char* command : {"run", "inspect", "verify", "plan"})
    check_refused(run_hearth({command, first}, {.input = "x"}), 1, {first, "one is missing: " + last});
}

TEST_CASE("inspect --json is one document") {
  const auto result = run_hearth({"inspect", demo_model(), "--json"});
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const auto document = nlohmann::json::parse(result.out);
  CHECK(document["file"]["path"] == demo_model());
  CHECK(document["model"]["layout"] == "split");
  CHECK(document["tensors"].size() == document["file"]["n_tensors"]);
}

TEST_CASE("a layer for multi-token prediction that is none is refused") {
  check_refused(
      run_hearth({"inspect", demo_model(), "--mtp", demo_model()}), 1,
      {demo_model(), "expected a file with the layer for multi-token prediction alone", "found other layers"});
  check_refused(run_hearth({"inspect", demo_model(), "--mtp", "nowhere.gguf"}), 1, {"nowhere.gguf", "cannot open"});
}

TEST_CASE("a pipe is not waited for") {
  TempDir dir;
  const std::string path = dir / "pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  for (const char* command : {"inspect", "verify", "plan"})
    check_refused(run_hearth({command, path}), 1, {path, "not a regular file"});
}
