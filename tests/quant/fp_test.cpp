// fp16, bf16 and e4m3 over all their bit patterns, and rounding against arithmetic in double.
#include "quant/fp.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace hearth;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a small float with `m` mantissa bits and the given bias, from the definition.
double value_of(uint32_t magnitude, int m, int bias) {
  const int exponent = int(magnitude >> m), mantissa = int(magnitude & ((1u << m) - 1));
  if (exponent == 0) return std::ldexp(mantissa, 1 - bias - m);
  return std::ldexp(mantissa + (1 << m), exponent - bias - m);
}

// Checks that `narrow` rounds to nearest even between each two neighbours a, b = a + 1 of the positive patterns.
template <class Widen, class Narrow>
void check_rounding(uint32_t last, Widen widen, Narrow narrow) {
  for (uint32_t a = 0; a < last; ++a) {
    const double low = widen(a), high = widen(a + 1), middle = (low + high) / 2;
    const float at = float(middle);  // exact: one bit more than the small format
    REQUIRE(double(at) == middle);
    for (const float sign : {1.0f, -1.0f}) {
      const auto below = narrow(sign * std::nextafter(at, 0.0f)), above = narrow(sign * std::nextafter(at, kInfinity));
      CHECK(widen(below) == sign * low);
      CHECK(widen(above) == sign * high);
      CHECK(widen(narrow(sign * at)) == sign * (a % 2 == 0 ? low : high));
    }
  }
}

}  // namespace

TEST_CASE("fp16: every pattern has the value of its definition and survives the way there and back") {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float f = fp16_to_float(uint16_t(h));
    const uint32_t magnitude = h & 0x7fff;
    CHECK(std::signbit(f) == (h >> 15 == 1));
    if (magnitude > 0x7c00) {
      CHECK(std::isnan(f));
      CHECK(float_to_fp16(f) == (h | 0x200));  // quiet, the rest of the payload kept
      continue;
    }
    CHECK(std::fabs(f) == (magnitude == 0x7c00 ? kInfinity : float(value_of(magnitude, 10, 15))));
    CHECK(float_to_fp16(f) == h);
  }
}

TEST_CASE("fp16: to nearest even everywhere, overflow to infinity, underflow to zero") {
  check_rounding(
      0x7bff, [](uint32_t h) { return double(fp16_to_float(uint16_t(h))); }, float_to_fp16);
  CHECK(float_to_fp16(65519.996f) == 0x7bff);
  CHECK(float_to_fp16(65520.0f) == 0x7c00);
  CHECK(float_to_fp16(-1e30f) == 0xfc00);
  CHECK(float_to_fp16(kInfinity) == 0x7c00);
  CHECK(float_to_fp16(0x1p-25f) == 0);  // half of the smallest: even is zero
  CHECK(float_to_fp16(-1e-45f) == 0x8000);
}

TEST_CASE("bf16: every pattern is the high half of its float") {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const float f = bf16_to_float(uint16_t(b));
    CHECK(float_bits(f) == b << 16);
    CHECK(float_to_bf16(f) == ((b & 0x7fff) > 0x7f80 ? b | 0x40 : b));
  }
}

TEST_CASE("bf16: to nearest even everywhere") {
  for (uint32_t b = 0; b < 0x7f7f; ++b) {
    const uint32_t low = b << 16;
    for (const uint32_t sign : {0u, 0x80000000u}) {
      CHECK(float_to_bf16(float_from_bits(sign | (low + 0x7fff))) == (sign >> 16 | b));
      CHECK(float_to_bf16(float_from_bits(sign | (low + 0x8000))) == (sign >> 16 | (b + b % 2)));
      CHECK(float_to_bf16(float_from_bits(sign | (low + 0x8001))) == (sign >> 16 | (b + 1)));
    }
  }
  CHECK(float_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(float_to_bf16(float_from_bits(0x7f800001)) == 0x7fc0);  // a NaN that truncation would have made infinite
}

TEST_CASE("e4m3: every pattern has the value of its definition and survives the way there and back") {
  for (uint32_t b = 0; b < 256; ++b) {
    const float f = e4m3_to_float(uint8_t(b));
    CHECK(std::signbit(f) == (b >> 7 == 1));
    if ((b & 0x7f) == 0x7f) {
      CHECK(std::isnan(f));
    } else {
      CHECK(std::fabs(f) == float(value_of(b & 0x7f, 3, 7)));
    }
    CHECK(float_to_e4m3(f) == b);
  }
  CHECK(e4m3_to_float(0x7e) == 448.0f);
  CHECK(e4m3_to_float(0x01) == 0x1p-9f);
}

TEST_CASE("e4m3: to nearest even everywhere, saturating at 448") {
  check_rounding(
      0x7e, [](uint32_t b) { return double(e4m3_to_float(uint8_t(b))); }, float_to_e4m3);
  for (const float f : {449.0f, 464.0f, 1e30f, kInfinity}) {
    CHECK(float_to_e4m3(f) == 0x7e);
    CHECK(float_to_e4m3(-f) == 0xfe);
  }
  CHECK(float_to_e4m3(0x1p-10f) == 0);  // half of the smallest: even is zero
  CHECK(float_to_e4m3(-1e-45f) == 0x80);
}
