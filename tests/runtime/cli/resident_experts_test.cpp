#include "runtime/cli/resident_experts.h"

#include <doctest/doctest.h>

#include "tests/support/refusal.h"

using hearth::cli::parse_resident_experts;
using namespace hearth::test;

TEST_CASE("resident experts: a count, or a share of all of them") {
  CHECK(parse_resident_experts("0", 1664) == 0);
  CHECK(parse_resident_experts("1", 1664) == 1);
  CHECK(parse_resident_experts("1664", 1664) == 1664);
  CHECK(parse_resident_experts("1.0", 1664) == 1664);
  CHECK(parse_resident_experts("0.25", 1664) == 416);
  for (const char* bad : {"", "-1", "1665", "1.5", "half", "5x", "0.5x", "-0.5", "nan"}) {
    CAPTURE(bad);
    CHECK(refusal([&] { parse_resident_experts(bad, 1664); }) ==
          "--resident-experts: expected 0 to 1664 experts, or a share from 0.0 to 1.0, found \"" + std::string(bad) +
              "\"");
  }
}
