// A person's terminal with the chat on it.
#pragma once

#include <pty.h>
#include <termios.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/runtime/cli/hearth.h"

namespace hearth::test {

// A pseudo-terminal with `hearth chat` on it.
class Terminal {
 public:
  // `program`: hearth, or the one with an emulated GPU; `options` of `hearth chat`; `gpu`: HEARTH_EMULATED_GPU; `term`:
  // TERM, "dumb" where what comes is not to be edited on the screen.
  Terminal(const std::string& home, std::vector<std::string> options, std::string program = hearth_program(),
           const std::string& gpu = "", const char* term = "dumb") {
    options.insert(options.begin(), {program, "chat", demo_model()});
    std::vector<char*> arguments;
    for (std::string& option : options) arguments.push_back(option.data());
    arguments.push_back(nullptr);
    winsize size{24, 100, 0, 0};
    child_ = forkpty(&fd_, nullptr, nullptr, &size);
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      setenv("TERM", term, 1);
      setenv("HOME", home.c_str(), 1);
      unsetenv("XDG_STATE_HOME");
      if (!gpu.empty()) setenv("HEARTH_EMULATED_GPU", gpu.c_str(), 1);
      execv(program.c_str(), arguments.data());
      _exit(127);
    }
  }
  ~Terminal() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    close(fd_);
  }
  void type(const std::string& keys) { REQUIRE(write(fd_, keys.data(), keys.size()) == ssize_t(keys.size())); }
  // Reads until what came since the last call holds `part`; false after 20 s.
  bool wait_for(const std::string& part) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < end) {
      const size_t at = screen_.find(part, seen_);
      if (at != std::string::npos) {
        seen_ = at + part.size();
        return true;
      }
      pollfd p{fd_, POLLIN, 0};
      if (poll(&p, 1, 200) <= 0) continue;
      char buffer[4096];
      const ssize_t n = read(fd_, buffer, sizeof buffer);
      if (n <= 0) return false;
      screen_.append(buffer, size_t(n));
    }
    return false;
  }
  int exit_code() {
    wait_for("\x01never");  // drains until the program closes its side
    int status = 0;
    waitpid(child_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& screen() const { return screen_; }

 private:
  pid_t child_ = -1;
  int fd_ = -1;
  std::string screen_;
  size_t seen_ = 0;
};

}  // namespace hearth::test
