// A conversion ends with a file that the other commands open, or is refused before anything is written.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/safetensors_writer.h"

using namespace hearth;
using namespace hearth::test;
using nlohmann::json;

namespace {

json read_json(const fs::path& path) {
  return json::parse(std::ifstream(path));
}

// The demo's checkpoint, whose small files each test changes.
struct Demo {
  Demo() {
    fs::copy(demo_checkpoint(), folder());
    fs::create_directory(dir.path() / "out");
  }
  fs::path folder() const { return dir.path() / "demo"; }
  std::string output() const { return dir / "out/model.gguf"; }
  template <class F>
  void change(const char* file, F f) const {
    json value = read_json(folder() / file);
    f(value);
    write_text(folder() / file, value.dump());
  }
  ProcessResult convert(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"convert", folder(), output(), "--recipe", "q8_0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_hearth(arguments);
  }
  bool nothing_left() const { return fs::is_empty(dir.path() / "out"); }

  TempDir dir;
};

void drop_token(json& config, const char* name, const char* id) {
  config.erase(name);
  config.erase(id);
}

}  // namespace

TEST_CASE("a byte without a token is refused before anything is written, by a dry run too") {
  const Demo demo;
  demo.change("tokenizer.json", [](json& tokenizer) {
    json& vocab = tokenizer["model"]["vocab"];
    vocab["<gone>"] = vocab["~"];
    vocab.erase("~");
    json kept = json::array();
    for (const json& merge : tokenizer["model"]["merges"])
      if (merge.dump().find('~') == std::string::npos) kept.push_back(merge);
    tokenizer["model"]["merges"] = kept;
  });
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--dry-run"}}) {
    check_refused(demo.convert(more), 1, {"nothing was written", "no token for byte 0x7E ('~')"});
    CHECK(demo.nothing_left());
  }
}

TEST_CASE("BOS in any of the files that name it, or in none") {
  const auto first_token = [](const Demo& demo) {
    const ProcessResult converted = demo.convert();
    REQUIRE_MESSAGE(converted.exit_code == 0, converted.err);
    return run_hearth({"tokenize", demo.output(), "--bos"}, {.input = "x"}).out;
  };
  const Demo as_published;
  const std::string expected = first_token(as_published);
  const json names = read_json(as_published.folder() / "tokenizer_config.json");
  const json ids = read_json(as_published.folder() / "config.json");

  Demo map;
  map.change("tokenizer_config.json", [](json& c) { c.erase("bos_token"); });
  map.change("config.json", [](json& c) { c.erase("bos_token_id"); });
  fs::remove(map.folder() / "generation_config.json");
  write_text(map.folder() / "special_tokens_map.json", json{{"bos_token", names["bos_token"]}}.dump());
  CHECK(first_token(map) == expected);

  const Demo config;
  config.change("tokenizer_config.json", [](json& c) { c.erase("bos_token"); });
  config.change("config.json", [&](json& c) { c["bos_token_id"] = ids["bos_token_id"]; });
  CHECK(first_token(config) == expected);

  Demo none;
  none.change("tokenizer_config.json", [](json& c) { drop_token(c, "bos_token", "bos_token_id"); });
  none.change("config.json", [](json& c) { c.erase("bos_token_id"); });
  fs::remove(none.folder() / "generation_config.json");
  const ProcessResult converted = none.convert();
  REQUIRE_MESSAGE(converted.exit_code == 0, converted.err);
  CHECK(contains(converted.err, "no file names a BOS token"));
  const ProcessResult run = run_hearth({"run", none.output(), "-p", "Hello", "-n", "1"});
  CHECK_MESSAGE(run.exit_code == 0, run.err);
}

TEST_CASE("a word that is added though it exists") {
  const Demo demo;
  int id = -1;
  demo.change("tokenizer.json", [&](json& tokenizer) {
    id = tokenizer["model"]["vocab"]["he"];
    tokenizer["added_tokens"].push_back({{"id", id}, {"content", "he"}, {"special", false}, {"normalized", true}});
  });
  const ProcessResult converted = demo.convert();
  REQUIRE_MESSAGE(converted.exit_code == 0, converted.err);
  const std::string tokens = run_hearth({"tokenize", demo.output()}, {.input = "xhex"}).out;
  CHECK_MESSAGE(contains(" " + tokens, " " + std::to_string(id) + " "), tokens);
  CHECK(run_hearth({"run", demo.output(), "-p", "then", "-n", "1"}).exit_code == 0);
}

TEST_CASE("a template that is not understood is told at the conversion") {
  const Demo demo;
  demo.change("tokenizer_config.json", [](json& c) { c["chat_template"] = "{% for m in messages %}{{ m.content"; });
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--dry-run"}, {}}) {
    const ProcessResult converted = demo.convert(more);
    CHECK_MESSAGE(converted.exit_code == 0, converted.err);
    CHECK_MESSAGE(contains(converted.err, "will not chat by its own template"), converted.err);
  }
}

TEST_CASE("the recommended sampling of the checkpoint is in the file") {
  const Demo demo;
  write_text(demo.folder() / "generation_config.json", R"({"do_sample": true, "temperature": 0.9, "top_p": 0.5})");
  REQUIRE(demo.convert().exit_code == 0);
  const std::string shown = run_hearth({"inspect", demo.output(), "--metadata"}).out;
  CHECK_MESSAGE(contains(shown, "general.sampling.temp"), shown);
}
