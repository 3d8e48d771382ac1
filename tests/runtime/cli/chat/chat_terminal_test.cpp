// The commands of a chat as a person at a terminal has them.
#include <doctest/doctest.h>

#include "tests/runtime/cli/chat/piped_chat.h"
#include "tests/runtime/cli/terminal.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

namespace {

std::vector<std::string> options(std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--temp", "0", "--no-history", "--threads", "1"});
  return more;
}

}  // namespace

TEST_CASE("at a terminal: /edit puts the last message there to be changed, and the context is shown") {
  TempDir home;
  Terminal terminal(home.path().string(), options());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/edit\r");
  CHECK_MESSAGE(terminal.wait_for("nothing was asked yet"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("What is 12 + 7?\r");
  CHECK_MESSAGE(terminal.wait_for("19"), terminal.screen());
  CHECK_MESSAGE(terminal.wait_for(" of 2,048 tokens used]"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/edit\r");
  CHECK_MESSAGE(terminal.wait_for("> What is 12 + 7?"), terminal.screen());
  terminal.type(
      "\x7F\x7F"
      "6?\r");
  CHECK_MESSAGE(terminal.wait_for("18"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/edit\r");
  REQUIRE(terminal.wait_for("12 + 6?"));
  terminal.type("\x03");  // Ctrl-C: never mind
  CHECK_MESSAGE(terminal.wait_for("(the message stays as it was)"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/edit\r");
  REQUIRE(terminal.wait_for("12 + 6?"));
  terminal.type("\x15\r");  // Ctrl-U: nothing is left
  CHECK_MESSAGE(terminal.wait_for("(the message stays as it was)"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/stats\r");
  CHECK_MESSAGE(terminal.wait_for("2 answers"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/undo\r");
  CHECK_MESSAGE(terminal.wait_for("(taken back: What is 12 + 6?; 0 of 2,048 tokens used)"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("\x04");
  CHECK(terminal.exit_code() == 0);
}

TEST_CASE("at a terminal: Tab completes commands, settings and paths; --quiet says nothing besides") {
  TempDir home;
  write_text(home / "my notes.txt", "notes");
  Terminal terminal(home.path().string(), options({"--quiet"}));
  REQUIRE(terminal.wait_for("> "));
  CHECK(terminal.screen().find("hearth-demo") == std::string::npos);
  terminal.type("/set temp\t0.5\r");
  CHECK_MESSAGE(terminal.wait_for("temperature        0.5"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/fi\t~/my\t\r");
  CHECK_MESSAGE(terminal.wait_for("my notes.txt: "), terminal.screen());
  CHECK_MESSAGE(terminal.wait_for("in front of the next message"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("Hello!\r");
  REQUIRE(terminal.wait_for("\n"));
  REQUIRE(terminal.wait_for("> "));
  CHECK(terminal.screen().find("tokens used") == std::string::npos);
  terminal.type("/hlep\r");
  CHECK_MESSAGE(terminal.wait_for("unknown command /hlep: did you mean /help?"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/exit\r");
  CHECK(terminal.exit_code() == 0);
}

TEST_CASE("at a terminal: an answer that is stopped is kept, in the transcript too, and /retry asks again") {
  TempDir home;
  const std::string transcript = home / "talk.md";
  Terminal terminal(home.path().string(), options({"--transcript", transcript}));
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/json {\"type\": \"string\", \"minLength\": 100000}\r");  // an answer without end
  REQUIRE(terminal.wait_for("answers satisfy"));
  REQUIRE(terminal.wait_for("> "));
  for (const char* line : {"Hello!\r", "/retry\r"}) {
    terminal.type(line);
    REQUIRE(terminal.wait_for("\n"));
    REQUIRE(terminal.wait_for("\""));
    terminal.type("\x03");
    CHECK_MESSAGE(terminal.wait_for("(stopped)"), terminal.screen());
    REQUIRE(terminal.wait_for("> "));
  }
  const std::string said = read_text(transcript);
  CHECK(contains(said, "## You\n\nHello!\n\n## hearth-demo\n\n"));
  CHECK(contains(said, "*(stopped)*\n\n*(/retry)*\n\n"));
  CHECK(said.ends_with("*(stopped)*\n\n"));
  terminal.type("Hello!\r\x03");  // before a word
  CHECK_MESSAGE(terminal.wait_for("/retry asks it again"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/undo\r");  // of the question that was answered
  CHECK_MESSAGE(terminal.wait_for("(taken back: Hello!; 0 of"), terminal.screen());
  CHECK_MESSAGE(terminal.wait_for("/retry asks the message that waits"), terminal.screen());
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/exit\r");
  CHECK(terminal.exit_code() == 0);
}

TEST_CASE("at a terminal: /copy hands the answer to it, as OSC 52 has it") {
  TempDir home;
  setenv("WAYLAND_DISPLAY", "", 1);
  setenv("DISPLAY", "", 1);
  Terminal terminal(home.path().string(), options({"--stop", "+"}), hearth_program(), "", "xterm-256color");
  REQUIRE(terminal.wait_for("> "));
  terminal.type("What is 12 + 7?\r");
  REQUIRE(terminal.wait_for("tokens used]"));
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/copy\r");
  CHECK_MESSAGE(terminal.wait_for("\033]52;c;MTIg\a"), terminal.screen());  // "12 ", which stands before the +
  CHECK_MESSAGE(terminal.wait_for("(copied 3 bytes with the terminal, by OSC 52)"), terminal.screen());
  terminal.type("/exit\r");
  CHECK(terminal.exit_code() == 0);
}
