// A person at a pseudo-terminal, and a program at its other side that reads messages and says what it got.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "runtime/cli/line_editor.h"
#include "runtime/cli/terminal.h"
#include "tests/runtime/cli/screen.h"
#include "tests/support/paths.h"

namespace hearth::test {

using Got = cli::LineEditor::Got;

// libedit shows wide characters, emoji and long texts less well, and has no keys for the lines of a message.
#ifdef HEARTH_LIBEDIT
inline constexpr bool kLibedit = true;
#else
inline constexpr bool kLibedit = false;
#endif

inline const bool locale_is_set = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;

inline std::string visible(const std::string& text) {
  std::string all;
  for (const char c : text) {
    const bool control = (c >= 0 && c < ' ') || c == '\x7F';
    all += control ? fmt::format("\\x{:02x}", unsigned(c)) : std::string(1, c);
  }
  return all;
}

// What stands for an answer: dots until a signal comes.
inline void answer_until_interrupted() {
  while (!cli::interrupted()) {
    cli::note(".");
    usleep(10000);
  }
  cli::note("stopped\n");
}

// The program: what it got, it writes into `log`, a line each.
inline int converse(const std::string& history, const std::string& log) {
  cli::catch_interrupts();
  cli::LineEditor editor(history, {"/help", "/hello", "/exit", "/system ", "/set seed ", "/set stop ", "/read PATH"});
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const auto say = [&](const std::string& line) {
    if (write(file, (line + "\n").data(), line.size() + 1) < 0) _exit(9);
  };
  for (std::string message;;) {
    if (cli::ending_signal() != 0) return cli::interrupt_status();
    cli::clear_interrupt();
    std::string begun = message.starts_with("edit ") ? message.substr(5) : "";
    std::replace(begun.begin(), begun.end(), '^', '\033');
    const Got got = editor.read("> ", message, begun);
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

inline constexpr const char *kUp = "\033[A", *kLeft = "\033[D", *kRight = "\033[C", *kHome = "\033[H", *kEnd = "\033[F";

}  // namespace hearth::test
