#include "runtime/cli/chat/clipboard.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "quant/error.h"
#include "quant/partial_file.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/typing_mode.h"

namespace hearth::cli {
namespace {

bool is_set(const char* variable) {
  const char* const value = std::getenv(variable);
  return value && *value;
}

// A program that is gone before it has read all is no reason to end ours (terminal.h).
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &before_);
  }
  ~WithoutSigpipe() { sigaction(SIGPIPE, &before_, nullptr); }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

 private:
  struct sigaction before_;
};

// Whether the program is there, took the text and was content. Such programs stay in the background for as long as the
// text is on the clipboard: in a group of their own, so that Ctrl-C is not for them, and without our output.
bool given_to(std::string_view text, const char* const* command) {
  const WithoutSigpipe quiet;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
  for (const int out : {STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&actions, out, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  pid_t child = 0;
  const int error = posix_spawnp(&child, command[0], &actions, &attributes, const_cast<char* const*>(command), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[0]);
  const bool written = error == 0 && write_all(ends[1], std::as_bytes(std::span(text)));
  close(ends[1]);
  if (error != 0) return false;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
    if (interrupted()) kill(child, SIGKILL);  // it hangs, and somebody pressed Ctrl-C
  }
  return written && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t n = std::min<size_t>(bytes.size() - at, 3);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < n ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= n ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

}  // namespace

std::string osc52(std::string_view text) {
  return "\033]52;c;" + base64(text) + "\a";
}

std::string copy_to_clipboard(std::string_view text) {
  constexpr const char *kWayland[] = {"wl-copy", nullptr}, *kX[] = {"xclip", "-selection", "clipboard", nullptr},
                       *kMac[] = {"pbcopy", nullptr};
  if (is_set("WAYLAND_DISPLAY") && given_to(text, kWayland)) return "wl-copy";
  if (is_set("DISPLAY") && given_to(text, kX)) return "xclip";
  if (given_to(text, kMac)) return "pbcopy";
  require(screen_is_addressable(), ErrorKind::resource,
          "no clipboard: expected wl-copy, xclip, pbcopy or a terminal that takes OSC 52, found none");
  const std::string sequence = osc52(text);
  require(write_all(screen_descriptor(), std::as_bytes(std::span(sequence))), ErrorKind::resource,
          "the terminal cannot be written to");
  return "the terminal, by OSC 52";
}

}  // namespace hearth::cli
