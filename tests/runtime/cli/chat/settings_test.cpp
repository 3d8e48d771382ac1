// Settings by name, files that are attached, and what is written down.
#include "runtime/cli/chat/settings.h"

#include <doctest/doctest.h>

#include "runtime/cli/chat/attachment.h"
#include "runtime/cli/chat/transcript.h"
#include "tests/runtime/cli/chat/demo_session.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("settings: each is changed, shown and put back") {
  DemoSession demo;
  cli::ChatSettings at_start = greedy();
  at_start.system = "Be brief.";
  at_start.stops = {"END"};
  const std::vector<std::pair<std::string, std::string>> values = {{"temperature", "0.7"},
                                                                   {"top_p", "0.5"},
                                                                   {"top_k", "40"},
                                                                   {"min_p", "0.05"},
                                                                   {"repeat_penalty", "1.1"},
                                                                   {"repeat_window", "32"},
                                                                   {"frequency_penalty", "-1.5"},
                                                                   {"presence_penalty", "2"},
                                                                   {"seed", "18446744073709551615"},
                                                                   {"max_tokens", "4096"},
                                                                   {"system", "Answer in French, please."},
                                                                   {"hide_thoughts", "on"}};
  const auto shown = [&](const std::string& name, const cli::ChatSettings& settings) {
    const SamplerOptions options = chosen_sampling(settings.sampling, demo.model.model->file().metadata(), nullptr);
    return cli::setting_line(name, settings, options, demo->format());
  };
  for (const auto& [name, value] : values) {
    CAPTURE(name);
    const cli::ChatSettings changed = cli::with_setting(at_start, name, value, at_start);
    CHECK(shown(name, changed) == fmt::format("{:18} {}", name, value));
    const cli::ChatSettings back = cli::with_setting(changed, name, "default", at_start);
    if (name != "seed") CHECK(shown(name, back) == shown(name, at_start));
    CHECK(back.sampling == at_start.sampling);
  }
  CHECK(cli::setting_names().size() == values.size() + 2);
  CHECK(cli::with_setting(at_start, "temp", "0.5", at_start).sampling.temperature == 0.5f);
  CHECK(cli::with_setting(at_start, "top-p", "0.5", at_start).sampling.top_p == 0.5f);
  CHECK(cli::with_setting(at_start, "max_tokens", "4k", at_start).max_tokens == 4096);
  CHECK(cli::with_setting(at_start, "max_tokens", "off", at_start).max_tokens == -1);
  CHECK(cli::with_setting(at_start, "seed", "random", at_start).sampling.seed.has_value());
  CHECK(cli::with_setting(at_start, "system", "off", at_start).system == "");
  CHECK(cli::with_setting(at_start, "think", "off", at_start).think == false);
  CHECK(cli::with_setting(at_start, "stop", "a b", at_start).stops == std::vector<std::string>{"END", "a b"});
  CHECK(cli::with_setting(at_start, "stop", "[x,y]", at_start).stops.back() == "[x,y]");
  CHECK(shown("stop", cli::with_setting(at_start, "stop", "off", at_start)) == fmt::format("{:18} off", "stop"));
  CHECK(shown("think", at_start) == fmt::format("{:18} cannot be switched with this template", "think"));
}

TEST_CASE("settings: a value is refused as on the command line, by the setting's name") {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"temperature", "300"},     {"temperature", "warm"}, {"top-p", "1.5"},         {"top-k", "-1"},
      {"min-p", "nan"},           {"repeat-penalty", ""},  {"repeat-window", "1.5"}, {"frequency-penalty", "3"},
      {"presence-penalty", "-3"}, {"seed", "-2"},          {"max-tokens", "0"},      {"max-tokens", "many"}};
  for (const auto& [name, value] : wrong) {
    CAPTURE(name);
    const std::string option = name == "temperature" ? "temp" : name;
    const auto on_command_line = run_hearth({"chat", "none.gguf", "--" + option + "=" + value});
    CHECK(on_command_line.exit_code == 2);
    const std::string message = refused([&] { cli::with_setting({}, name, value, {}); });
    const size_t end = on_command_line.err.find(" (see: ");
    const std::string begins = "hearth: --" + option;
    REQUIRE(on_command_line.err.starts_with(begins));
    std::string setting = name;
    std::replace(setting.begin(), setting.end(), '-', '_');
    CHECK(message == setting + on_command_line.err.substr(begins.size(), end - begins.size()));
  }
  CHECK(refused([] { cli::with_setting({}, "think", "maybe", {}); }) ==
        "think: expected on, off or default, found \"maybe\"");
  CHECK(refused([] { cli::with_setting({}, "temprature", "1", {}); }) ==
        "temprature: no such setting: did you mean temperature? (/set lists them)");
  CHECK(refused([] { cli::with_setting({}, "colour", "1", {}); }) == "colour: no such setting (/set lists them)");
}

TEST_CASE("attachments: text is read as from a pipe; all else is refused in a line with its numbers") {
  const TempDir dir;
  write_text(dir / "my notes.txt", "\xEF\xBB\xBFone\r\ntwo\r\n");
  CHECK(cli::read_attachment(dir / "my notes.txt", 100) == "one\ntwo");
  const auto check = [&](const std::string& content, const std::string& part) {
    write_text(dir / "bad", content);
    const std::string message = refused([&] { cli::read_attachment(dir / "bad", 100); });
    CHECK_MESSAGE(message == (dir / "bad") + ": " + part, message);
  };
  check(std::string("ab\0c", 4), "expected text, found a binary file (a zero at offset 2)");
  check("abc\xff", "expected UTF-8, found a bad byte at offset 3");
  check("\n", "expected text, found an empty file");
  check(std::string(3201, 'x'), "too large for a context of 100 tokens: expected at most 3,200 bytes, found more");
  CHECK(contains(refused([] { cli::read_attachment("/dev/zero", 4096); }), "found more"));
  CHECK(contains(refused([&] { cli::read_attachment(dir.path().string(), 100); }), "Is a directory"));
  CHECK(contains(refused([&] { cli::read_attachment(dir / "none", 100); }), "No such file"));
}

TEST_CASE("transcript: what is said is there as soon as it is said, and the file grows") {
  const TempDir dir;
  const std::string path = dir / "talk.md";
  for (int i = 0; i < 2; ++i) {
    cli::Transcript transcript(path, "demo");
    transcript.remark("nothing was said yet");
    transcript.question("What is\n12 + 7?");
    transcript.piece({"Let me\nsee", ""});
    transcript.piece({".", "1"});
    CHECK(read_text(path).ends_with("> Let me\n> see.\n\n1"));
    transcript.piece({"", "9"});
    transcript.end_answer("stopped");
    transcript.require_written();
  }
  const std::string text = read_text(path), half = text.substr(text.size() / 2);
  CHECK(text.substr(0, text.size() / 2) == half);
  CHECK(half.starts_with("# demo, 20"));
  CHECK(half.substr(half.find('\n')) ==
        "\n\n## You\n\nWhat is\n12 + 7?\n\n## demo\n\n> Let me\n> see.\n\n19\n\n*(stopped)*\n\n");
  CHECK(contains(refused([&] { cli::Transcript(dir.path().string(), "demo"); }), "--transcript"));
  cli::Transcript full("/dev/full", "demo");
  full.question("Hello!");
  full.piece({"", "Hi!"});
  CHECK(refused([&] { full.require_written(); }) ==
        "--transcript /dev/full: No space left on device: nothing more is written there");
  full.question("Hello!");
  CHECK(refused([&] { full.require_written(); }) == "");  // told once
}
