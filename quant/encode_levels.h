// Levels of formats with one scale per group, and where the search tries to put a group's extreme weight: what formats
// of both kinds share. The others lie beside their encoders.
#pragma once

#include <array>

#include "quant/decode.h"
#include "quant/encode_search.h"

namespace hearth {

// A scale that is stored as fp16.
struct Fp16Scale {
  static uint16_t store(const Scaling& s, float d) { return s.to_fp16(d); }
  static float load(const Scaling& s, uint16_t stored) { return s.from_fp16(stored); }
};

template <int Low, int High>
struct IntegerLevels : Fp16Scale {
  static LANES_INLINE Lanes nearest(Lanes y) { return round_near(clamp(y, Low, High)); }
};

struct Iq4Levels : Fp16Scale {
  static constexpr float kTry[] = {-128, 116, -136, -110, -122, 124};
  static LANES_INLINE Lanes nearest(Lanes y) {
    Lanes level = broadcast(iq4_value(0));
#pragma GCC unroll 15
    for (int k = 1; k < 16; ++k) {
      level += y > (iq4_value(k - 1) + iq4_value(k)) * 0.5f ? broadcast(iq4_value(k) - iq4_value(k - 1)) : Lanes{};
    }
    return level;
  }
  static int index(float level) {
    return kIndex[int(level) + 127];
  }

 private:
  static constexpr std::array<uint8_t, 241> kIndex = [] {
    std::array<uint8_t, 241> index{};
    for (int k = 0; k < 16; ++k) index[size_t(iq4_value(k) + 127)] = uint8_t(k);
    return index;
  }();
};

// Affine formats: first and last level inside the range, in steps.
constexpr AffineTry kTry4Bits[] = {{.25f, .25f}, {-.25f, .5f}, {.5f, 0},     {-1, 0},    {0, .25f},    {0, -.25f},
                                   {-1, -1},     {0, -.75f},   {.25f, .75f}, {-.25f, 0}, {.5f, -.25f}, {-1, -.25f}};
constexpr AffineTry kTry5Bits[] = {{0, 0},    {-1, 0},   {.5f, 0},   {0, .5f},   {-1, -1},    {-.5f, -1},
                                   {-.5f, 0}, {0, -.5f}, {-1, -.5f}, {.5f, .5f}, {.5f, -.5f}, {-.5f, -.5f}};

}  // namespace hearth
