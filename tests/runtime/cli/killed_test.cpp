// The making of a file is killed at any moment; the same command goes on, and the file is the same to the byte.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <spawn.h>

#include <chrono>
#include <cstring>
#include <random>
#include <set>

#include "tests/runtime/cli/hearth.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

namespace {

constexpr size_t kRecordBytes = 32;  // of a journal, and of its header

// How many tensors are on record. None is there twice: nothing that was finished has been done again.
size_t recorded(const std::string& journal) {
  const std::string text = read_text(journal);
  std::set<uint64_t> tensors;
  size_t n = 0;
  for (size_t at = kRecordBytes; at + kRecordBytes <= text.size(); at += kRecordBytes, ++n) {
    uint64_t tensor;
    std::memcpy(&tensor, text.data() + at, sizeof tensor);
    tensors.insert(tensor);
  }
  CHECK(tensors.size() == n);
  return n;
}

// Whether the command was killed before it ended.
bool killed_after(std::chrono::microseconds time, std::vector<std::string> command) {
  command.insert(command.begin(), hearth_program());
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t silent;
  posix_spawn_file_actions_init(&silent);
  posix_spawn_file_actions_addopen(&silent, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, argv[0], &silent, nullptr, argv.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&silent);
  usleep(useconds_t(time.count()));
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
  return WIFSIGNALED(status);
}

void kill_and_go_on(std::vector<std::string> command, const std::string& out) {
  const char* asked = std::getenv("HEARTH_KILLS");
  const int kills = asked ? std::atoi(asked) : 3;
  command.push_back(out);
  for (const char* option : {"--recipe", "q2_k", "-t", "1"}) command.push_back(option);

  const auto start = std::chrono::steady_clock::now();
  REQUIRE(run_hearth(command).exit_code == 0);
  const auto whole_time =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  const std::string whole = read_text(out);
  fs::remove(out);

  std::mt19937 random(1);
  int killed = 0, gone_on = 0;
  for (int tries = 0; killed < kills; ++tries) {
    REQUIRE(tries < 20 * kills + 20);
    const std::chrono::microseconds time(random() % (1 + uint64_t(whole_time.count())));
    const size_t before = recorded(out + ".partial.journal");
    killed += killed_after(time, command);
    if (!fs::exists(out)) {
      CHECK(recorded(out + ".partial.journal") >= before);  // nothing is lost either
      gone_on += before > 0;
      if (tries % 4 != 3) continue;  // killed again and again, or left to end
      const size_t n = recorded(out + ".partial.journal");
      const ProcessResult ended = run_hearth(command);
      REQUIRE_MESSAGE(ended.exit_code == 0, ended.err);
      CHECK(contains(ended.err, "out.gguf.partial: going on from tensor ") == (n > 0));
    }
    const bool same = read_text(out) == whole;
    CHECK(same);
    fs::remove(out);
    fs::remove(out + ".partial.journal");  // of one that was killed when all was done but this
  }
  if (fs::exists(out + ".partial")) REQUIRE(run_hearth(command).exit_code == 0);
  if (fs::exists(out)) {
    const bool same = read_text(out) == whole;
    CHECK(same);
  }
  MESSAGE(command[0] << ": " << killed << " kills, " << gone_on << " of them of a command that went on");
}

}  // namespace

TEST_CASE("convert, killed") {
  TempDir dir;
  kill_and_go_on({"convert", demo_checkpoint()}, dir / "out.gguf");
}

TEST_CASE("quantize, killed") {
  TempDir dir;
  kill_and_go_on({"quantize", demo_model()}, dir / "out.gguf");
}
