// Files that commands write: whole or as they were, and nothing that is no plain file is ever replaced.
#include "quant/output_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "quant/error.h"
#include "quant/partial_file.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string text_of(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void put(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

bool write_whole(const std::string& path, const std::string& text) {
  OutputFile file(path);
  file.write(text);
  return file.finish();
}

std::string refusal_of(const std::string& path) {
  try {
    write_whole(path, "text");
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::file);
    return error.what();
  }
  return "";
}

int files_in(const TempDir& dir) {
  return int(std::distance(fs::directory_iterator(dir.path()), {}));
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

}  // namespace

TEST_CASE("a file is there when it is finished, and not before") {
  TempDir dir;
  const std::string path = dir / "out";
  {
    OutputFile file(path);
    file.write("one ");
    file.write(std::string(200000, 'x'));
    CHECK(!fs::exists(path));
    CHECK_FALSE(file.finish());
  }
  CHECK(text_of(path) == "one " + std::string(200000, 'x'));
  CHECK(files_in(dir) == 1);
  const mode_t mask = umask(0);
  umask(mask);
  CHECK(mode_of(path) == (0666 & ~mask));
}

TEST_CASE("an unfinished one leaves what was there, and nothing else") {
  TempDir dir;
  const std::string path = dir / "out";
  { OutputFile(path).write("half"); }
  CHECK(fs::is_empty(dir.path()));
  put(path, "before");
  { OutputFile(path).write("half"); }
  CHECK(text_of(path) == "before");
  CHECK(files_in(dir) == 1);
}

TEST_CASE("what is replaced keeps its mode") {
  TempDir dir;
  const std::string path = dir / "out";
  for (const mode_t mode : {0600, 0644, 0755}) {
    put(path, "before");
    chmod(path.c_str(), mode);
    write_whole(path, "after");
    CHECK(text_of(path) == "after");
    CHECK(mode_of(path) == mode);
  }
}

TEST_CASE("links stay links, and what they name is written") {
  TempDir dir;
  fs::create_directory(dir / "far");
  put(dir / "far/target", "before");
  fs::create_symlink("far/target", dir / "link");  // relative to where the link is
  fs::create_symlink(dir / "link", dir / "link2");
  write_whole(dir / "link2", "after");
  CHECK(fs::is_symlink(dir / "link"));
  CHECK(fs::is_symlink(dir / "link2"));
  CHECK(text_of(dir / "far/target") == "after");

  fs::create_symlink("far/new", dir / "dangling");
  write_whole(dir / "dangling", "new");
  CHECK(fs::is_symlink(dir / "dangling"));
  CHECK(text_of(dir / "far/new") == "new");

  fs::create_symlink("circle2", dir / "circle1");
  fs::create_symlink("circle1", dir / "circle2");
  CHECK(contains(refusal_of(dir / "circle1"), "circle"));
}

TEST_CASE("FIFOs and devices are written into") {
  TempDir dir;
  const std::string fifo = dir / "fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  std::string got;
  std::thread reader([&] { got = text_of(fifo); });
  write_whole(fifo, "through");
  reader.join();
  CHECK(got == "through");
  CHECK(fs::is_fifo(fifo));

  write_whole("/dev/null", "gone");
  CHECK(fs::is_character_file("/dev/null"));
  if (fs::exists("/dev/full")) {
    CHECK(contains(refusal_of("/dev/full"), "/dev/full: cannot write: No space left on device"));
    fs::create_symlink("/dev/full", dir / "full");
    CHECK(contains(refusal_of(dir / "full"), "cannot write"));
    CHECK(fs::is_symlink(dir / "full"));
  }
}

TEST_CASE("standard output, under any of its names") {
  TempDir dir;
  const std::string path = dir / "out";
  for (const std::string& name : {std::string("-"), std::string("/dev/stdout"), path}) {
    CAPTURE(name);
    put(path, "");
    CHECK(in_child([&] {
      const int file = open(path.c_str(), O_WRONLY | O_APPEND);
      return dup2(file, STDOUT_FILENO) == STDOUT_FILENO && write(STDOUT_FILENO, "a", 1) == 1 &&
             !write_whole(name, "b") && write(STDOUT_FILENO, "c", 1) == 1;
    }));
    CHECK(text_of(path) == "abc");
  }
  CHECK(files_in(dir) == 1);
}

TEST_CASE("what cannot be a file is refused before anything is written") {
  TempDir dir;
  fs::create_directory(dir / "folder");
  CHECK(contains(refusal_of(dir / "folder"), "folder: is a folder"));
  CHECK(contains(refusal_of(dir / "folder/"), "is a folder"));
  CHECK(contains(refusal_of(dir / "none/out"), "none/out: cannot create: No such file or directory"));
  CHECK(contains(refusal_of(dir / "new/"), "is no name of a file"));
  CHECK(contains(refusal_of(""), "is no name of a file"));
  CHECK(files_in(dir) == 1);
  CHECK(fs::is_empty(dir / "folder"));
}

TEST_CASE("files and folders that may not be written") {
  TempDir dir;
  put(dir / "locked", "before");
  chmod((dir / "locked").c_str(), 0444);
  fs::create_directory(dir / "folder");
  chmod((dir / "folder").c_str(), 0555);
  chmod(dir.path().c_str(), 0777);
  const auto refused_to_nobody = [&](const std::string& path, const std::string& why) {
    return in_child([&] {  // root may write everything
      constexpr uid_t kNobody = 65534;
      if (geteuid() == 0 && setuid(kNobody) != 0) return false;
      return contains(refusal_of(path), why);
    });
  };
  CHECK(refused_to_nobody(dir / "locked", "locked: cannot write: Permission denied"));
  CHECK(text_of(dir / "locked") == "before");
  CHECK(refused_to_nobody(dir / "folder/out", "folder/out: cannot create: Permission denied"));
}

TEST_CASE("two writers of one name end with one whole file, and the second is told") {
  TempDir dir;
  const std::string path = dir / "out";
  OutputFile a(path), b(path);
  a.write("from a");
  b.write("from b, longer");
  CHECK_FALSE(a.finish());
  CHECK(text_of(path) == "from a");
  CHECK(b.finish());
  CHECK(text_of(path) == "from b, longer");
  CHECK(files_in(dir) == 1);
}

TEST_CASE("a partial file: what a killed process of the same number left is passed over, and not touched") {
  TempDir dir;
  const std::string path = dir / "out";
  const std::string text = "text";
  std::string left;
  {
    const PartialFile first = PartialFile::begin(path, 0600);
    REQUIRE(first.is_open());
    CHECK(mode_of(first.name()) == 0600);
    const size_t dash = first.name().rfind('-');
    const int number = std::stoi(first.name().substr(dash + 1));
    left = first.name().substr(0, dash + 1) + std::to_string(number + 1) + ".partial";
    put(left, "left");
    PartialFile second = PartialFile::begin(path);
    CHECK(second.name() != left);
    CHECK((second.write(std::as_bytes(std::span(text))) && second.close() && second.rename()));  // not synced
    CHECK(fs::exists(first.name()));
  }
  CHECK(text_of(path) == "text");
  CHECK(text_of(left) == "left");
  CHECK(files_in(dir) == 2);

  PartialFile moved = PartialFile::begin(path);
  moved = PartialFile::begin(path);  // the first one is gone
  CHECK(files_in(dir) == 3);
  fs::create_directory(dir / "folder");
  PartialFile onto_folder = PartialFile::begin(dir / "folder");
  CHECK_FALSE(onto_folder.rename());
  CHECK_FALSE(PartialFile::begin(dir / "none/out").is_open());
}
