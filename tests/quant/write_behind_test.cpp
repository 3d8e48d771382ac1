#include "quant/write_behind.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("the disk is given what was written, and what is waited for is bounded") {
  constexpr uint64_t kMiB = 1 << 20;
  const TempDir dir;
  const int fd = open((dir / "x").c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  WriteBehind behind(fd);
  behind.add(0, 7 * kMiB);
  CHECK(behind.bytes_begun() == 0);  // gathered
  behind.add(7 * kMiB + 60, kMiB);   // a neighbour
  CHECK(behind.bytes_begun() == 8 * kMiB + 60);
  behind.add(100 * kMiB, kMiB);
  CHECK(behind.bytes_begun() == 8 * kMiB + 60);
  behind.add(50 * kMiB, kMiB);  // elsewhere: what was gathered is begun
  CHECK(behind.bytes_begun() == 9 * kMiB + 60);
  for (uint64_t at = 200; at < 2000; at += 10) behind.add(at * kMiB, 10 * kMiB);
  CHECK(behind.bytes_begun() > 200 * kMiB);
  CHECK(behind.bytes_begun() <= 256 * kMiB);
  close(fd);
}
