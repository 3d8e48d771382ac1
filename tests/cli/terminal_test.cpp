// What the command does with signals that no command line can provoke.
#include "runtime/cli/terminal.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "quant/mapped_file.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("the end of a file that was shortened while it is mapped: one line and exit code 1") {
  const TempDir dir;
  const std::string path = dir / "model.gguf", said = dir / "said";
  std::ofstream(path) << std::string(20000, 'h');
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const int file = open(said.c_str(), O_WRONLY | O_CREAT, 0600);
    dup2(file, STDERR_FILENO);
    cli::catch_bus_errors();
    const MappedFile mapped(path);
    if (truncate(path.c_str(), 100) != 0) _exit(3);
    volatile const std::byte* const bytes = mapped.bytes().data();
    _exit(bytes[15000] == std::byte(0) ? 4 : 5);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
  std::ifstream file(said);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  CHECK(text == "hearth: " + path + ": cannot be read: it was shortened while it was in use, or its disk failed\n");
}
