// What is given where a GGUF file was meant, and what leads on from there.
#include "quant/not_gguf.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "quant/gguf.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string open_says(const std::string& path) {
  try {
    GgufFile::open(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// A file with one tensor, in pieces of the given names.
void write_pieces(const TempDir& dir, const std::vector<std::string>& names) {
  GgufBytes b;
  b.header(1, 0).tensor("a", {64}, 0, 0).pad(32).zeros(256);
  const size_t size = b.text().size() / names.size() + 1;
  for (size_t i = 0; i < names.size(); ++i) write_text(dir / names[i], b.text().substr(i * size, size));
}

}  // namespace

TEST_CASE("pieces of a file that was cut by size say how they are joined, each of them") {
  for (const std::vector<std::string>& names : {std::vector<std::string>{"x.gguf.part1of2", "x.gguf.part2of2"},
                                                {"x.gguf.partaa", "x.gguf.partab"},
                                                {"x.gguf-split-a", "x.gguf-split-b", "x.gguf-split-c"},
                                                {"x.gguf.001", "x.gguf.002"},
                                                {"x.gguf.000", "x.gguf.001"},
                                                {"x.gguf.part-1-of-2", "x.gguf.part-2-of-2"},
                                                {"x.GGUF.aa", "x.GGUF.ab"}}) {
    const TempDir dir;
    write_pieces(dir, names);
    std::string command = "cat";
    for (const std::string& name : names) command += " " + (dir / name);
    command += " > " + (dir / names[0].substr(0, 6));
    for (const std::string& name : names) {
      const std::string message = open_says(dir / name);
      CAPTURE(message);
      CHECK(message.starts_with((dir / name) + ": is a piece"));
      CHECK(message.ends_with(command));
    }
  }
}

TEST_CASE("ten pieces are joined by their numbers") {
  const TempDir dir;
  std::vector<std::string> names;
  for (int i = 1; i <= 11; ++i) names.push_back("x.gguf.part" + std::to_string(i) + "of11");
  write_pieces(dir, names);
  const std::string message = open_says(dir / names[4]);
  CHECK(message.find("part9of11") < message.find("part10of11"));
}

TEST_CASE("a missing piece is named; one alone says that there are others") {
  const TempDir dir;
  write_pieces(dir, {"x.gguf.part1of3", "x.gguf.part2of3", "x.gguf.part3of3"});
  fs::remove(dir / "x.gguf.part2of3");
  CHECK(open_says(dir / "x.gguf.part1of3").find("number 2 does not lie beside it") != std::string::npos);
  write_pieces(dir, {"y.gguf.partaa"});
  write_text(dir / "y.gguf.partaa", "GGUF");
  CHECK(open_says(dir / "y.gguf.partaa").find("join all pieces with cat") != std::string::npos);
}

TEST_CASE("names with blanks are quoted for the shell") {
  const TempDir dir;
  write_pieces(dir, {"it's x.gguf.part1of2", "it's x.gguf.part2of2"});
  CHECK(open_says(dir / "it's x.gguf.part1of2").find("/it'\\''s x.gguf.part2of2' > '") != std::string::npos);
}

TEST_CASE("other endings behind .gguf are no pieces, and a whole file is one whatever its name") {
  const TempDir dir;
  for (const char* name : {"x.gguf.bak", "x.gguf.old", "x.gguf.zip", "x.gguf.xz", "x.gguf.1", "x.gguf", "part1of2"}) {
    write_text(dir / name, "something");
    CHECK(open_says(dir / name).find("expected a GGUF file") != std::string::npos);
  }
  write_pieces(dir, {"whole.gguf.part1of1"});
  CHECK(open_says(dir / "whole.gguf.part1of1") == "");
}

TEST_CASE("a checkpoint's folder names the command that makes a file of it, another one what is in it") {
  const TempDir dir;
  const std::string folder = dir / "V2-Lite";
  fs::create_directory(folder);
  CHECK(open_says(folder) == folder + ": is a directory, expected a file");
  write_text(folder + "/b.gguf", "");
  write_text(folder + "/a.gguf", "");
  CHECK(open_says(folder).find("there is " + folder + "/a.gguf in it") != std::string::npos);
  write_text(folder + "/model-00001-of-00002.safetensors", "");
  CHECK(open_says(folder).find("hearth convert " + folder + " V2-Lite.gguf") != std::string::npos);
  CHECK(open_says(folder + "/").find("hearth convert " + folder + "/ V2-Lite.gguf") != std::string::npos);
}

TEST_CASE("a pipe is refused and not waited for") {
  const TempDir dir;
  REQUIRE(mkfifo((dir / "x.gguf").c_str(), 0600) == 0);
  CHECK(open_says(dir / "x.gguf").find("is not a regular file") != std::string::npos);
}
