// Ctrl-C, Ctrl-Z and the signals of others, while somebody types and while an answer comes.
#include "tests/runtime/cli/person.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("Ctrl-C clears the line, Ctrl-D ends at an empty one only") {
  Person person;
  person.type("half a thought");
  person.shows("> half a thought");
  person.type("\x03");
  person.gets("interrupt\n");
  person.shows("> ");
  person.type("x\x04y\r");
  person.gets("interrupt\nline: xy\n");
  person.send(SIGINT);
  person.gets("interrupt\nline: xy\ninterrupt\n");
  person.type("\x04");
  CHECK(person.exit_code() == 0);
  CHECK(person.restored());
}

TEST_CASE("Ctrl-Z and fg: the terminal is the shell's meanwhile, then prompt and line come back") {
  for (const char* term : {"xterm", "dumb"}) {
    CAPTURE(term);
    Person person({.term = term, .in_shell = true});
    person.type("half a line");
    person.shows("> half a line");
    person.type("\x1a");
    person.until([&] { return person.screen().text().find("stopped$") != std::string::npos; });
    CHECK(person.restored());
    person.type("fg\r");
    person.shows("> half a line");
    CHECK((person.settings().c_lflag & ECHO) == 0);
    person.type(std::string(kLeft) + "E");
    person.shows("> half a linEe", 13);
    person.type("\r\"\"\"\r");
    if (std::string_view(term) == "xterm") person.shows("... ");
    person.type("second");
    person.shows("... second");
    person.type("\x1a");
    person.until([&] { return person.screen().row(person.screen().cursor_row()) == "... secondstopped$"; });
    person.type("fg\r");
    person.shows("... second");
    person.type("\"\"\"\r");
    person.gets("line: half a linEe\ntext: second\n");
    person.type("\x04");
    CHECK(person.exit_code() == 0);
    CHECK(person.restored());
  }
}

TEST_CASE("Ctrl-Z during an answer, and SIGSTOP") {
  Person person({.in_shell = true});
  person.type("answer\r");
  person.gets("line: answer\n");
  person.type("\x1a");
  person.until([&] { return person.screen().text().find("stopped$") != std::string::npos; });
  CHECK(person.restored());
  person.type("fg\r");
  person.until([&] { return (person.settings().c_lflag & ECHO) == 0; });
  person.type("\x03");
  person.shows("> ");
  person.type("more");
  person.shows("> more");
  person.send(SIGSTOP);
  person.until([&] { return person.screen().row(person.screen().cursor_row()).ends_with("$"); });
  person.type("fg\r");
  person.shows("> more");
  person.type("\r");
  person.gets("line: answer\nline: more\n");
}

TEST_CASE("what is typed during an answer is not shown, and comes next") {
  Person person;
  person.type("answer\r");
  person.gets("line: answer\n");
  person.until([&] { return person.screen().text().find("...") != std::string::npos; });
  person.type("ahead");
  person.paste("one\rtwo");
  const size_t dots = person.raw().size();
  person.until([&] { return person.raw().size() > dots + 20; });
  CHECK(person.screen().text().find("ahead") == std::string::npos);
  person.send(SIGINT);  // and not the key: with it, terminals forget what was typed
  person.shows("two");
  person.type("\r");
  person.gets("line: answer\nline: aheadone\\x0atwo\n");
  person.until([&] { return person.screen().row(person.screen().cursor_row()) == ">"; });
  person.type("answer\r\x03");  // at once
  person.type("next\r");
  person.gets("line: answer\nline: aheadone\\x0atwo\nline: answer\nline: next\n");
}

TEST_CASE("signals that end the program: the terminal is as it was, and the status says which") {
  struct Moment {
    const char *keys, *row;
  };
  for (const Moment moment : {Moment{"", "> "}, {"half", "> half"}, {"\"\"\"\r", "... "}, {"answer\r", nullptr}}) {
    for (const int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
      CAPTURE(moment.keys);
      CAPTURE(signal);
      Person person;
      person.type(moment.keys);
      if (moment.row) {
        person.shows(moment.row);
      } else {
        person.gets("line: answer\n");
        person.until([&] { return person.screen().text().find("...") != std::string::npos; });
      }
      CHECK_FALSE(person.restored());
      person.send(signal);
      CHECK(person.exit_code() == 128 + signal);
      CHECK(person.restored());
    }
  }
}

TEST_CASE("a signal wakes who waits at a pipe") {
  for (const int signal : {SIGINT, SIGTERM}) {
    int input[2], ready[2];
    REQUIRE(pipe(input) == 0);
    REQUIRE(pipe(ready) == 0);
    const pid_t child = fork();
    if (child == 0) {
      dup2(input[0], STDIN_FILENO);
      cli::catch_interrupts();
      if (write(ready[1], "", 1) < 0) _exit(9);
      cli::LineEditor editor("");
      std::string message;
      _exit(editor.read("", message) == Got::interrupt ? cli::interrupt_status() : 0);
    }
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WEXITSTATUS(status) == 128 + signal);
    for (const int end : {input[0], input[1], ready[0], ready[1]}) close(end);
  }
}
