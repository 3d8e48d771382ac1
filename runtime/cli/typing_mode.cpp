#include "runtime/cli/typing_mode.h"

#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

// What follows is used by signal handlers: only what POSIX lets them call is called.
termios found_settings, typing_settings;
std::atomic<bool> typing{false};   // a TypingMode lives
std::atomic<bool> changed{false};  // the terminal is in its mode
std::atomic<bool> reading{false};
std::atomic<bool> was_resumed{false}, was_resized{false};
bool marks_pastes = false;

void mark_pastes(bool on) {
  if (!marks_pastes) return;
  const std::string_view text = on ? "\033[?2004h" : "\033[?2004l";
  if (write(screen_descriptor(), text.data(), text.size()) < 0) return;  // nobody to tell
}

void enter() {
  termios settings = typing_settings;
  if (reading) settings.c_lflag &= ~tcflag_t(ISIG);
  tcsetattr(STDIN_FILENO, TCSANOW, &settings);
  if (!changed.exchange(true)) mark_pastes(true);
}

void leave() {
  if (!changed.exchange(false)) return;
  mark_pastes(false);
  tcsetattr(STDIN_FILENO, TCSANOW, &found_settings);
}

void on_continue(int) {
  const int error = errno;
  // A program that goes on in the background must leave the terminal alone: it would be stopped again.
  if (typing && tcgetpgrp(STDIN_FILENO) == getpgrp()) {
    changed = false;  // also after SIGSTOP, which nobody notices
    enter();
    was_resumed = true;
    wake_input();
  }
  errno = error;
}

void on_stop(int signal);

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction before, action{};
  if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | flags;
  sigaction(signal, &action, nullptr);
}

// Ctrl-Z: stops as any program does, with the terminal as the shell left it. Where no shell would continue us (an
// orphaned process group) the kernel does not stop us either, and all goes on.
void on_stop(int signal) {
  leave();
  handle(signal, SIG_DFL, 0);
  raise(signal);  // not blocked: SA_NODEFER
  handle(signal, on_stop, SA_NODEFER);
  on_continue(SIGCONT);
}

void on_resize(int) {
  const int error = errno;
  was_resized = true;
  wake_input();
  errno = error;
}

void on_quit(int signal) {
  restore_terminal();
  std::signal(signal, SIG_DFL);
  raise(signal);
}

}  // namespace

TypingMode::TypingMode() {
  if (tcgetattr(STDIN_FILENO, &found_settings) != 0) return;
  typing_settings = found_settings;
  typing_settings.c_lflag &= ~tcflag_t(ICANON | ECHO | IEXTEN);
  typing_settings.c_iflag &= ~tcflag_t(ICRNL | INLCR | IGNCR | ISTRIP);
  typing_settings.c_cc[VMIN] = 1;
  typing_settings.c_cc[VTIME] = 0;
  marks_pastes = screen_is_addressable();
  typing = true;
  handle(SIGTSTP, on_stop, SA_NODEFER);
  handle(SIGCONT, on_continue, 0);
  handle(SIGWINCH, on_resize, 0);
  handle(SIGQUIT, on_quit, SA_RESETHAND | SA_NODEFER);
  enter();
}

TypingMode::~TypingMode() {
  for (const int signal : {SIGTSTP, SIGCONT, SIGWINCH, SIGQUIT}) handle(signal, SIG_DFL, 0);
  restore_terminal();
}

void TypingMode::read_begins() {
  reading = true;
  if (typing) enter();
  was_resumed = was_resized = false;
}

void TypingMode::read_ends() {
  reading = false;
  if (typing) enter();
}

bool TypingMode::resumed() {
  return was_resumed.exchange(false);
}
bool TypingMode::resized() {
  return was_resized.exchange(false);
}

void restore_terminal() {
  typing = false;
  leave();
}

int signal_of_key(int key) {
  if (key <= 0 || (found_settings.c_lflag & ISIG) == 0) return 0;
  if (key == found_settings.c_cc[VINTR]) return SIGINT;
  if (key == found_settings.c_cc[VSUSP]) return SIGTSTP;
  return key == found_settings.c_cc[VQUIT] ? SIGQUIT : 0;
}

int screen_descriptor() {
  return isatty(STDERR_FILENO) == 0 && isatty(STDOUT_FILENO) != 0 ? STDOUT_FILENO : STDERR_FILENO;
}

bool screen_is_addressable() {
  const char* const name = std::getenv("TERM");
  return name && *name && std::string_view(name) != "dumb" && isatty(screen_descriptor()) != 0;
}

}  // namespace hearth::cli
