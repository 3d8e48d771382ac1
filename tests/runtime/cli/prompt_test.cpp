// What reaches the model is what was given: by option, as a question, from a file, through a pipe. And what an answer
// tells besides its text.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

namespace {

ProcessResult run(std::vector<std::string> arguments, const std::string& input = "") {
  if (std::ranges::find(arguments, "-n") == arguments.end()) arguments.insert(arguments.begin(), {"-n", "40"});
  arguments.insert(arguments.begin(), {"run", demo_model(), "--temp", "0"});
  return run_hearth(arguments, {.input = input});
}

// What is said of a text by the number of its tokens, BOS included.
int64_t tokens_of(const std::vector<std::string>& arguments, const std::string& input = "") {
  std::vector<std::string> all = arguments;
  all.push_back("--json");
  const auto result = run(all, input);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  return nlohmann::json::parse(result.out)["prompt_tokens"];
}

const std::string kSentence = "The capital of France is";

}  // namespace

TEST_CASE("one rule for files and pipes: no byte order mark, no carriage returns, not the last line's end") {
  TempDir dir;
  const std::string said = run({"-p", kSentence}).out;
  REQUIRE(said.size() > 1);
  for (const std::string& typed :
       {kSentence, kSentence + "\n", kSentence + "\r\n", "\xEF\xBB\xBF" + kSentence + "\n"}) {
    CAPTURE(typed);
    CHECK(run({}, typed).out == said);
    std::ofstream(dir / "text", std::ios::binary) << typed;
    CHECK(run({"--file", dir / "text"}).out == said);
    CHECK(run({"--file", "-"}, typed).out == said);
  }
  CHECK(tokens_of({}, "a\r\nb\r\n") == tokens_of({"-p", "a\nb"}));
  CHECK(tokens_of({}, "a\n\n") == tokens_of({"-p", "a\n"}));       // one line end only
  CHECK(tokens_of({"-p", "a\r\nb"}) > tokens_of({"-p", "a\nb"}));  // typed is typed
}

TEST_CASE("a pipe beside a prompt is part of it") {
  TempDir dir;
  std::ofstream(dir / "text") << "two\n";
  CHECK(tokens_of({"-p", "one"}, "two\n") == tokens_of({"-p", "one\n\ntwo"}));
  CHECK(tokens_of({"one", "--file", dir / "text"}, "three") == tokens_of({"one\n\ntwo\n\nthree"}));
  CHECK(tokens_of({"-p", "one"}, "") == tokens_of({"-p", "one"}));
  check_refused(run({"-p", "one"}, "\xff"), 2, {"standard input", "UTF-8"});
  check_refused(run({"one", "-p", "two"}), 2, {"question", "--prompt"});
}

TEST_CASE("a pipe that stays open and silent does not stop who has a prompt") {
  const auto result = run_hearth({"run", demo_model(), "-p", kSentence, "-n", "1"}, {.keep_input_open = true});
  CHECK(result.exit_code == 0);
  CHECK(contains(result.err, "standard input"));
}

TEST_CASE("a question is a message, -p a text to continue") {
  const auto answer = run({"What is 12 + 7?"}), chat = run({"--chat", "-p", "What is 12 + 7?"});
  CHECK(answer.exit_code == 0);
  CHECK(contains(answer.out, "19"));
  CHECK(answer.out == chat.out);
  CHECK(run({"-p", "What is 12 + 7?"}).out != answer.out);
  CHECK(run_hearth({"run", "-m", demo_model(), "What is 12 + 7?", "--temp", "0"}).out == answer.out);
}

TEST_CASE("control tokens are read as such where that is asked for, and pointed out where not") {
  const std::string prompt = "<｜User｜>What is 12 + 7?<｜Assistant｜>";
  const auto plain = run({"-p", prompt}), special = run({"-p", prompt, "--special"});
  CHECK(contains(plain.err, "<｜User｜>"));
  CHECK(contains(plain.err, "--special"));
  CHECK(contains(special.out, "19"));
  CHECK(special.err.find("--special") == std::string::npos);
  // BOS that is typed is not doubled.
  CHECK(tokens_of({"-p", "<｜begin▁of▁sentence｜>" + prompt, "--special"}) == tokens_of({"-p", prompt, "--special"}));
  check_refused(run({"hi", "--special"}), 2, {"--special"});
}

TEST_CASE("--suffix fills in what stands between two texts, in the format of models that were made for it") {
  const TempDir dir;
  const std::string checkpoint = dir / "checkpoint", model = dir / "fim.gguf";
  fs::copy(demo_checkpoint(), checkpoint);
  auto tokenizer = nlohmann::json::parse(std::ifstream(checkpoint + "/tokenizer.json"));
  const char* const names[] = {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"};
  for (size_t i = 0; i < 3; ++i) tokenizer["added_tokens"].at(4 + i)["content"] = names[i];
  std::ofstream(checkpoint + "/tokenizer.json") << tokenizer;
  const auto made = run_hearth({"convert", checkpoint, model, "--recipe", "bf16"});
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  const auto said = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", model, "--temp", "0", "--json", "--seed", "0", "-n", "30"});
    const auto result = run_hearth(arguments);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    const auto json = nlohmann::json::parse(result.out);
    return std::pair{json["prompt_tokens"].get<int>(), json["tokens"].get<std::vector<int>>()};
  };
  const std::string before = "The capital of France is", after = "and that of Japan is Tokyo.";
  const auto filled = said({"-p", before, "--suffix", after});
  CHECK(filled == said({"--special", "-p", "<｜fim▁begin｜>" + before + "<｜fim▁hole｜>" + after + "<｜fim▁end｜>"}));
  CHECK(filled != said({"-p", after, "--suffix", before}));
  CHECK(filled != said({"-p", before}));

  // What the texts hold is text, unless --special is given.
  const auto hole = run_hearth({"run", model, "-p", "a", "--suffix", "b<｜fim▁hole｜>c", "-n", "1"});
  CHECK(contains(hole.err, "<｜fim▁hole｜> in the prompt is read as plain text"));
  CHECK(said({"-p", "a", "--suffix", "b<｜fim▁hole｜>c", "--special"}).first <
        said({"-p", "a", "--suffix", "b<｜fim▁hole｜>c"}).first);
  check_refused(run({"-p", "x", "--suffix", "y"}), 1, {"--suffix", "<｜fim▁begin｜>"});  // the demo model
}

TEST_CASE("penalties change what is said, and -v says what they are") {
  const TempDir dir;
  const std::string letters = dir / "letters.gbnf";
  write_text(letters, R"(root ::= ([a-z] " "){20})");
  const auto spell = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--chat", "-p", "Spell banana.", "--grammar", letters});
    return run(more);
  };
  const auto as = [](const std::string& text) { return std::ranges::count(text, 'a'); };
  const std::string plain = spell({}).out;  // "b a n a n a ...": the same letters again and again
  REQUIRE(as(plain) > 3);
  CHECK(spell({"--frequency-penalty", "0", "--presence-penalty", "0"}).out == plain);
  CHECK(spell({"--presence-penalty", "2"}).out != plain);
  CHECK(as(spell({"--frequency-penalty", "2"}).out) < as(plain));
  const auto verbose = spell({"--frequency-penalty", "-2", "--presence-penalty", "0.5", "-v"});
  CHECK(as(verbose.out) > as(plain));
  CHECK(contains(verbose.err, "penalties: repeat 1, frequency -2, presence 0.5"));
}

TEST_CASE("an answer that is cut short says so") {
  const auto by_number = run({"-p", kSentence, "-n", "2"});
  CHECK(by_number.exit_code == 0);
  CHECK(contains(by_number.err, "--max-tokens"));
  std::string words;
  for (int i = 0; i < 10; ++i) words += " seven";
  const auto by_context = run_hearth({"run", demo_model(), "-p", words, "--temp", "20", "--top-p", "1", "-c", "48"});
  CHECK(by_context.exit_code == 0);
  CHECK(contains(by_context.err, "--ctx"));
  CHECK(run({"What is 12 + 7?", "-n", "-1"}).err == "");  // it ended by itself
}

TEST_CASE("--stop ends an answer in front of a text, in JSON too, and takes one text each time") {
  const std::string whole = run({"What is 12 + 7?"}).out;
  REQUIRE(contains(whole, "19"));
  const std::string before = whole.substr(0, whole.find("19"));
  const auto stopped = run({"--stop", "19", "What is 12 + 7?"});
  CHECK(stopped.exit_code == 0);
  CHECK(stopped.out == before + "\n");
  CHECK(stopped.err == "");
  CHECK(run({"--stop", "never said", "--stop", "19", "What is 12 + 7?"}).out == stopped.out);
  CHECK(run({"--stop", "never said", "What is 12 + 7?"}).out == whole);
  CHECK(run({"--stop", "[1,19]", "What is 12 + 7?"}).out == whole);  // no list
  const std::string last = whole.substr(whole.size() - 2, 1);        // and what may be the beginning of one is shown
  CHECK(run({"--stop", last + "\nnever said", "What is 12 + 7?"}).out == whole);
  const auto json = nlohmann::json::parse(run({"What is 12 + 7?", "--stop", "19", "--json"}).out);
  CHECK(json["text"] == before);
  CHECK(json["stop"] == "stop_string");

  const std::string text = run({"-p", kSentence}).out, stop = text.substr(1, 2);
  REQUIRE(text.size() > 4);
  CHECK(run({"-p", kSentence, "--stop", stop}).out == text.substr(0, text.find(stop)) + "\n");
}

TEST_CASE("another seed each time, unless it is given; JSON says which") {
  const auto seed_of = [](const std::vector<std::string>& more) {
    std::vector<std::string> all{"run", demo_model(), "hi", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return nlohmann::json::parse(run_hearth(all).out)["seed"].get<uint64_t>();
  };
  CHECK(seed_of({}) != seed_of({}));
  CHECK(seed_of({"--seed", "7"}) == 7);
}

TEST_CASE("what does not go together") {
  check_refused(run({"-p", "x", "--system", "y"}), 2, {"--system", "--chat"});
  check_refused(run({"-p", "x", "--hide-thoughts"}), 2, {"--hide-thoughts", "--chat"});
  check_refused(run({"x", "--suffix", "y"}), 2, {"--suffix"});
  check_refused(run({"x", "--think"}), 2, {"--think", "switch"});
  check_refused(run({"x", "--think", "--no-think"}), 2, {"--think", "--no-think"});
}
