// What the encoders compute with: eight groups of weights side by side, one in each lane of a vector, so that a search
// over scales runs for eight groups at once and its sums need no order across lanes. Strict IEEE arithmetic in a fixed
// order: the same bits from every compiler, and with or without AVX2.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "quant/fp.h"

// An encoder is compiled twice, and the machine picks: with AVX2 a Lanes is one register, and the search three times as
// fast. What takes or returns Lanes is always inlined into the encoder: so it is compiled for the same machine, and the
// two never have to agree on how to pass a Lanes (which is what -Wpsabi, off for these files, warns of).
#if defined(__x86_64__) && defined(__OPTIMIZE__)
#define ENCODER __attribute__((target_clones("avx2", "default")))
#else
#define ENCODER
#endif
#define LANES_INLINE inline __attribute__((always_inline))

namespace hearth {

constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

LANES_INLINE Lanes broadcast(float v) {
  return v - Lanes{};
}
LANES_INLINE Lanes min(Lanes a, Lanes b) {
  return a < b ? a : b;
}
LANES_INLINE Lanes max(Lanes a, Lanes b) {
  return a > b ? a : b;
}
LANES_INLINE Lanes clamp(Lanes v, float low, float high) {
  return min(max(v, broadcast(low)), broadcast(high));
}

// To the nearest integer, ties to even; |v| < 2^22. The adder rounds: 1.5 * 2^23 has a last place of 1.
LANES_INLINE Lanes round_near(Lanes v) {
  return (v + 0x1.8p23f) - 0x1.8p23f;
}

// 1 / v, and 0 where v is too small to matter: weights are about 1 here (see Scaling).
LANES_INLINE Lanes inverse(Lanes v) {
  return max(v, -v) > 1e-30f ? 1.0f / v : Lanes{};
}

// a / b for b >= 0, and 0 where b is 0.
LANES_INLINE Lanes ratio(Lanes a, Lanes b) {
  return b > 0.0f ? a / b : Lanes{};
}

LANES_INLINE Lanes square_root(Lanes v) {
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = std::sqrt(v[lane]);
  return v;
}

LANES_INLINE float sum(Lanes v) {
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += v[lane];
  return total;
}

// Eight groups of N weights: x[i][lane] is weight i of a lane's group, w its share in the error (> 0).
template <int N>
struct Groups {
  Lanes x[N], w[N];
};

// The search sees the weights of a block as x * 2^-exponent, the largest in [1, 2): their squares neither overflow nor
// vanish. Scales are stored as they are without it.
struct Scaling {
  int exponent = 0;
  float weight = 0;  // importance * weight is at most 1

  Scaling() = default;
  Scaling(const float* x, const float* importance, int n) {
    float largest = 0, most = 0;
    for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
    for (int i = 0; importance && i < n; ++i) most = std::max(most, importance[i]);
    if (largest > 0) exponent = std::clamp(std::ilogb(largest), -126, 126);
    if (most > 0) weight = std::min(1 / most, 0x1p126f);
  }
  float down() const { return float_from_bits(uint32_t(127 - exponent) << 23); }
  float up() const { return float_from_bits(uint32_t(127 + exponent) << 23); }

  // The fp16 that is stored for a scale found in the search, and what it decodes to there.
  uint16_t to_fp16(float scale) const { return float_to_fp16(std::clamp(scale * up(), -65504.0f, 65504.0f)); }
  // Not below `scale`, so that integers times it reach as far: d of a small block may be few steps of fp16.
  uint16_t to_fp16_up(float scale) const { return to_fp16(scale + std::copysign(0x1p-25f, scale) * down()); }
  float from_fp16(uint16_t bits) const { return fp16_to_float(bits) * down(); }
};

// One group into one lane. A weight of no importance still counts 2^-20, so that it lands near where it belongs.
template <int N>
LANES_INLINE void load_lane(Groups<N>& groups, int lane, const Scaling& scaling, const float* x,
                            const float* importance) {
  const float down = scaling.down();
  for (int i = 0; i < N; ++i) {
    groups.x[i][lane] = x[i] * down;
    groups.w[i][lane] = importance ? importance[i] * scaling.weight + 0x1p-20f : 1.0f;
  }
}

}  // namespace hearth
