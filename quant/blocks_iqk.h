// The blocks that ik_llama.cpp adds to ggml's, as blocks.h draws them: 256 weights whose levels come from a table
// (level_tables.h). Weight i of group g is
//
//   d * scale[g] * level,   level = table[q[i]] + (the group's bit is set ? table's kMove : 0)
//
// In formats _K, d is the block's and a group has 16 weights; in formats _KS, d is the header of the row, and a group
// has 32. The places of weight i are named by  n = i / 128,  j = i % 128 / 32,  l = i % 32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/level_tables.h"

namespace hearth {

// ---- Groups of 16, k = i / 16

// IQ2_K, 2.375 bits per weight.  scale -8..7 (stored + 8)
//
//                 7      4 3      0                   7  6 5  4 3  2 1  0
//   scales[k/2]  [ k odd  | k even ]   qs[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]   bit k of extra: the group's
struct BlockIQ2_K {
  using Levels = level_tables::Iq2;
  static constexpr int kElems = 256, kGroup = 16;
  uint16_t d;  // fp16
  uint16_t extra;
  uint8_t scales[8];
  uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2_K) == 76);

// IQ3_K, 3.4375 bits per weight.  scale: an odd number, 1..31, with a sign
//
//                   7      4 3      0                   7  6 5  4 3  2 1  0            bit 4n + j
//   scales_l[k/2]  [ k odd  | k even ]   qs[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]  qh[l] [ bit 2 of q ]
//
//   scale = 2 * nibble + 1, negative where bit k of scales_h is set; bit k of extra: the group's
struct BlockIQ3_K {
  using Levels = level_tables::Iq3;
  static constexpr int kElems = 256, kGroup = 16;
  uint16_t d;  // fp16
  uint16_t extra;
  uint16_t scales_h;
  uint8_t scales_l[8];
  uint8_t qs[64];
  uint8_t qh[32];
};
static_assert(sizeof(BlockIQ3_K) == 110);

// IQ4_K, 4.5 bits per weight.  scale -32..31 (stored + 32 in 6 bits)
//
//                   7          4 3         0                   7     6 5     4 3     2 1    0
//   scales_l[k/2]  [ lo4 k odd  | lo4 even ]   scales_h[k/4]  [ k%4=3 | k%4=2 | k%4=1 | k%4=0 ] hi2
//
//   qs: nibbles in halves of 32, as in IQ4_XS; bit k of extra: the group's
struct BlockIQ4_K {
  using Levels = level_tables::Iq4;
  static constexpr int kElems = 256, kGroup = 16;
  uint16_t d;  // fp16
  uint16_t extra;
  uint8_t scales_h[4];
  uint8_t scales_l[8];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_K) == 144);

// IQ5_K, 5.5 bits per weight.  Scales and extra as in IQ4_K.
//
//                                  7             4 3          0           bit i / 32
//   qs[i / 64 * 32 + i % 32]      [ i/32 odd: lo4 | even: lo4 ]   qh[l]  [ bit 4 of q ]
struct BlockIQ5_K {
  using Levels = level_tables::Iq5;
  static constexpr int kElems = 256, kGroup = 16;
  uint16_t d;  // fp16
  uint16_t extra;
  uint8_t scales_h[4];
  uint8_t scales_l[8];
  uint8_t qs[128];
  uint8_t qh[32];
};
static_assert(sizeof(BlockIQ5_K) == 176);

// IQ6_K, 6.625 bits per weight.  scale -128..127; extra as in IQ4_K; qs as in IQ5_K.
//
//                  7  6 5  4 3  2 1  0
//   qh[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]   bits 4 and 5 of q
struct BlockIQ6_K {
  using Levels = level_tables::Iq6;
  static constexpr int kElems = 256, kGroup = 16;
  uint16_t d;  // fp16
  uint16_t extra;
  int8_t scales[16];
  uint8_t qs[128];
  uint8_t qh[64];
};
static_assert(sizeof(BlockIQ6_K) == 212);

// ---- Groups of 32, g = i / 32, behind a header

struct HalfHeader {
  uint16_t d;  // fp16
};
struct FloatHeader {
  float d;
};

// IQ2_KS, 2.1875 bits per weight.  scale -16..15 (stored + 16 in 5 bits); qs as in IQ2_K
//
//                 7          4 3         0
//   scales[g/2]  [ lo4 g odd  | lo4 even ]   extra: bit g the group's; bit 8 + g is bit 4 of the scale
struct BlockIQ2_KS {
  using Header = HalfHeader;
  using Levels = level_tables::Iq2;
  static constexpr int kElems = 256, kGroup = 32;
  uint16_t extra;
  uint8_t scales[4];
  uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2_KS) == 70);

// IQ3_KS, 3.1875 bits per weight.  scale -16..15 (stored + 16 in 5 bits); qs and qh as in IQ3_K
//
//                      7       4 3      0
//   scales[g], g 0..3 [ lo4 g+4 | lo4 g ]   extra: bit g is bit 4 of the scale; bit 8 + g the group's
struct BlockIQ3_KS {
  using Header = HalfHeader;
  using Levels = level_tables::Iq3;
  static constexpr int kElems = 256, kGroup = 32;
  uint16_t extra;
  uint8_t scales[4];
  uint8_t qs[64];
  uint8_t qh[32];
};
static_assert(sizeof(BlockIQ3_KS) == 102);

// IQ4_KS, 4.25 bits per weight.  scale -127..127, odd: the upper seven bits of scales[g], times 2, - 127; bit 0 is the
// group's; qs as in IQ4_K
struct BlockIQ4_KS {
  using Header = FloatHeader;
  using Levels = level_tables::Iq4;
  static constexpr int kElems = 256, kGroup = 32;
  uint8_t scales[8];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_KS) == 136);

// IQ5_KS, 5.25 bits per weight.  Scales as in IQ4_KS, qs and qh as in IQ5_K
struct BlockIQ5_KS {
  using Header = FloatHeader;
  using Levels = level_tables::Iq5;
  static constexpr int kElems = 256, kGroup = 32;
  uint8_t scales[8];
  uint8_t qs[128];
  uint8_t qh[32];
};
static_assert(sizeof(BlockIQ5_KS) == 168);

}  // namespace hearth
