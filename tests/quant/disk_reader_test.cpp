#include "quant/disk_reader.h"

#include <doctest/doctest.h>

#include "tests/support/paths.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("any bytes of a file, in consecutive pieces") {
  const TempDir dir;
  const std::string path = dir / "x";
  std::string text(9'000'001, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = char(i * 2654435761u >> 13);
  write_text(path, text);
  const DiskReader disk(path);
  for (const auto& [offset, bytes] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 0}, {0, 1}, {0, 9'000'001}, {4095, 2}, {64, 8'999'937}, {4096, 4096}, {9'000'000, 1}, {5, 4u << 20}}) {
    CAPTURE(offset);
    CAPTURE(bytes);
    std::string read;
    disk.read(offset, bytes, [&](std::span<const std::byte> piece) {
      CHECK(piece.size() <= 4 << 20);
      read.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      return true;
    });
    const bool same = read == text.substr(offset, bytes);
    CHECK(same);
  }
  int pieces = 0;
  disk.read(0, text.size(), [&](std::span<const std::byte>) { return ++pieces < 2; });
  CHECK(pieces == 2);
}

TEST_CASE("what is not there cannot be read") {
  const TempDir dir;
  CHECK(refusal([&] { DiskReader(dir / "none"); }) == (dir / "none") + ": cannot open: No such file or directory");
  write_text(dir / "x", std::string(5000, 'x'));
  const DiskReader disk(dir / "x");
  const auto all = [](std::span<const std::byte>) { return true; };
  CHECK(refusal([&] { disk.read(4000, 2000, all); }) == (dir / "x") + ": expected 6000 bytes, found its end at 5000");
  CHECK(refusal([&] { disk.read(8192, 1, all); }) == (dir / "x") + ": expected 8193 bytes, found its end at 8192");
}
