// Runs a program the way a user does: arguments, standard input, what it printed, how it ended.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace hearth::test {

struct ProcessOptions {
  std::string input = {};        // to standard input, then its end
  bool keep_input_open = false;  // no end: the program's input stays open until it has ended
  uint64_t file_size_limit = 0;  // bytes a file may grow to; 0: no limit (a "full disk")
  std::function<bool(const std::string& out, const std::string& err)> interrupt_when = {};  // then SIGINT is sent, once
  std::string stdout_path = {};                                       // standard output goes to this file instead
  std::vector<std::pair<std::string, std::string>> environment = {};  // besides our own
};

struct ProcessResult {
  int exit_code = -1;       // 128 + n after signal n
  uint64_t peak_bytes = 0;  // the most memory it held, mapped pages that were touched included
  std::string out, err;
};

inline ProcessResult run_process(const std::vector<std::string>& command, const ProcessOptions& options = {}) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) std::abort();
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);  // which we ignore
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    if (!options.stdout_path.empty()) {
      const int file = open(options.stdout_path.c_str(), O_WRONLY);
      if (file < 0) _exit(126);
      dup2(file, 1);
    }
    if (options.file_size_limit) {
      signal(SIGXFSZ, SIG_IGN);  // writing past the limit then fails as on a full disk
      const rlimit limit{options.file_size_limit, options.file_size_limit};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> argv;
    for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  signal(SIGPIPE, SIG_IGN);

  ProcessResult result;
  size_t sent = 0;
  bool interrupted = false;
  int in_fd = in[1];
  fcntl(in_fd, F_SETFL, O_NONBLOCK);
  bool out_open = true, err_open = true;
  const auto sending = [&] { return in_fd >= 0 && !(options.keep_input_open && sent == options.input.size()); };
  while (out_open || err_open) {
    pollfd fds[3] = {
        {out_open ? out[0] : -1, POLLIN, 0}, {err_open ? err[0] : -1, POLLIN, 0}, {sending() ? in_fd : -1, POLLOUT, 0}};
    if (poll(fds, 3, 60000) <= 0) {
      kill(child, SIGKILL);  // a minute of silence: hung
      break;
    }
    char buffer[4096];
    if (fds[0].revents) {
      const ssize_t n = read(out[0], buffer, sizeof buffer);
      if (n > 0)
        result.out.append(buffer, size_t(n));
      else
        out_open = false;
    }
    if (fds[1].revents) {
      const ssize_t n = read(err[0], buffer, sizeof buffer);
      if (n > 0)
        result.err.append(buffer, size_t(n));
      else
        err_open = false;
    }
    if (sending() && fds[2].revents) {
      const ssize_t n = write(in_fd, options.input.data() + sent, options.input.size() - sent);
      if (n > 0) sent += size_t(n);
      if (n < 0 || (sent == options.input.size() && !options.keep_input_open)) {
        close(in_fd);
        in_fd = -1;
      }
    }
    if (options.interrupt_when && !interrupted && options.interrupt_when(result.out, result.err)) {
      kill(child, SIGINT);
      interrupted = true;
    }
  }
  if (in_fd >= 0) close(in_fd);
  close(out[0]);
  close(err[0]);
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  result.peak_bytes = uint64_t(usage.ru_maxrss) * 1024;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

// Runs `action` in a child process (limits and signal handlers stay there); true when it returned true. A child has
// none of its parent's threads (hearth's team, the converter's OpenMP), so it must not ask for more than one.
inline bool in_child(const std::function<bool()>& action) {
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) _exit(action() ? 0 : 1);
  int status = 0;
  if (waitpid(child, &status, 0) != child) std::abort();
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace hearth::test
