#include "runtime/size_text.h"

#include <doctest/doctest.h>

#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("sizes are read as memory is sold: G is 2^30") {
  CHECK(parse_size("16G", "--vram") == uint64_t(16) << 30);
  CHECK(parse_size("1.5g", "--vram") == uint64_t(3) << 29);
  CHECK(parse_size("800M", "--vram") == uint64_t(800) << 20);
  CHECK(parse_size("0.5T", "--ram") == uint64_t(1) << 39);
  CHECK(parse_size("65536K", "--ram") == uint64_t(1) << 26);
  CHECK(parse_size("1048576", "--ram") == uint64_t(1) << 20);
  CHECK(parse_size("0", "--vram") == 0);
  for (const char* bad :
       {"", "G", "16GB", "16 G", "-1G", "1e3G", "nan", "inf", "0x10", "1.5", "99999T", "12Q", "1,5G"}) {
    CAPTURE(bad);
    CHECK(refusal([&] { parse_size(bad, "--vram"); }) ==
          std::string("--vram: expected a size such as 16G, 1.5G or 800M (G: 2^30 bytes), found \"") + bad + "\"");
  }
}

TEST_CASE("and written with three digits") {
  CHECK(binary_size_text(7) == "7 B");
  CHECK(binary_size_text(12 << 10) == "12.0 KiB");
  CHECK(binary_size_text(uint64_t(800) << 20) == "800 MiB");
  CHECK(binary_size_text(uint64_t(1023) << 20) == "1.00 GiB");
  CHECK(binary_size_text((uint64_t(1) << 34) - (uint64_t(1) << 27)) == "15.9 GiB");
  CHECK(binary_size_text(uint64_t(768) << 30) == "768 GiB");
  CHECK(binary_size_text(uint64_t(9999) << 40) == "9999 TiB");
}
