// What the commands share of the terminal: signals as a flag, output that notices a full disk, a progress bar.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace hearth::cli {

// Ctrl-C, and the signals that tell a program to end (SIGTERM; SIGHUP, unless nohup wants it ignored; SIGPIPE, when
// whoever reads standard output has gone). Each raises one flag that whoever works looks at. A second Ctrl-C within the
// same piece of work ends the program the ordinary way.
void catch_interrupts();
bool interrupted();
// The signal that told the program to end, so nothing new is to be begun; 0: none did, or Ctrl-C, which ends what is
// going on at the moment.
int ending_signal();
void clear_interrupt();  // forgets Ctrl-C, not the others
// Throws Error(interrupted) when any of them came.
void check_interrupt();
// What the program ends with after Error(interrupted): 128 + the signal, as shells count.
int interrupt_status();
// Sleeps until standard input has something to read, or its end; a signal came (interrupted()), which goes first;
// somebody called wake_input; or `timeout_ms` have passed (negative: never).
enum class Input { ready, interrupted, woken, nothing };
Input wait_for_input(int timeout_ms = -1);
void wake_input();  // may be called from a signal handler

// A mapped file that somebody shortens is noticed when its end is read, in the middle of a kernel: from now on that is
// one line, and the exit code 1.
void catch_bus_errors();

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
bool stdout_has_colours();  // a terminal that knows them, and nobody who wants none ($NO_COLOR)

// To standard output. Throws Error(file) when it cannot be written: a full disk; Error(interrupted) when its reader has
// gone and catch_interrupts was called.
void write_out(std::string_view text);
void flush_out();
// To standard error, for people.
void write_err(std::string_view text);

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {
  write_err(fmt::format(format, std::forward<Args>(args)...));
}

// One line on standard error that is redrawn in place, with the rate and the time left; on anything but a terminal a
// line every five seconds.
class ProgressBar {
 public:
  explicit ProgressBar(std::string title);
  ~ProgressBar();  // ends the line
  // Clock and rate start with the first call. `also`: what else is going on, for people who read lines, too.
  void show(uint64_t done, uint64_t total, std::string_view what, std::string_view also = "");
  void finish();

 private:
  std::string title_;
  std::chrono::steady_clock::time_point start_, last_;
  uint64_t done_before_ = 0;
  bool drawn_ = false;
};

}  // namespace hearth::cli
