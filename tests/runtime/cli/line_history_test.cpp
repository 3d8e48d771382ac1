// What was typed in other chats.
#include "runtime/cli/history_file.h"

#include <sys/stat.h>

#include "tests/runtime/cli/person.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("history: several lines, two chats at once, killed at any time") {
  const TempDir folder;
  const std::string path = folder / "history";
  {
    Person one({.history = path}), two({.history = path});
    one.type("first\r");
    one.gets("line: first\n");
    two.type("second\r");
    two.gets("line: second\n");
    one.paste("several\rlines\\n\twith a tab");
    one.type("\r");
    one.until([&] { return one.got().find("several") != std::string::npos; });
    one.type("  \r");  // nothing to keep
    one.gets("line: first\ntext: several\\x0alines\\n\\x09with a tab\nline:   \n");
  }  // SIGKILL
  struct stat about;
  REQUIRE(stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK(cli::HistoryFile(path).load() == std::vector<std::string>{"first", "second", "several\nlines\\n\twith a tab"});

  Person later({.history = path});
  later.type(kUp);
  later.shows("lines\\n with a tab");
  later.type("\r");
  later.gets("line: several\\x0alines\\n\\x09with a tab\n");
  later.type(
      "\x12"
      "sec");  // Ctrl-R
  later.until([&] { return later.screen().text().find(kLibedit ? "bck:sec" : "`sec': second") != std::string::npos; });
  later.type("\r");
  later.gets("line: several\\x0alines\\n\\x09with a tab\nline: second\n");
  later.type("\x10\x10");  // Ctrl-P, and the one before
  later.shows("lines\\n with a tab");
}

TEST_CASE("history: what libedit wrote is read, and what is too long is made shorter") {
  const TempDir folder;
  const std::string path = folder / "history", link = folder / "link";
  std::ofstream(path) << "_HiStOrY_V2_\nHello\\040there\\134\n\\350\\257\\267\na\\012b\n";
  fs::create_symlink("history", link);
  const std::vector<std::string> expected{"Hello there\\", "请", "a\nb"};
  CHECK(cli::HistoryFile(link).load() == expected);
  CHECK(cli::HistoryFile(link).load() == expected);  // in its new form
  CHECK(fs::is_symlink(link));

  cli::HistoryFile history(path);
  {
    std::ofstream file(path);
    for (int i = 0; i < 1099; ++i) file << i << "\n";
  }
  history.append("1099");
  const auto entries = history.load();
  REQUIRE(entries.size() == cli::HistoryFile::kEntries);
  CHECK(entries.front() == "100");
  CHECK(entries.back() == "1099");
  CHECK(fs::file_size(path) < 5000);
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) ==
        3);  // and the lock; no scraps

  std::ofstream(path, std::ios::app) << "cut";  // the disk was full
  history.append("after");
  CHECK(history.load().back() == "after");
  history.append(std::string(cli::HistoryFile::kBytes, 'x'));
  history.append("small");
  CHECK(history.load() == std::vector<std::string>{"small"});
}

TEST_CASE("history: many writers, and others that shorten it, lose nothing") {
  const TempDir folder;
  const std::string path = folder / "history";
  {
    std::ofstream file(path);
    for (size_t i = 0; i < cli::HistoryFile::kEntries; ++i) file << "x\n";  // so every start shortens it
  }
  std::vector<pid_t> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.push_back(fork());
    if (writers.back() != 0) continue;
    for (int i = 0; i < 60; ++i) {
      cli::HistoryFile history(path);
      history.append(fmt::format("{} {}", writer, i));
      history.load();
    }
    _exit(0);
  }
  for (const pid_t writer : writers) waitpid(writer, nullptr, 0);
  int next[4] = {-1, -1, -1, -1};
  for (const std::string& entry : cli::HistoryFile(path).load()) {
    if (entry.front() == 'x') continue;
    const int writer = entry[0] - '0', number = std::stoi(entry.substr(2));
    CAPTURE(entry);
    CHECK((next[writer] < 0 || number == next[writer]));
    next[writer] = number + 1;
  }
  for (const int after : next) CHECK(after == 60);
}

TEST_CASE("history: none, or one that cannot be read or written, is no reason to fail") {
  const TempDir folder;
  const std::string fifo = folder / "fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::string& path : {std::string(), folder.path().string(), fifo, std::string("/dev/full"),
                                  folder / "no/such/folder", std::string("/proc/version")}) {
    CAPTURE(path);
    Person person({.history = path});
    person.type("hello\r");
    person.gets("line: hello\n");
    person.shows("> ");
    person.type(kUp);
    person.shows("> hello");
  }
}
