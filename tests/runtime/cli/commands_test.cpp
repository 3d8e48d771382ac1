// What each command prints when all is well.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

TEST_CASE("convert --dry-run tells the exact size and writes nothing") {
  TempDir dir;
  for (const char* recipe : {"f32", "q8_0", "q4_k_m", "q2_k", "fp8", "int4"}) {
    CAPTURE(recipe);
    const std::string out = dir / (std::string(recipe) + ".gguf");
    const auto plan = run_hearth({"convert", demo_checkpoint(), out, "--recipe", recipe, "--dry-run"});
    REQUIRE_MESSAGE(plan.exit_code == 0, plan.err);
    CHECK(!fs::exists(out));
    CHECK(contains(plan.out, "\nmemory: at most "));
    CHECK(contains(plan.out, "\ntime: about "));
    CHECK(contains(plan.out, ": encoding at "));
    REQUIRE_MESSAGE(run_hearth({"convert", demo_checkpoint(), out, "--recipe", recipe}).exit_code == 0, recipe);
    CHECK(contains(plan.out, " " + std::to_string(fs::file_size(out)) + " bytes"));
    CHECK(run_hearth({"verify", out}).exit_code == 0);
  }
}

TEST_CASE("a size in place of a recipe: the file is as large as allowed, and answers") {
  TempDir dir;
  const std::string path = dir / "fitted.gguf";
  const auto made = run_hearth({"convert", demo_checkpoint(), path, "--target-size", "4M"});
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  CHECK(contains(made.err, "formats fitted to 4194304 bytes"));
  CHECK(fs::file_size(path) <= 4 << 20);
  CHECK(fs::file_size(path) > (4 << 20) * 9 / 10);
  const auto inspected = run_hearth({"inspect", path});
  CHECK(contains(inspected.out, "fitted"));
  const auto answer = run_hearth({"run", path, "What is 123 + 456?", "--temp", "0"});
  CHECK_MESSAGE(contains(answer.out, "579"), answer.out);
}

TEST_CASE("quantize makes of a converted file what convert makes of the checkpoint") {
  TempDir dir;
  const std::string converted = dir / "converted.gguf", quantized = dir / "quantized.gguf";
  REQUIRE(run_hearth({"convert", demo_checkpoint(), converted, "--recipe", "q4_k_m"}).exit_code == 0);
  const auto plan = run_hearth({"quantize", demo_model(), quantized, "--dry-run"});
  CHECK(contains(plan.out, " " + std::to_string(fs::file_size(converted)) + " bytes"));
  CHECK(!fs::exists(quantized));
  const auto made = run_hearth({"quantize", demo_model(), quantized});
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  CHECK(contains(made.err, "quantizing " + demo_model() + " by recipe q4_k_m"));
  CHECK(contains(made.err, "written and verified"));
  const bool same = read_text(converted) == read_text(quantized);
  CHECK(same);
  check_refused(run_hearth({"quantize", demo_model(), quantized}), 2, {"quantized.gguf", "exists"});
  check_refused(run_hearth({"quantize", demo_model(), demo_model(), "--force"}), 2, {"cannot be the output"});
  check_refused(run_hearth({"quantize", dir / "missing.gguf", dir / "out.gguf"}), 1, {"missing.gguf"});
  const auto full = run_hearth({"quantize", demo_model(), dir / "full.gguf"}, {.file_size_limit = 1 << 20});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "full.gguf"));
  CHECK(!fs::exists(dir / "full.gguf"));
  CHECK(!fs::exists(dir / "full.gguf.partial"));
}

TEST_CASE("run is reproducible and speaks JSON" * doctest::test_suite("each table")) {
  const std::vector<std::string> arguments{"run",    demo_model(), "--chat", "-p", "What is 3 + 4?",
                                           "--temp", "0.8",        "--seed", "7"};
  const auto first = run_hearth(arguments), second = run_hearth(arguments);
  CHECK(first.exit_code == 0);
  CHECK(first.err == "");
  CHECK(first.out == second.out);

  const auto json = run_hearth({"run", demo_model(), "-p", "Hello", "-n", "5", "--temp", "0", "--json"});
  REQUIRE_MESSAGE(json.exit_code == 0, json.err);
  const auto object = nlohmann::json::parse(json.out);
  CHECK(object["tokens"].size() == object["generated_tokens"]);
  CHECK(object["generated_tokens"] <= 5);
  CHECK(object["prompt_tokens"] > 0);
  const auto text = run_hearth({"run", demo_model(), "-p", "Hello", "-n", "5", "--temp", "0"});
  CHECK(text.out == object["text"].get<std::string>() + "\n");
}

TEST_CASE("run takes its prompt from an option, a file or a pipe alike" * doctest::test_suite("each table")) {
  TempDir dir;
  std::ofstream(dir / "prompt") << "one two three";
  const std::vector<std::string> tail{"-n", "4", "--temp", "0"};
  const auto with = [&](std::vector<std::string> head, const std::string& input = "") {
    head.insert(head.begin(), {"run", demo_model()});
    head.insert(head.end(), tail.begin(), tail.end());
    return run_hearth(head, {.input = input}).out;
  };
  const std::string by_option = with({"-p", "one two three"});
  CHECK(by_option.size() > 1);
  CHECK(with({"--file", dir / "prompt"}) == by_option);
  CHECK(with({}, "one two three") == by_option);
}

TEST_CASE("run -v says what runs where") {
  const auto result = run_hearth({"run", demo_model(), "-p", "x", "-n", "2", "-v", "--isa", "scalar"});
  CHECK(contains(result.err, "scalar"));
  CHECK(contains(result.err, "tok/s"));
  CHECK(contains(result.err, "context"));
}

TEST_CASE("logits are float32 [n_tokens, vocab], the same for every way of asking" *
          doctest::test_suite("each table")) {
  TempDir dir;
  const auto one = run_hearth({"logits", demo_model(), "--tokens", "5,6,7,8", "--output", dir / "a"});
  REQUIRE_MESSAGE(one.exit_code == 0, one.err);
  REQUIRE(run_hearth({"logits", demo_model(), "--tokens", "5,6,7,8", "--output", dir / "b", "-t", "1"}).exit_code == 0);
  std::ifstream a(dir / "a", std::ios::binary), b(dir / "b", std::ios::binary);
  const std::string bytes_a{std::istreambuf_iterator<char>(a), {}}, bytes_b{std::istreambuf_iterator<char>(b), {}};
  CHECK(bytes_a.size() % (4 * 4) == 0);
  CHECK(bytes_a.size() > 4 * 4 * 256);
  CHECK(bytes_a == bytes_b);
}

TEST_CASE("tokenize prints one line of ids") {
  const auto plain = run_hearth({"tokenize", demo_model()}, {.input = "Hello <｜User｜>"});
  REQUIRE_MESSAGE(plain.exit_code == 0, plain.err);
  CHECK(std::count(plain.out.begin(), plain.out.end(), '\n') == 1);
  const auto special = run_hearth({"tokenize", demo_model(), "--special"}, {.input = "Hello <｜User｜>"});
  CHECK(std::count(special.out.begin(), special.out.end(), ' ') < std::count(plain.out.begin(), plain.out.end(), ' '));
  const auto bos = run_hearth({"tokenize", demo_model(), "--bos"}, {.input = ""});
  CHECK(std::count(bos.out.begin(), bos.out.end(), ' ') == 0);
  CHECK(bos.out.size() > 1);
  CHECK(run_hearth({"tokenize", demo_model()}, {.input = ""}).out == "\n");
  CHECK(run_hearth({"tokenize", demo_model()}, {.input = "a\xff"
                                                         "b"})
            .exit_code == 0);
}

TEST_CASE("inspect and verify describe the file") {
  const auto inspected = run_hearth({"inspect", demo_model()});
  REQUIRE_MESSAGE(inspected.exit_code == 0, inspected.err);
  CHECK(contains(inspected.out, "hearth-demo"));
  CHECK(contains(inspected.out, "2 of 8 routed"));
  CHECK(contains(inspected.out, "BF16"));
  const auto verified = run_hearth({"verify", demo_model()});
  CHECK(verified.exit_code == 0);
  CHECK(contains(verified.out, "ok"));
}

TEST_CASE("bench reports speed as data" * doctest::test_suite("each table")) {
  const auto bench = run_hearth({"bench", demo_model(), "-p", "32", "-n", "8", "-r", "2", "--json"});
  REQUIRE_MESSAGE(bench.exit_code == 0, bench.err);
  const auto object = nlohmann::json::parse(bench.out);
  CHECK(object["prefill"]["tok_s"]["median"] > 0);
  CHECK(object["decode"]["tok_s"]["median"] > 0);
  CHECK(object["read_bandwidth_gb_s"] > 0);
  CHECK(object["decode"]["share_of_floor"] > 0);
}

TEST_CASE("perplexity scores a text, and a stored baseline gives no divergence from itself" *
          doctest::test_suite("each table")) {
  TempDir dir;
  std::ofstream text(dir / "text");
  for (int i = 0; i < 60; ++i) text << "The capital of France is Paris. " << i << " plus 1 is " << i + 1 << ".\n";
  text.close();
  const auto stored =
      run_hearth({"perplexity", demo_model(), "--file", dir / "text", "--ctx", "128", "--save-baseline", dir / "base"});
  REQUIRE_MESSAGE(stored.exit_code == 0, stored.err);
  CHECK(contains(stored.out, "perplexity"));
  const auto compared = run_hearth(
      {"perplexity", demo_model(), "--file", dir / "text", "--ctx", "128", "--baseline", dir / "base", "--json"});
  REQUIRE_MESSAGE(compared.exit_code == 0, compared.err);
  const auto object = nlohmann::json::parse(compared.out);
  CHECK(object["perplexity"] > 1.0);
  CHECK(object["kl_divergence"]["mean"] < 1e-4);
  CHECK(object["same_top_token"] > 0.999);
  check_refused(run_hearth({"perplexity", demo_model(), "--file", dir / "text", "--baseline", dir / "text"}), 1,
                {"text"});
}
