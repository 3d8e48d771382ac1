// e^x of four numbers at once, for probabilities. The same bits everywhere, which no library's expf promises: the same
// seed is to give the same text on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numbers>

namespace hearth {

inline constexpr size_t kLanes = 4;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Lanes load_lanes(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// Tokens less likely than this (a logarithm) against the best one are left out at once. All of a vocabulary of 2^18 of
// them weighs 1e-12 of the best token: no draw of 53 bits ever meets one.
inline constexpr float kNegligible = -40.0f;

// e^x for x in [kNegligible, 0], with a relative error below 2e-7; 0 for what is less. x = n ln 2 + r, with |r| at most
// half of ln 2, where eight terms of the series are enough; the sum is grouped so that few terms wait for others.
inline Lanes exponential(Lanes x) {
  using Bits = uint32_t __attribute__((vector_size(sizeof(Lanes))));
  constexpr float kLog2e = float(std::numbers::log2e);
  constexpr float kLn2High = 355.0f / 512, kLn2Low = float(std::numbers::ln2 - 355.0 / 512);  // n * high is exact
  constexpr float kToInteger = 0x1.8p23f;  // adding it leaves no bits behind the point
  const Lanes least = Lanes{} + kNegligible;
  const Lanes kept = x > least ? x : least;
  const Lanes shifted = kept * kLog2e + kToInteger;
  const Lanes n = shifted - kToInteger;
  const Lanes r = (kept - n * kLn2High) - n * kLn2Low, r2 = r * r;
  const Lanes low = (1.0f + r) + r2 * (1 / 2.0f + r * (1 / 6.0f));
  const Lanes high = (1 / 24.0f + r * (1 / 120.0f)) + r2 * (1 / 720.0f + r * (1 / 5040.0f));
  const Lanes power = low + r2 * r2 * high;
  // The lowest bits of `shifted` are n, which belongs into the exponent; all others are shifted out.
  const Bits scaled = reinterpret_cast<Bits>(power) + (reinterpret_cast<Bits>(shifted) << 23);
  return reinterpret_cast<Lanes>(scaled & reinterpret_cast<Bits>(x > least));
}

}  // namespace hearth
