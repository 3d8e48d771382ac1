#include "runtime/support/size_text.h"

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
  for (const char* same : {"16G", "16GB", "16GiB", "16g", "16gb", "16gib", " 16 GB ", "16384M", "16384 MiB"}) {
    CAPTURE(same);
    CHECK(parse_size(same, "--ram") == uint64_t(1) << 34);
  }
  CHECK(parse_size("7B", "--ram") == 7);
  for (const char* bad :
       {"",       " ",   "G",    "-1G",   "1e3G", "nan",  "inf",  "0x10",  "1.5",   "1.5B",
        "99999T", "12Q", "1,5G", "16GBs", "16Gi", "16BB", "16iB", "16G B", "1e999", "99999999999999999999999",
        "banana"}) {
    CAPTURE(bad);
    CHECK(refusal([&] { parse_size(bad, "--vram"); }) ==
          std::string("--vram: expected a size such as 16G, 1.5GB or 800MiB (G, GB and GiB: 2^30 bytes), found \"") +
              bad + "\"");
  }
}

TEST_CASE("tokens are counted with a k of 1024") {
  const auto count = [](const char* text) { return parse_token_count(text, "--ctx", 1, int64_t(1) << 24); };
  CHECK(count("1") == 1);
  CHECK(count("4096") == 4096);
  CHECK(count("4k") == 4096);
  CHECK(count(" 32K ") == 32768);
  CHECK(count("1M") == 1 << 20);
  for (const char* bad : {"", "k", "0", "-1", "4kb", "4G", "4.5k", "1e3", "16777217", "17M", "99999999999999999999",
                          "nan", "banana", "4 096"}) {
    CAPTURE(bad);
    CHECK(refusal([&] { count(bad); }) ==
          std::string("--ctx: expected a number of tokens from 1 to 16777216, such as 4096 or 4k, found \"") + bad +
              "\"");
  }
}

TEST_CASE("speeds have about three digits, and never an exponent") {
  CHECK(figure_text(0) == "0");
  CHECK(figure_text(0.0123) == "0.012");
  CHECK(figure_text(1.284) == "1.28");
  CHECK(figure_text(12.84) == "12.8");
  CHECK(figure_text(128.4) == "128");
  CHECK(figure_text(1284.2) == "1284");
  CHECK(figure_text(1e9) == "1000000000");
}

TEST_CASE("files and bandwidths are written in powers of ten, counts without a unit") {
  CHECK(decimal_size_text(7) == "7 B");
  CHECK(decimal_size_text(999.4) == "999 B");
  CHECK(decimal_size_text(1000) == "1.00 kB");
  CHECK(decimal_size_text(12.04e3) == "12.0 kB");
  CHECK(decimal_size_text(800e6) == "800 MB");
  CHECK(decimal_size_text(9583073216) == "9.58 GB");
  CHECK(decimal_size_text(1234e12) == "1234 TB");
  CHECK(count_text(0) == "0");
  CHECK(count_text(271) == "271");
  CHECK(count_text(4792320) == "4.79 M");
  CHECK(count_text(15.71e9) == "15.7 G");
  CHECK(count_text(671e9) == "671 G");
}

TEST_CASE("durations are written as clocks show them") {
  CHECK(duration_text(-1) == "0:00");
  CHECK(duration_text(7.4) == "0:07");
  CHECK(duration_text(59.6) == "1:00");
  CHECK(duration_text(3750) == "1:02:30");
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
