#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "quant/error.h"
#include "quant/mapped_file.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size()};
}

void check_refused(const std::string& path, const std::string& message) {
  try {
    const MappedFile file(path);
    FAIL("opened " << path);
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::file);
    CHECK(std::string(error.what()) == message);
  }
}

}  // namespace

TEST_CASE("the bytes of the file, as long as the object lives") {
  const TempDir dir;
  const std::string path = dir / "x";
  write_text(path, "hearth");
  MappedFile file(path);
  CHECK(file.path() == path);
  CHECK(text_of(file) == "hearth");
  fs::remove(path);
  CHECK(text_of(file) == "hearth");

  MappedFile moved(std::move(file));
  CHECK(text_of(moved) == "hearth");
  write_text(path, "other");
  moved = MappedFile(path);
  CHECK(text_of(moved) == "other");
}

TEST_CASE("what cannot be mapped is named with the reason") {
  const TempDir dir;
  check_refused(dir / "none", (dir / "none") + ": cannot open: No such file or directory");
  check_refused(dir.path().string(), dir.path().string() + ": is a directory, expected a file");
  write_text(dir / "empty", "");
  check_refused(dir / "empty", (dir / "empty") + ": is empty");
  check_refused("/dev/null", "/dev/null: is not a regular file, so it cannot be mapped");
  write_text(dir / "secret", "x");
  chmod((dir / "secret").c_str(), 0);
  chmod(dir.path().c_str(), 0755);
  CHECK(in_child([&] {  // as nobody: root may read everything
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && seteuid(kNobody) != 0) return false;
    try {
      const MappedFile file(dir / "secret");
      return false;
    } catch (const Error& error) {
      return std::string(error.what()) == (dir / "secret") + ": cannot open: Permission denied";
    }
  }));
}

TEST_CASE("hints leave the bytes alone, whatever range of the file they name") {
  const TempDir dir;
  const std::string path = dir / "x";
  const std::string text(20000, 'h');
  write_text(path, text);
  const MappedFile file(path);
  for (const auto& range : {file.bytes(), file.bytes().subspan(1, 1), file.bytes().subspan(4095, 2),
                            file.bytes().subspan(19999), file.bytes().subspan(20000)}) {
    file.will_need(range);
    file.sequential(range);
    file.populate(range);
    file.dont_need(range);
    file.release(range);
    CHECK(text_of(file) == text);
  }
}

TEST_CASE("a released range costs the kernel nothing to remember") {
  const TempDir dir;
  {  // holes, with a page of their own in every MiB
    std::ofstream out(dir / "x", std::ios::binary);
    for (int i = 0; i < 256; ++i) out.seekp(std::streamoff(i) << 20).put('h').flush();
  }
  const MappedFile file(dir / "x");
  const auto page_tables = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmPTE:")) return std::stol(line.substr(6));  // KiB
    }
    return 0L;
  };
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  const long before = page_tables();
  const auto mappings_before = mappings();
  unsigned sum = 0;
  for (size_t at = 0; at < file.size(); at += 1 << 20) sum += unsigned(file.bytes()[at]);
  CHECK(sum == 256 * 'h');
  CHECK(page_tables() >= before + 400);
  const size_t half = file.size() / 2 + 12345;
  file.release(file.bytes().first(half));
  file.release(file.bytes().subspan(half));
  CHECK(page_tables() <= before + 100);
  CHECK(mappings() <= mappings_before + 2);  // it is one again, and not in pieces; others may be the allocator's
  CHECK(file.bytes()[0] == std::byte('h'));
}

TEST_CASE("a file's identity: its name, its size, its last change") {
  const TempDir dir;
  fs::create_directory(dir / "a");
  write_text(dir / "a/x", "hearth");
  const auto identity = [&](const char* path) { return MappedFile(dir / path).identity(); };
  const std::string first = identity("a/x");
  CHECK(first.starts_with("x 6 "));
  fs::rename(dir / "a", dir / "b");
  CHECK(identity("b/x") == first);
  fs::last_write_time(dir / "b/x", fs::last_write_time(dir / "b/x") + std::chrono::seconds(1));
  CHECK(identity("b/x") != first);
}

TEST_CASE("a file that was just written is in memory") {
  const TempDir dir;
  write_text(dir / "x", std::string(3 * 4096 + 1, 'h'));  // four pages
  CHECK(MappedFile(dir / "x").cached_share() == 1.0);
}

TEST_CASE("a file that is written to, or shortened, has changed; one that another replaced has not") {
  const TempDir dir;
  const std::string path = dir / "x";
  const auto fresh = [&] {
    write_text(path, std::string(5000, 'h'));
    return MappedFile(path);
  };
  {
    const MappedFile file = fresh();
    CHECK(!file.changed());
    usleep(20000);  // the clock of files is coarse
    std::fstream(path, std::ios::in | std::ios::out) << "x";
    CHECK(file.changed());
  }
  {
    const MappedFile file = fresh();
    CHECK(truncate(path.c_str(), 4999) == 0);
    CHECK(file.changed());
  }
  {
    const MappedFile file = fresh();
    write_text(dir / "y", "other");
    CHECK(rename((dir / "y").c_str(), path.c_str()) == 0);
    CHECK(!file.changed());
    CHECK(text_of(file) == std::string(5000, 'h'));
  }
}

TEST_CASE("a file that was only touched has not changed, where its content was remembered") {
  const TempDir dir;
  const std::string path = dir / "x";
  struct Row {
    size_t size, n_files;
  };
  for (const auto [size, n_files] : {Row{5000, 1}, Row{(size_t(64) << 20) + 12345, 1}, Row{5000, 20000},
                                     Row{12345, 20000}, Row{(size_t(1) << 20) + 12345, 1148}}) {
    CAPTURE(size);
    CAPTURE(n_files);
    write_text(path, std::string(size, 'h'));
    MappedFile file(path);
    file.remember_content(n_files);
    const auto touch = [&] { REQUIRE(utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0); };
    const auto write_at = [&](size_t at, const char* text) {
      std::fstream out(path, std::ios::in | std::ios::out);
      out.seekp(std::streamoff(at));
      out << text;
    };
    usleep(20000);  // the clock of files is coarse
    touch();
    CHECK(!file.changed());
    usleep(20000);
    write_at(size / 2, "h");  // the same byte
    CHECK(!file.changed());
    const MappedFile moved = std::move(file);
    for (const size_t at : {size_t(3), size - 1}) {  // a header, and the end
      usleep(20000);
      write_at(at, "x");
      CHECK(moved.changed());
      write_at(at, "h");
      CHECK(!moved.changed());
    }
    usleep(20000);
    write_text(path, std::string(size, 'x'));
    CHECK(moved.changed());
  }
}

TEST_CASE("a file that was touched has changed, where nobody remembered its content") {
  const TempDir dir;
  const std::string path = dir / "x";
  write_text(path, "hearth");
  const MappedFile file(path);
  usleep(20000);
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0);
  CHECK(file.changed());
}

TEST_CASE("an address is of the file that is mapped there") {
  const TempDir dir;
  write_text(dir / "x", std::string(5000, 'h'));
  write_text(dir / "y", "hearth");
  const std::byte* gone = nullptr;
  {
    const MappedFile x(dir / "x");
    MappedFile y(dir / "y");
    const MappedFile moved = std::move(y);
    CHECK(mapped_file_at(x.bytes().data() + 4999) == dir / "x");
    CHECK(mapped_file_at(moved.bytes().data()) == dir / "y");
    CHECK(mapped_file_at(&dir) == nullptr);
    gone = x.bytes().data();
  }
  CHECK(mapped_file_at(gone) == nullptr);
}

TEST_CASE("a file that is still to come has its first bytes, then all of them, then none") {
  const TempDir dir;
  const std::string path = dir / "x", content = "head" + std::string(300'000, 'x') + "end";
  const auto head = std::as_bytes(std::span(content)).first(4);
  MappedFile file = MappedFile::awaited("folder/name", content.size(), head);
  CHECK(!file.is_there());
  CHECK(file.size() == content.size());
  CHECK(text_of(file).substr(0, 4) == "head");
  const auto read_end = [&] {
    std::signal(SIGSEGV, SIG_DFL);  // the death is meant, and nobody is to report it
    return file.bytes().back() == std::byte('d');
  };
  CHECK(!in_child(read_end));  // it is not there: no zeros are made up
  file.will_need(file.bytes());

  write_text(path, content);
  file.arrive(path);
  CHECK(file.is_there());
  CHECK(file.path() == "folder/name");
  CHECK(text_of(file) == content);
  fs::remove(path);
  CHECK(text_of(file) == content);
  file.release(file.bytes());
  CHECK(text_of(file) == content);
  file.leave();
  CHECK(!file.is_there());
  CHECK(!in_child(read_end));
}

TEST_CASE("what came in the place of an awaited file") {
  const TempDir dir;
  const std::string path = dir / "x", head = "head";
  MappedFile file = MappedFile::awaited("name", 10, std::as_bytes(std::span(head)));
  const auto refused = [&](const std::string& content, const std::string& message) {
    write_text(path, content);
    try {
      file.arrive(path);
      FAIL("it arrived");
    } catch (const Error& error) {
      CHECK(error.kind == ErrorKind::format);
      CHECK(std::string(error.what()) == message);
    }
    CHECK(!file.is_there());
  };
  refused("headbodybody", "name: expected 10 bytes, found 12");
  refused("heaDbody..", "name: its first 4 bytes are not those that came before");
  write_text(path, "headbody..");
  file.arrive(path);
  CHECK(text_of(file) == "headbody..");
  CHECK_THROWS_AS(MappedFile::awaited("name", 3, std::as_bytes(std::span(head))), Error);
}
