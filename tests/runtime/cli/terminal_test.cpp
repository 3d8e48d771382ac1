// What the command does with signals that no command line can provoke.
#include "runtime/cli/terminal.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "kernels/cpu/team.h"
#include "quant/mapped_file.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A mapped file loses its bytes, and `read` (in a process of its own) comes upon that.
template <class Read>
void check_shortened(Read read) {
  const TempDir dir;
  const std::string path = dir / "model.gguf", said = dir / "said";
  std::ofstream(path) << std::string(20000, 'h');
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(open(said.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    cli::catch_bus_errors();
    const MappedFile mapped(path);
    if (truncate(path.c_str(), 100) != 0) _exit(3);
    read(mapped.bytes().data());
    _exit(4);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
  std::ifstream file(said);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text == "hearth: " + path + ": cannot be read: it was shortened while it was in use, or its disk failed\n");
}

void touch(const void* bytes) {
  (void)static_cast<const volatile char*>(bytes)[15000];
}

}  // namespace

TEST_CASE("the end of a file that was shortened while it is mapped: one line and exit code 1") {
  check_shortened(touch);
}

// Threads of the kernels' team take no signals but their own faults.
TEST_CASE("a worker thread that meets the end of a shortened file says so too, and once") {
  for (int i = 0; i < 20; ++i) {
    check_shortened([](const void* bytes) {
      const auto piece = [](const void* bytes, int64_t, int64_t, int thread) {
        if (thread == 0) usleep(100000);  // the others are first
        touch(bytes);
      };
      run_loop(3, {piece, bytes, 3});
    });
  }
}

TEST_CASE("signals that end a program raise the flag of Ctrl-C, with their own exit status") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    CAPTURE(signal);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      cli::catch_interrupts();
      if (cli::interrupted()) _exit(2);
      raise(signal);
      raise(signal);  // `timeout` sends it twice
      if (!cli::interrupted() || cli::wait_for_input() != cli::Input::interrupted) _exit(3);
      if (cli::ending_signal() != (signal == SIGINT ? 0 : signal)) _exit(4);
      const int status = cli::interrupt_status();
      cli::clear_interrupt();
      if (cli::interrupted() != (signal != SIGINT)) _exit(5);
      _exit(status);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + signal);
  }
}

TEST_CASE("nohup's SIGHUP stays ignored, and a second Ctrl-C ends the program") {
  const auto ended = [](const auto& child_does) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      child_does();
      _exit(7);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  };
  CHECK(ended([] {
          std::signal(SIGHUP, SIG_IGN);
          cli::catch_interrupts();
          raise(SIGHUP);
          if (cli::interrupted()) _exit(3);
        }) == 7);
  CHECK(ended([] {
          cli::catch_interrupts();
          raise(SIGINT);
          usleep(300000);
          raise(SIGINT);
        }) == 128 + SIGINT);
}
