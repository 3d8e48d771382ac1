// What a chat keeps in files and reads from them, and the clipboard.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/runtime/cli/chat/piped_chat.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

namespace {

// A program of that name that keeps what it is given.
std::string stand_in(const TempDir& dir, const std::string& name, const std::string& does) {
  const std::string path = dir / name;
  write_text(path, "#!/bin/sh\n" + does + "\n");
  chmod(path.c_str(), 0755);
  return dir.path().string() + ":" + std::getenv("PATH");
}

}  // namespace

TEST_CASE("/save and /load: the conversation goes on, under names with blanks and ~") {
  const TempDir home;
  const ProcessOptions at_home{.environment = {{"HOME", home.path().string()}}};
  const auto whole = piped_chat(kAskFrance + kAskSum);
  const auto saved = piped_chat("/set max_tokens 50\n" + kAskFrance + "/save ~/my chat.json\n", {}, at_home);
  CHECK(saved.exit_code == 0);
  CHECK(contains(saved.err, "(saved: 2 messages in "));
  CHECK(contains(read_text(home / "my chat.json"), "\"content\": \"What is the capital of France?\""));
  const auto loaded =
      piped_chat("/load '~/my chat.json'\n" + kAskSum + "/set max_tokens\n/undo\n/retry\n", {}, at_home);
  INFO(loaded.err);
  CHECK(loaded.exit_code == 0);
  CHECK(contains(loaded.err, "(loaded: 2 messages; "));
  CHECK(contains(loaded.err, "max_tokens         50"));
  CHECK(loaded.out == lines_of(whole.out)[1] + "\n" + lines_of(whole.out)[0] + "\n");
}

TEST_CASE("/save and /load: what is refused changes nothing") {
  const TempDir dir;
  write_text(dir / "broken.json", "{\"format\": \"hearth chat\",\n \"version\": 1\n \"messages\": []}");
  write_text(dir / "notes.txt", "notes");
  const auto result = piped_chat(kAskFrance + "/load " + (dir / "broken.json") + "\n/load " + (dir / "none") +
                                 "\n/load\n/save\n/save " + (dir / "notes.txt") + "\n/save /dev/full\n/undo\n");
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(contains(result.err, "line 2: " + (dir / "broken.json") + ": the file is not JSON: parse error at line 3"));
  CHECK(contains(result.err, "line 3: " + (dir / "none") + ": No such file"));
  CHECK(contains(result.err, "line 4: /load: expected a path, found nothing"));
  CHECK(contains(result.err, "line 5: /save: expected a path, found nothing"));
  CHECK(contains(result.err, "line 6: " + (dir / "notes.txt") + ": expected a new name or a conversation"));
  CHECK(contains(result.err, "line 7: /dev/full: cannot write: No space left on device"));
  CHECK(contains(result.err, "(taken back: What is the capital of France?"));  // all was still there
  CHECK(read_text(dir / "notes.txt") == "notes");

  const auto saved = piped_chat(kAskFrance + "/save " + (dir / "chat.json") + "\n");
  REQUIRE(saved.exit_code == 0);
  const std::string before = read_text(dir / "chat.json");
  const auto full = piped_chat(kAskFrance + kAskSum + "/save " + (dir / "chat.json") + "\n", {},
                               {.file_size_limit = before.size() / 2});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "chat.json: cannot write: File too large"));
  CHECK(read_text(dir / "chat.json") == before);
}

TEST_CASE("/save alone writes where the conversation was saved or loaded last, and not after it was begun anew") {
  const TempDir dir;
  const std::string one = dir / "one.json", two = dir / "two.json";
  const auto saved = piped_chat("/save " + one + "\n" + kAskFrance + "/save\n/clear\n/save\n/system x\n/save\n");
  CHECK(saved.exit_code == 2);
  CHECK(contains(saved.err, "(saved: 0 messages in " + one + ")\n(saved: 2 messages in " + one + ")\n"));
  CHECK(contains(saved.err, "line 5: /save: expected a path, found nothing"));
  CHECK(contains(saved.err, "line 7: /save: expected a path, found nothing"));
  fs::copy_file(one, two);
  CHECK(contains(piped_chat("/load " + two + "\n/undo\n/save\n").err, "(saved: 0 messages in " + two + ")"));
  CHECK(contains(read_text(one), "France"));
  CHECK(!contains(read_text(two), "France"));
}

TEST_CASE("/file puts texts in front of the next message, with their sizes") {
  const TempDir dir;
  write_text(dir / "my notes.txt", "The answer is 42.\r\n");
  write_text(dir / "binary", std::string("\x7F"
                                         "ELF\0",
                                         5));
  write_text(dir / "long", std::string(16000, 'x'));
  write_text(dir / "huge", std::string(100000, 'x'));
  const auto result = piped_chat("/file " + (dir / "my notes.txt") + "\n/file\n/file " + (dir / "binary") + "\n/file " +
                                     (dir / "long") + "\n/file " + (dir / "huge") + "\n" + kAskSum + "/file\n/save " +
                                     (dir / "chat.json") + "\n/file " + (dir / "my notes.txt") + "\n/file off\n",
                                 {"--ctx", "512"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(contains(result.err, "my notes.txt: "));
  CHECK(contains(result.err, " tokens, in front of the next message; "));
  CHECK(contains(result.err, " of 512 are left)"));
  CHECK(contains(result.err, "line 3: " + (dir / "binary") + ": expected text, found a binary file"));
  CHECK(contains(result.err, "line 4: " + (dir / "long") + ": its "));
  CHECK(contains(result.err, "line 5: " + (dir / "huge") + ": too large for a context of 512 tokens"));
  CHECK(contains(result.err, "(no file is attached)"));
  CHECK(contains(read_text(dir / "chat.json"),
                 "my notes.txt\\n[file content begin]\\nThe answer is 42.\\n[file content end]\\nWhat is 12 + 7?\""));
}

TEST_CASE("/copy gives the last answer to the clipboard's program") {
  const TempDir dir;
  const std::string out = dir / "copied";
  ProcessOptions wayland{.environment = {{"PATH", stand_in(dir, "wl-copy", "cat > '" + out + "'")},
                                         {"WAYLAND_DISPLAY", "wayland-0"},
                                         {"DISPLAY", ""}}};
  const auto copied = piped_chat(kAskFrance + "/copy\n/copy code\n/copy that\n", {}, wayland);
  INFO(copied.err);
  CHECK(read_text(out) + "\n" == copied.out);
  CHECK(contains(copied.err, " bytes with wl-copy)"));
  CHECK(contains(copied.err, "line 3: /copy: the last answer has no block of code"));
  CHECK(contains(copied.err, "line 4: /copy: expected nothing or code, found \"that\""));
  // The next one, where a program fails, also without having read anything.
  wayland.environment[0].second = stand_in(dir, "wl-copy", "exec <&-; exit 1");
  wayland.environment[2].second = ":0";
  stand_in(dir, "xclip", "cat > '" + out + "'; echo \"$@\" >> '" + out + "'");
  const auto other = piped_chat(kAskFrance + "/copy\n" + kAskSum, {}, wayland);
  INFO(other.err);
  CHECK(contains(other.err, " bytes with xclip)"));
  CHECK(read_text(out) == lines_of(other.out)[0] + "-selection clipboard\n");
  CHECK(lines_of(other.out).size() == 2);  // and the chat went on
  const auto none = piped_chat(kAskFrance + "/copy\n", {}, {.environment = {{"WAYLAND_DISPLAY", ""}, {"DISPLAY", ""}}});
  CHECK(none.exit_code == 1);
  CHECK(contains(none.err, "line 2: no clipboard: expected wl-copy, xclip, pbcopy or a terminal that takes OSC 52"));
}

TEST_CASE("--transcript keeps what was said, and one that cannot be written is told once") {
  const TempDir dir;
  const std::string path = dir / "talk.md";
  const auto first = piped_chat(kAskFrance, {"--transcript", path});
  const auto second = piped_chat("/undo\n" + kAskSum + "/retry\n/clear\n", {"--transcript", path});
  CHECK(first.exit_code == 0);
  CHECK(first.err == "");
  const std::string text = read_text(path);
  INFO(text);
  CHECK(contains(text, "## You\n\n" + kAskFrance + "\n## hearth-demo\n\n" + first.out + "\n"));
  CHECK(contains(text, "*(/retry)*\n\n## You\n\n" + kAskSum));
  CHECK(text.ends_with("*(/clear)*\n\n"));
  CHECK(!contains(text, "/undo"));  // nothing was said yet
  const auto full = piped_chat(kAskFrance + kAskSum, {"--transcript", "/dev/full"});
  CHECK(full.exit_code == 1);
  CHECK(full.err == "hearth: line 1: --transcript /dev/full: No space left on device: nothing more is written there\n");
  CHECK(lines_of(full.out).size() == 2);
  check_refused(run_hearth({"chat", "none.gguf", "--transcript", dir.path().string()}), 1,
                {"--transcript", "Is a directory"});
}

TEST_CASE("a schema's file has an end, and its path may be typed as any") {
  const TempDir home;
  write_text(home / "yes or no.json", R"({"type": "boolean"})");
  const auto result = piped_chat("/json ~/yes or no.json\n" + kAskSum + "/json /dev/zero\n", {},
                                 {.environment = {{"HOME", home.path().string()}}});
  CHECK((contains(result.out, "true") || contains(result.out, "false")));
  CHECK(contains(result.err, "line 3: /dev/zero: expected at most"));
}
