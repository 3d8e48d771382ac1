#include "runtime/cli/terminal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "quant/error.h"
#include "quant/mapped_file.h"
#include "runtime/cli/typing_mode.h"

namespace hearth::cli {
namespace {

std::atomic<int> ctrl_c{0};         // whether it came
std::atomic<int> ending{0};         // the signal that told the program to end
std::atomic<int64_t> ctrl_c_at{0};  // nanoseconds
std::atomic<bool> woken{false};
int interrupt_event = -1;  // readable after any of these was set: wakes a prompt, whichever thread took the signal

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);  // may be called from a signal handler
  return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

void on_interrupt(int signal) {
  if (signal != SIGINT) {
    ending = signal;
    eventfd_write(interrupt_event, 1);
    return;
  }
  // `timeout` sends its signal to the program and to the group that it is in: twice at once is once.
  constexpr int64_t kTwice = 200000000;
  const int64_t now = now_ns();
  const bool again = ctrl_c.exchange(1) != 0;
  eventfd_write(interrupt_event, 1);
  if (!again) ctrl_c_at = now;
  if (!again || now - ctrl_c_at < kTwice) return;
  restore_terminal();
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);
}

// Only what may be called from a signal handler is.
void on_bus_error(int, siginfo_t* info, void*) {
  // Several threads may meet the end of a file at once: one of them says so, and ends them all.
  static std::atomic_flag said;
  const char* const path = mapped_file_at(info->si_addr);
  while (path && said.test_and_set()) pause();
  if (!path) {  // not ours: it happens again, and is fatal then
    std::signal(SIGBUS, SIG_DFL);
    return;
  }
  restore_terminal();
  for (const char* text : {isatty(STDERR_FILENO) ? "\r\033[K" : "", "hearth: ", path,
                           ": cannot be read: it was shortened while it was in use, or its disk failed\n"}) {
    if (write(STDERR_FILENO, text, std::strlen(text)) < 0) break;
  }
  _exit(1);
}

}  // namespace

void catch_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

void catch_interrupts() {
  if (interrupt_event < 0) interrupt_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a prompt that waits for a line must notice
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    struct sigaction before;
    const bool ignored = sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN;
    if (!ignored || signal == SIGINT || signal == SIGTERM) sigaction(signal, &action, nullptr);
  }
}

bool interrupted() {
  return ctrl_c != 0 || ending != 0;
}
int ending_signal() {
  return ending;
}
void clear_interrupt() {
  ctrl_c = 0;
}
void check_interrupt() {
  if (interrupted()) fail(ErrorKind::interrupted, "interrupted");
}
int interrupt_status() {
  return 128 + (ending != 0 ? ending.load() : SIGINT);
}

Input wait_for_input(int timeout_ms) {
  pollfd events[] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_event, POLLIN, 0}};
  for (;;) {
    if (interrupted()) return Input::interrupted;
    if (woken.exchange(false)) return Input::woken;
    const int ready = poll(events, 2, timeout_ms);
    if (ready == 0) return Input::nothing;
    if (ready > 0 && events[1].revents == 0) return Input::ready;
    eventfd_t count;
    eventfd_read(interrupt_event, &count);  // what happened is looked at anew
  }
}

void wake_input() {
  woken = true;
  eventfd_write(interrupt_event, 1);
}

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) != 0;
}
bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) != 0;
}
bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) != 0;
}

bool stdout_has_colours() {
  const char* const terminal = std::getenv("TERM");
  const char* const no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && terminal && std::string_view(terminal) != "dumb" && !(no_colour && *no_colour);
}

namespace {

[[noreturn]] void fail_output(int error) {
  if (error == EPIPE) check_interrupt();  // SIGPIPE says the same
  fail(ErrorKind::file, "standard output: {}", std::strerror(error));
}

}  // namespace

void write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_output(errno);
}

void flush_out() {
  if (std::fflush(stdout) != 0) fail_output(errno);
}

void write_err(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace hearth::cli
