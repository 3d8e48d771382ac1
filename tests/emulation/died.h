// Runs something that ends the program, in a child.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace hearth::test {

struct Died {
  bool badly = false;  // by a signal, or by a sanitizer
  std::string said;    // to standard error
};

inline Died dies(const std::function<bool()>& run) {
  int error[2];
  if (pipe(error)) std::abort();
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    dup2(error[1], 2);
    close(error[0]);
    if (!std::freopen("/dev/null", "w", stdout)) _exit(1);
    try {
      run();
    } catch (...) {
    }
    _exit(0);
  }
  close(error[1]);
  Died died;
  char text[4096];
  for (ssize_t n; (n = read(error[0], text, sizeof text)) > 0;) died.said.append(text, size_t(n));
  close(error[0]);
  int status = 0;
  waitpid(child, &status, 0);
  died.badly = WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
  return died;
}

}  // namespace hearth::test
