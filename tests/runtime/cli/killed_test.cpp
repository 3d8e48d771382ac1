// The making of a file is killed at any moment; the same command goes on, and the file is the same to the byte.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <spawn.h>

#include <chrono>
#include <cstring>
#include <map>
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

using Files = std::map<std::string, std::string>;

// Of a folder of an export: names and contents; and of those that are whole, when they were written.
Files files_in(const std::string& folder) {
  Files files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename().string()] = read_text(entry.path().string());
  return files;
}
std::map<std::string, fs::file_time_type> whole_shards(const std::string& folder) {
  std::map<std::string, fs::file_time_type> times;
  if (!fs::exists(folder)) return times;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") times[entry.path().filename().string()] = entry.last_write_time();
  }
  return times;
}

// Nothing looks whole before it is, what is whole is as it will be, and none of it is made again.
void check_unfinished(const std::string& folder, const Files& whole) {
  const Files files = files_in(folder);
  CHECK(!files.contains("config.json"));
  for (const auto& [name, text] : files) {
    if (name.ends_with(".partial")) continue;
    CAPTURE(name);
    const bool same = whole.contains(name) && whole.at(name) == text;
    CHECK(same);
  }
}

}  // namespace

TEST_CASE("export, killed") {
  const char* asked = std::getenv("HEARTH_KILLS");
  const int kills = asked ? std::atoi(asked) : 3;
  TempDir dir;
  const std::string out = dir / "out";
  const std::vector<std::string> command = {"export",       demo_model(), out,  "--format", "fp8",
                                            "--shard-size", "200K",       "-t", "1"};
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(run_hearth(command).exit_code == 0);
  const auto whole_time =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  const Files whole = files_in(out);
  REQUIRE(whole.size() > 20);
  fs::remove_all(out);

  std::mt19937 random(1);
  int killed = 0, gone_on = 0;
  for (int tries = 0; killed < kills; ++tries) {
    REQUIRE(tries < 20 * kills + 20);
    const auto before = whole_shards(out);
    killed += killed_after(std::chrono::microseconds(random() % (1 + uint64_t(whole_time.count()))), command);
    const auto after = whole_shards(out);
    for (const auto& [name, time] : before) CHECK((after.contains(name) && after.at(name) == time));
    if (fs::exists(out + "/export.partial") && !fs::exists(out + "/config.json")) {
      check_unfinished(out, whole);
      gone_on += !before.empty();
      if (tries % 4 != 3) continue;  // killed again and again, or left to end
    }
    if (!fs::exists(out) || fs::exists(out + "/export.partial") || fs::is_empty(out)) {
      const ProcessResult ended = run_hearth(command);
      REQUIRE_MESSAGE(ended.exit_code == 0, ended.err);
      CHECK(contains(ended.err, "out: going on: ") == !after.empty());
    }
    CHECK((files_in(out) == whole));
    fs::remove_all(out);
  }
  MESSAGE("export: " << killed << " kills, " << gone_on << " of them of a command that went on");
}

TEST_CASE("convert, killed") {
  TempDir dir;
  kill_and_go_on({"convert", demo_checkpoint()}, dir / "out.gguf");
}

TEST_CASE("quantize, killed") {
  TempDir dir;
  kill_and_go_on({"quantize", demo_model()}, dir / "out.gguf");
}
