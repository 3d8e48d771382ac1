// The levels of each format that has one scale per group, and where its search tries to put a group's extreme weight.
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

// The extreme weight goes to the negative side, which has one level more; d may well be negative.
struct Q4Levels : IntegerLevels<-8, 7> {
  static constexpr float kTry[] = {-8.25f, -7.5f, -8.75f, -7, -7.75f, -6.25f, -8};
};
struct Q5Levels : IntegerLevels<-16, 15> {
  static constexpr float kTry[] = {-16, -15, -16.5f, -14, -13, -15.5f, -17, -14.5f};
};
struct Q8Levels : IntegerLevels<-127, 127> {  // -128 is left out: kernels may negate
  static constexpr float kTry[] = {127, 126, 125, 124, 123, 122, 121, 120, 119, 118, 117, 116, 115, 114, 113, 112};
};
struct I4Levels : IntegerLevels<-8, 7> {  // 128 weights: more of them are worth clipping
  static constexpr float kTry[] = {-8.75f, -9.5f, -8.25f, -7.75f, -10, -9, -8.5f};
};
struct Q3KLevels : IntegerLevels<-4, 3> {
  static constexpr float kTry[] = {-4.125f, -3.25f, -4.625f, -3.75f, -2.875f};
};
struct Q6KLevels : IntegerLevels<-32, 31> {
  static constexpr float kTry[] = {-32, -31, -30, -29, -28, -27, -26, -25};
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

// One octave of levels: a scale twice as large gives the same levels but for the smallest. Weights that are already
// multiples of e4m3 numbers are found again, since their extreme is one of these, or a power of two below.
struct E4m3Levels {
  static constexpr float kTry[] = {448, 416, 384, 352, 320, 288, 256, 240};
  static LANES_INLINE Lanes nearest(Lanes y) {
    // Three bits below the leading one of |y|, but never below 2^-9: 1.5 * 2^(20 + e) has a last place of 2^(e - 3).
    using Bits = uint32_t __attribute__((vector_size(sizeof(Lanes))));
    y = clamp(y, -448, 448);
    const Lanes leading = reinterpret_cast<Lanes>(reinterpret_cast<Bits>(y) & 0x7f800000);
    const Lanes adder = max(leading, broadcast(0x1p-6f)) * 0x1.8p20f;
    return (y + adder) - adder;
  }
  static float store(const Scaling& s, float d) { return d * s.up(); }
  static float load(const Scaling& s, float stored) { return stored * s.down(); }
};

// Affine formats: first and last level inside the range, in steps.
constexpr AffineTry kTry2Bits[] = {{.3f, .3f}, {.5f, 0},    {0, .5f},     {.1f, 0},  {.1f, .4f},
                                   {.4f, .2f}, {-.6f, .4f}, {-.5f, -.4f}, {.5f, .7f}};
constexpr AffineTry kTry4Bits[] = {{.25f, .25f}, {-.25f, .5f}, {.5f, 0},     {-1, 0},    {0, .25f},    {0, -.25f},
                                   {-1, -1},     {0, -.75f},   {.25f, .75f}, {-.25f, 0}, {.5f, -.25f}, {-1, -.25f}};
constexpr AffineTry kTry5Bits[] = {{0, 0},    {-1, 0},   {.5f, 0},   {0, .5f},   {-1, -1},    {-.5f, -1},
                                   {-.5f, 0}, {0, -.5f}, {-1, -.5f}, {.5f, .5f}, {.5f, -.5f}, {-.5f, -.5f}};

}  // namespace hearth
