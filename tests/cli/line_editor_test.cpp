// The line editor on a pseudo-terminal, with a person's keys, and at a pipe. The program at the other side reads
// messages and says what it got.
#include "runtime/cli/line_editor.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>

#include "quant/error.h"
#include "runtime/cli/history_file.h"
#include "runtime/cli/terminal.h"
#include "tests/cli/screen.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;
using Got = cli::LineEditor::Got;

namespace {

// libedit shows wide characters, emoji and long texts less well, and has no keys for the lines of a message.
#ifdef HEARTH_LIBEDIT
constexpr bool kLibedit = true;
#else
constexpr bool kLibedit = false;
#endif

const bool locale_is_set = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;

std::string visible(const std::string& text) {
  std::string all;
  for (const char c : text) {
    const bool control = (c >= 0 && c < ' ') || c == '\x7F';
    all += control ? fmt::format("\\x{:02x}", unsigned(c)) : std::string(1, c);
  }
  return all;
}

// What stands for an answer: dots until a signal comes.
void answer_until_interrupted() {
  while (!cli::interrupted()) {
    cli::note(".");
    usleep(10000);
  }
  cli::note("stopped\n");
}

// The program: what it got, it writes into `log`, a line each.
int converse(const std::string& history, const std::string& log) {
  cli::catch_interrupts();
  cli::LineEditor editor(history, {"/help", "/hello", "/exit", "/system ", "/read PATH"});
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const auto say = [&](const std::string& line) {
    if (write(file, (line + "\n").data(), line.size() + 1) < 0) _exit(9);
  };
  for (;;) {
    if (cli::ending_signal() != 0) return cli::interrupt_status();
    cli::clear_interrupt();
    std::string message;
    const Got got = editor.read("> ", message);
    if (got == Got::end) break;
    if (got == Got::interrupt) {
      say("interrupt");
      continue;
    }
    say((got == Got::text ? "text: " : "line: ") + visible(message));
    if (got == Got::line && message == "/exit") break;
    if (message == "answer") answer_until_interrupted();
  }
  say("end");
  return 0;
}

struct PersonOptions {
  std::string history;
  const char* term = "xterm-256color";
  unsigned short rows = 10, columns = 40;
  bool in_shell = false;  // there is somebody to stop and continue the program
};

class Person {
 public:
  explicit Person(PersonOptions options = {}) : options_(options), screen_(options.rows, options.columns) {
    winsize size{options.rows, options.columns, 0, 0};
    child_ = forkpty(&fd_, nullptr, nullptr, &size);
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      const rlimit no_core{0, 0};
      setrlimit(RLIMIT_CORE, &no_core);
      setenv("TERM", options.term, 1);
      setenv("INPUTRC", "/dev/null", 1);
      setenv("HOME", folder_.path().c_str(), 1);
      _exit(options.in_shell ? shell() : converse(options.history, log()));
    }
    fcntl(fd_, F_SETFL, O_NONBLOCK);
    shows("> ");
  }
  ~Person() {
    kill(program(), SIGKILL);
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    close(fd_);
  }

  void type(std::string_view keys) {
    until([&] {
      const ssize_t n = ::write(fd_, keys.data(), keys.size());
      if (n > 0) keys.remove_prefix(size_t(n));
      return keys.empty();
    });
  }
  void paste(const std::string& text) { type("\033[200~" + text + "\033[201~"); }
  void resize(unsigned short rows, unsigned short columns) {
    pump();
    screen_.resize(rows, columns);
    winsize size{rows, columns, 0, 0};
    REQUIRE(ioctl(fd_, TIOCSWINSZ, &size) == 0);
  }
  void send(int signal) { kill(program(), signal); }

  // Waits; fails after half a minute.
  void until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) {
        FAIL("the screen:\n" << screen_.text() << "the program got:\n" << got());
      }
      pump();
    }
  }
  // The row with the cursor, and the cursor behind `before`, or at its end.
  void shows(const std::string& row) { shows(row, columns_of(row)); }
  void shows(const std::string& row, size_t column) {
    INFO("expected with the cursor at ", column, ": ", row);
    until([&] { return screen_.row(screen_.cursor_row()) == trimmed(row) && screen_.cursor_column() == column; });
  }
  void gets(const std::string& lines) {
    INFO("expected:\n", lines);
    until([&] { return got() == lines; });
  }
  std::string got() const {
    std::ifstream file(log());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  const Screen& screen() const { return screen_; }
  const std::string& raw() const { return raw_; }
  termios settings() const {
    termios settings;
    REQUIRE(tcgetattr(fd_, &settings) == 0);
    return settings;
  }
  bool restored() const {
    return (settings().c_lflag & (ECHO | ICANON | ISIG)) == (ECHO | ICANON | ISIG) && !screen_.marks_pastes();
  }
  // 128 + n after signal n.
  int exit_code() {
    int status = 0;
    until([&] { return waitpid(child_, &status, WNOHANG) == child_; });
    pump();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static std::string trimmed(const std::string& row) { return row.substr(0, row.find_last_not_of(' ') + 1); }
  static size_t columns_of(const std::string& row) {
    size_t columns = 0;
    std::mbstate_t state{};
    for (size_t i = 0; i < row.size();) {
      wchar_t c = 0;
      i += std::mbrtowc(&c, row.data() + i, row.size() - i, &state);
      columns += size_t(wcwidth(c));
    }
    return columns;
  }
  std::string log() const { return (folder_.path() / "got").string(); }
  pid_t program() const {
    std::ifstream file(folder_.path() / "pid");
    pid_t pid = 0;
    return file >> pid ? pid : child_;
  }
  void pump() {
    pollfd event{fd_, POLLIN, 0};
    if (poll(&event, 1, 10) <= 0) return;
    char buffer[4096];
    const ssize_t n = ::read(fd_, buffer, sizeof buffer);
    if (n <= 0) {
      usleep(10000);  // the other side is closed
      return;
    }
    raw_.append(buffer, size_t(n));
    screen_.write({buffer, size_t(n)});
  }

  // As shells do: the program is a job of its own. Stopped, it is continued when "fg" and Return are typed.
  int shell() const {
    std::signal(SIGTTOU, SIG_IGN);
    termios own;
    tcgetattr(STDIN_FILENO, &own);
    const pid_t job = fork();
    if (job == 0) {
      setpgid(0, 0);
      tcsetpgrp(STDIN_FILENO, getpid());
      std::signal(SIGTTOU, SIG_DFL);
      _exit(converse(options_.history, log()));
    }
    std::ofstream(folder_.path() / "pid") << job;
    for (;;) {
      int status = 0;
      waitpid(job, &status, WUNTRACED);
      tcsetpgrp(STDIN_FILENO, getpgrp());
      if (!WIFSTOPPED(status)) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      termios left;
      tcgetattr(STDIN_FILENO, &left);
      cli::note("{}$ ", left.c_lflag == own.c_lflag ? "stopped" : "stopped in disorder");
      char key = 0;
      while (key != '\n' && key != '\r' && ::read(STDIN_FILENO, &key, 1) == 1) continue;
      tcsetpgrp(STDIN_FILENO, job);
      kill(-job, SIGCONT);
    }
  }

  PersonOptions options_;
  TempDir folder_;
  Screen screen_;
  std::string raw_;
  pid_t child_ = -1;
  int fd_ = -1;
};

constexpr const char *kUp = "\033[A", *kLeft = "\033[D", *kRight = "\033[C", *kHome = "\033[H", *kEnd = "\033[F";

}  // namespace

TEST_CASE("a line, and the end") {
  REQUIRE(locale_is_set);
  Person person;
  person.type("hello");
  person.shows("> hello");
  person.type("\r");
  person.gets("line: hello\n");
  person.type("\x04");
  CHECK(person.exit_code() == 0);
  CHECK(person.got() == "line: hello\nend\n");
  CHECK(person.restored());
}

TEST_CASE("wide characters: the cursor is where it belongs" * doctest::skip(kLibedit)) {
  Person person;
  person.type("请翻译文字");
  person.shows("> 请翻译文字");
  person.type(kHome);
  person.type("x");
  person.shows("> x请翻译文字", 3);
  person.type(kRight);
  person.shows("> x请翻译文字", 5);
  person.type("\x7F");  // backspace
  person.shows("> x翻译文字", 3);
  person.type(kEnd);
  person.type(kLeft);
  person.type("y");
  person.shows("> x翻译文y字", 10);
  person.type("\r");
  person.gets("line: x翻译文y字\n");
}

TEST_CASE("emoji of several code points and combining marks leave nothing behind" * doctest::skip(kLibedit)) {
  const std::string family = "👩\u200D👩\u200D👧", accent = "e\u0301";
  Person person;
  person.type(family + "a" + accent + "b");
  person.shows("> " + family + "a" + accent + "b");
  person.type(std::string(kLeft) + kLeft + "\x7F");  // the a
  person.shows("> " + family + accent + "b", 8);
  person.type("\x0B");  // Ctrl-K
  person.shows("> " + family);
  person.type("\x15");  // Ctrl-U
  person.shows("> ");
  person.type("ok\r");
  person.gets("line: ok\n");
}

TEST_CASE("wide characters at the edge of the window, and lines longer than it" * doctest::skip(kLibedit)) {
  Person person({.rows = 6, .columns = 11});
  person.type("一二三四五");  // the fifth has one column left, and goes to the next row
  person.shows("五");
  CHECK(person.screen().row(0) == "> 一二三四");
  person.type(kHome);
  person.type("x");
  person.shows("> x一二三四", 3);
  CHECK(person.screen().row(1) == "五");
  person.type("\x7F");
  person.shows("> 一二三四", 2);
  person.type(kEnd);
  person.type("六七八九十\r");
  person.gets("line: 一二三四五六七八九十\n");

  std::string row;
  for (int i = 0; i < 30; ++i) row += fmt::format("{:02} is a row ", i);  // 12 columns each, 33 rows
  person.type(row);
  person.shows(" is a row ");
  person.type(kHome);
  person.shows("> 00 is a r", 2);
  person.type("X");
  person.shows("> X00 is a", 3);
  person.type("\x05");  // Ctrl-E: behind a full row, so at the beginning of the next
  person.shows("");
  CHECK(person.screen().row(person.screen().cursor_row() - 1) == "9 is a row");
  person.type("!\r");
  person.gets("line: 一二三四五六七八九十\nline: X" + row + "!\n");
}

TEST_CASE("several pasted lines are one message; tabs, control characters and quotes in them are text") {
  Person person;
  CHECK(person.screen().marks_pastes());
  person.paste("Sort these:\r3 1 2\rthank you");
  person.shows("thank you");
  person.type("\r");
  person.gets("text: Sort these:\\x0a3 1 2\\x0athank you\n");
  person.paste("a\tb");
  person.shows("> a     b");
  person.type("\r");
  person.gets("text: Sort these:\\x0a3 1 2\\x0athank you\nline: a\\x09b\n");
}

TEST_CASE("pastes of all kinds") {
  const auto pasted = [](const std::string& text, const std::string& message) {
    CAPTURE(text);
    Person person;
    person.paste(text);
    person.type("\r");
    person.gets(message + "\n");
  };
  pasted("one\r\ntwo\r\n", "text: one\\x0atwo");
  pasted("one\ntwo\n\n", "text: one\\x0atwo\\x0a");
  pasted("C:\\folder\\", "line: C:\\folder\\");
  pasted("\"\"\"\ndef f():\n\"\"\"", "text: \"\"\"\\x0adef f():\\x0a\"\"\"");
  pasted("red \033[31m\007 and \x03\x1a\x1c\x04", "line: red \\x1b[31m\\x07 and \\x03\\x1a\\x1c\\x04");
  std::string lines, visible_lines;
  for (int i = 0; i < 200; ++i) {
    lines += fmt::format("line {} of many, with enough text to fill it\n", i);
    visible_lines += fmt::format("line {} of many, with enough text to fill it\\x0a", i);
  }
  pasted(lines + "last", "text: " + visible_lines + "last");
}

TEST_CASE("a long paste can be edited, and stays on the screen whole" * doctest::skip(kLibedit)) {
  Person person;
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += fmt::format("line {}\r", i);
  person.paste(lines + "end");
  person.shows("end");
  CHECK(person.screen().row(0) == "line 41");
  person.type("!");
  person.shows("end!");
  for (int i = 0; i < 3; ++i) person.type(kUp);
  person.shows("line 47", 4);
  person.type("X");
  person.shows("lineX 47", 5);
  person.type(kHome);
  person.shows("lineX 47", 0);
  person.type(kEnd);
  person.shows("lineX 47");
  for (int i = 0; i < 20; ++i) person.type(kUp);
  person.shows("line 27");
  person.type("\033[B\033[B");
  person.shows("line 29");
  const size_t seen = person.raw().size();
  person.type("\r");
  person.until([&] { return person.got().ends_with("lineX 47\\x0aline 48\\x0aline 49\\x0aend!\n"); });
  person.shows("> ");
  CHECK(person.raw().find("> line 0\r", seen) != std::string::npos);
  CHECK(person.screen().row(person.screen().cursor_row() - 1) == "end!");
}

TEST_CASE("a paste that was cut is ended by a key") {
  Person person;
  person.type("\033[200~half a paste");
  person.shows("> half a paste");
  person.type("\r");
  person.gets("line: half a paste\n");
  person.type("\033[200~one\rtw");
  person.shows("tw");
  person.type("o\rthree\033[201~");  // it was slow
  person.shows("three");
  person.type("\r");
  person.gets("line: half a paste\ntext: one\\x0atwo\\x0athree\n");
}

TEST_CASE("quotes open and close a block, a backslash continues a line") {
  Person person;
  person.type("\"\"\"\r");
  person.shows("... ");
  person.type("one\r");
  person.shows("... ");
  person.type("\r");
  person.type("two \\\r");
  person.paste("pasted\r\"\"\"");
  person.type("\r");
  person.type("three\"\"\"\r");
  std::string all = "text: one\\x0a\\x0atwo \\\\x0apasted\\x0a\"\"\"\\x0athree\n";
  person.gets(all);
  person.type("\"\"\"first\rlast\r\"\"\"\r");
  person.gets(all += "text: first\\x0alast\n");
  person.type("\"\"\"/exit\"\"\"\r");
  person.gets(all += "text: /exit\n");
  person.type("a \\\rb\\\rc\r");
  person.gets(all += "line: a \\x0ab\\x0ac\n");
  person.type("\"\"\"\rforgotten\r");
  person.shows("... ");
  person.type("\x03");
  person.gets(all += "interrupt\n");
  person.type("\"\"\"\rkept\r\x04");  // Ctrl-D ends what is there
  person.gets(all += "text: kept\n");
}

TEST_CASE("keys that mean nothing put nothing in") {
  Person person;
  for (const char* key : {"\033[15~",
                          "\033[20;5~",
                          "\033[[A",
                          "\033OP",
                          "\033[M !!",
                          "\033[<0;10;5M",
                          "\033[99;6u",
                          "\033]11;rgb:0000/0000/0000\007",
                          "\033P1$r0m\033\\",
                          "\033[?1;2c",
                          "\033[200",
                          "\033[I",
                          "\033\033[5~",
                          "\033[1;2P",
                          "\033[24~",
                          "\033é",
                          "\033[",
                          "\033O",
                          "\x1e",
                          "\033[57399u"}) {
    person.type(key);
  }
  person.type("clean");
  person.shows("> clean");
  person.type(std::string("\033OD\033[D\033[1~") + "un\033[4~ly\r");
  person.gets("line: uncleanly\n");
}

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

TEST_CASE("the window changes its size while somebody types" * doctest::skip(kLibedit)) {
  Person person({.rows = 8, .columns = 20});
  person.type("above\r");
  person.gets("line: above\n");
  person.type("twelve columns and a few more");
  person.shows(" a few more");
  person.resize(8, 40);
  person.shows("> twelve columns and a few more");
  CHECK(person.screen().row(0) == "> above");
  person.resize(8, 12);
  person.shows("ew more");
  person.type("!");
  person.shows("ew more!");
  person.resize(3, 9);
  person.type("?");
  person.until([&] { return person.screen().row(person.screen().cursor_row()).ends_with("!?"); });
  person.type("\r");
  person.gets("line: above\nline: twelve columns and a few more!?\n");
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
  if (kLibedit) return;  // which shows its prompt before Ctrl-C is a character
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

TEST_CASE("history: several lines, two chats at once, killed at any time") {
  const TempDir folder;
  const std::string path = folder / "history";
  {
    Person one({.history = path}), two({.history = path});
    one.type("first\r");
    one.gets("line: first\n");
    two.type("second\r");
    two.gets("line: second\n");
    one.paste("several\rlines\\n\twith a tab");
    one.type("\r");
    one.until([&] { return one.got().find("several") != std::string::npos; });
    one.type("  \r");  // nothing to keep
    one.gets("line: first\ntext: several\\x0alines\\n\\x09with a tab\nline:   \n");
  }  // SIGKILL
  struct stat about;
  REQUIRE(stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK(cli::HistoryFile(path).load() == std::vector<std::string>{"first", "second", "several\nlines\\n\twith a tab"});

  Person later({.history = path});
  later.type(kUp);
  later.shows("lines\\n with a tab");
  later.type("\r");
  later.gets("line: several\\x0alines\\n\\x09with a tab\n");
  later.type(
      "\x12"
      "sec");  // Ctrl-R
  later.until([&] { return later.screen().text().find(kLibedit ? "bck:sec" : "`sec': second") != std::string::npos; });
  later.type("\r");
  later.gets("line: several\\x0alines\\n\\x09with a tab\nline: second\n");
  later.type("\x10\x10");  // Ctrl-P, and the one before
  later.shows("lines\\n with a tab");
}

TEST_CASE("history: what libedit wrote is read, and what is too long is made shorter") {
  const TempDir folder;
  const std::string path = folder / "history", link = folder / "link";
  std::ofstream(path) << "_HiStOrY_V2_\nHello\\040there\\134\n\\350\\257\\267\na\\012b\n";
  fs::create_symlink("history", link);
  const std::vector<std::string> expected{"Hello there\\", "请", "a\nb"};
  CHECK(cli::HistoryFile(link).load() == expected);
  CHECK(cli::HistoryFile(link).load() == expected);  // in its new form
  CHECK(fs::is_symlink(link));

  cli::HistoryFile history(path);
  {
    std::ofstream file(path);
    for (int i = 0; i < 1099; ++i) file << i << "\n";
  }
  history.append("1099");
  const auto entries = history.load();
  REQUIRE(entries.size() == cli::HistoryFile::kEntries);
  CHECK(entries.front() == "100");
  CHECK(entries.back() == "1099");
  CHECK(fs::file_size(path) < 5000);
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) ==
        3);  // and the lock; no scraps

  std::ofstream(path, std::ios::app) << "cut";  // the disk was full
  history.append("after");
  CHECK(history.load().back() == "after");
  history.append(std::string(cli::HistoryFile::kBytes, 'x'));
  history.append("small");
  CHECK(history.load() == std::vector<std::string>{"small"});
}

TEST_CASE("history: many writers, and others that shorten it, lose nothing") {
  const TempDir folder;
  const std::string path = folder / "history";
  {
    std::ofstream file(path);
    for (size_t i = 0; i < cli::HistoryFile::kEntries; ++i) file << "x\n";  // so every start shortens it
  }
  std::vector<pid_t> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.push_back(fork());
    if (writers.back() != 0) continue;
    for (int i = 0; i < 60; ++i) {
      cli::HistoryFile history(path);
      history.append(fmt::format("{} {}", writer, i));
      history.load();
    }
    _exit(0);
  }
  for (const pid_t writer : writers) waitpid(writer, nullptr, 0);
  int next[4] = {-1, -1, -1, -1};
  for (const std::string& entry : cli::HistoryFile(path).load()) {
    if (entry.front() == 'x') continue;
    const int writer = entry[0] - '0', number = std::stoi(entry.substr(2));
    CAPTURE(entry);
    CHECK((next[writer] < 0 || number == next[writer]));
    next[writer] = number + 1;
  }
  for (const int after : next) CHECK(after == 60);
}

TEST_CASE("history: none, or one that cannot be read or written, is no reason to fail") {
  const TempDir folder;
  const std::string fifo = folder / "fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::string& path : {std::string(), folder.path().string(), fifo, std::string("/dev/full"),
                                  folder / "no/such/folder", std::string("/proc/version")}) {
    CAPTURE(path);
    Person person({.history = path});
    person.type("hello\r");
    person.gets("line: hello\n");
    person.shows("> ");
    person.type(kUp);
    person.shows("> hello");
  }
}

TEST_CASE("Tab completes commands and paths, and is nothing elsewhere") {
  const TempDir folder;
  fs::create_directories(folder.path() / "texts");
  std::ofstream(folder / "texts/one file.txt");
  std::ofstream(folder / "texts/请一");
  std::ofstream(folder / "texts/请二");
  std::ofstream(folder / "texts/.hidden");
  Person person({.columns = 120});
  const std::string texts = folder / "texts";
  const auto types = [&](const std::string& keys, const std::string& row) {
    CAPTURE(keys);
    person.type(keys);
    person.shows("> " + row);
    person.type("\x15");
    person.shows("> ");
  };
  types("/ex\t", "/exit");
  types("/r\tx", "/read x");
  types("/system te\t", "/system te");
  types("/h\t", "/hel");
  types("/read " + texts.substr(0, texts.size() - 2) + "\t", "/read " + texts + "/");
  types("/read " + texts + "/one \t", "/read " + texts + "/one file.txt");
  types("see " + texts + "/o\t!", "see " + texts + "/one file.txt!");
  types("see " + texts + "/\xE8\xAF\xB7\t", "see " + texts + "/请");
  types("word\tnext\t", "wordnext");
  types("\ta", "a");
  person.type("/hel\t");
  person.until([&] { return person.screen().text().find("/help  /hello\n> /hel\n") != std::string::npos; });
  person.type("\x15/read " + texts + "/\t");
  person.until([&] { return person.screen().text().find("one file.txt  请一  请二\n") != std::string::npos; });
}

TEST_CASE("a dumb terminal") {
  Person person({.term = "dumb"});
  CHECK_FALSE(person.screen().marks_pastes());
  person.type("请翻译\x01x\r");
  person.gets("line: x请翻译\n");
  person.type("a line that is longer than the window has columns, moved sideways\r");
  person.until([&] {
    return person.got().ends_with("line: a line that is longer than the window has columns, moved sideways\n");
  });
  person.type("half\x03");
  person.until([&] { return person.got().ends_with("interrupt\n"); });
  person.send(SIGTERM);
  CHECK(person.exit_code() == 143);
  CHECK(person.restored());
}

TEST_CASE("from a pipe every line is a message as it stands") {
  const auto messages = [](const std::string& input) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const TempDir folder;
    const std::string log = folder / "got";
    const pid_t child = fork();
    if (child == 0) {
      dup2(ends[0], STDIN_FILENO);
      close(ends[1]);
      _exit(converse("", log));
    }
    close(ends[0]);
    REQUIRE(write(ends[1], input.data(), input.size()) == ssize_t(input.size()));
    close(ends[1]);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    std::ifstream file(log);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  CHECK(messages("") == "end\n");
  CHECK(messages("\xEF\xBB\xBF") == "line: \nend\n");
  CHECK(messages("one\r\n\r\ntwo\r\n") == "line: one\nline: \nline: two\nend\n");
  CHECK(messages("\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo") == "line: one\nline: \xEF\xBB\xBFtwo\nend\n");
  CHECK(messages("a\\\nb\\") == "line: a\\\nline: b\\\nend\n");
  CHECK(messages("\"\"\"\na\n\"\"\"") == "line: \"\"\"\nline: a\nline: \"\"\"\nend\n");
  CHECK(messages(std::string("a\0b\n\tc\rd\r", 9)) == "line: a\\x00b\nline: \\x09c\\x0dd\nend\n");
  CHECK(messages(std::string(60000, 'x') + "\ny\n") == "line: " + std::string(60000, 'x') + "\nline: y\nend\n");
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
