// Every block as it lies in the file: a drawing of its bits, the value of weight i, bits per weight. Little-endian.
// Layouts up to IQ1_M are ggml's; F8_E4M3 and I4_G128 are ours; those that ik_llama.cpp adds are in blocks_iqk.h.
// Decoding them is decode.h.
//
// In the drawings a row is one byte, bit 7 left; `q5 lo4` is the low 4 bits of q of weight 5. fp16 fields are raw bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/codebooks.h"

namespace hearth {

// A row is blocks one after the other, in some formats behind a header: a scale of the whole row, say. The block of
// such a format names the header's type, Block::Header.
template <class Block>
inline constexpr size_t kHeaderBytes = 0;
template <class Block>
requires requires {
  typename Block::Header;
}
inline constexpr size_t kHeaderBytes<Block> = sizeof(typename Block::Header);

// ---- 32 weights. Nibbles lie in halves: byte i of qs holds weight i (low nibble) and weight i+16 (high nibble).
//
//            7      4 3      0
//   qs[i]   [ q[i+16] | q[i]  ]   i = 0..15
//
// The fifth bits, where there are any: bit i of qh (a little-endian 32-bit word, kept as bytes) is bit 4 of q[i].

// Q4_0, 4.5 bits per weight:  d * (q - 8),  q 0..15
struct BlockQ4_0 {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// Q4_1, 5 bits per weight:  d * q + m,  q 0..15
struct BlockQ4_1 {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  uint16_t m;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// Q5_0, 5.5 bits per weight:  d * (q - 16),  q 0..31
struct BlockQ5_0 {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// Q5_1, 6 bits per weight:  d * q + m,  q 0..31
struct BlockQ5_1 {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  uint16_t m;  // fp16
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// Q8_0, 8.5 bits per weight:  d * q,  q -127..127 (-128 decodes, but is never written)
struct BlockQ8_0 {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// IQ4_NL, 4.5 bits per weight:  d * kIq4Values[q],  q 0..15: levels spaced for bell-shaped weights
struct BlockIQ4_NL {
  static constexpr int kElems = 32;
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// MXFP4, 4.25 bits per weight, OCP's:  2^(e - 128) * level,  the level an fp4 e2m1 number, doubled
// (level_tables::E2m1), by its code q 0..15. e, 0..255, is the exponent in e8m0, whose NaN (255) is a power of two like
// the others here.
struct BlockMXFP4 {
  static constexpr int kElems = 32;
  uint8_t e;
  uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17 && alignof(BlockMXFP4) == 1);

// ---- 64 weights

// NVFP4, 4.5 bits per weight, NVIDIA's: 4 groups of 16.  d[g] / 2 * level,  levels as in MXFP4. d[g] is an fp8 e4m3
// number without a sign: bit 7 says nothing, and 0x7f, its NaN, is 0 here (but 0xff is 480).
//
//                7          4 3      0
//   qs[8g + i]  [ q[16g+8+i] | q[16g+i] ]   i = 0..7
struct BlockNVFP4 {
  static constexpr int kElems = 64;
  uint8_t d[4];
  uint8_t qs[32];
};
static_assert(sizeof(BlockNVFP4) == 36 && alignof(BlockNVFP4) == 1);

// ---- 256 weights with two levels of scales: one fp16 d (and dmin) for the block, a small integer for each group.
// (TQ1_0 and TQ2_0 have d alone.)
// The places of weight i are named by  n = i / 128 (half),  j = i % 128 / 32 (quarter of the half),  l = i % 32.

// Q2_K, 2.625 bits per weight: 16 groups of 16.  d * scale * q - dmin * min,  q 0..3, scale and min 0..15
//
//               7      4 3      0                     7  6 5  4 3  2 1  0
//   scales[k]  [ min[k] | scale[k] ]   qs[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]     k = i / 16
struct BlockQ2_K {
  static constexpr int kElems = 256;
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;     // fp16
  uint16_t dmin;  // fp16
};
static_assert(sizeof(BlockQ2_K) == 84);

// TQ1_0, 1.6875 bits per weight, for weights of -1, 0 and 1:  d * (q - 1),  q 0..2
//
// A byte is a fraction in base 3, byte / 256 = 0.t0 t1 t2 t3 t4 (rounded up): digit n is the integer part of
// 3 * frac(3^n * byte / 256). Digit n of
//   qs[m],       m 0..31,   is q of weight 32 n + m         (0..159)
//   qs[32 + m],  m 0..15,   is q of weight 160 + 16 n + m   (160..239)
//   qh[m],       m 0..3,    is q of weight 240 + 4 n + m    (240..255), n 0..3
struct BlockTQ1_0 {
  static constexpr int kElems = 256;
  uint8_t qs[48];
  uint8_t qh[4];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockTQ1_0) == 54);

// TQ2_0, 2.0625 bits per weight, for weights of -1, 0 and 1:  d * (q - 1),  q 0..2 (3 decodes to 2 d, but is never
// written)
//
//                  7  6 5  4 3  2 1  0
//   qs[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]
struct BlockTQ2_0 {
  static constexpr int kElems = 256;
  uint8_t qs[64];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockTQ2_0) == 66);

// Q3_K, 3.4375 bits per weight: 16 groups of 16.  d * scale * q,  q -4..3, scale -32..31 (stored + 32 in 6 bits)
//
//                7  6 5  4 3  2 1  0                   bit 4n + j
//   qs[32n+l]   [ j=3 | j=2 | j=1 | j=0 ]   hmask[l]  [ 1: as it is, 0: minus 4 ]     q = low 2 bits - (0 or 4)
//
//                    7        4 3        0                       7    6 5    4 3   2 1   0
//   scales[0..7]    [ lo4[k + 8] | lo4[k] ]   scales[8 + k % 4] [ hi2[k+12] | k+8 | k+4 | k ]   k = i / 16
struct BlockQ3_K {
  static constexpr int kElems = 256;
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockQ3_K) == 110);

// Q4_K, 4.5 bits per weight: 8 groups of 32.  d * scale * q - dmin * min,  q 0..15, scale and min 0..63
//
//                 7  6 5               0                    7  6 5             0                    7       4 3 0
//   scales[0..3] [ hi2 | scale[g]       ]   scales[4..7]   [ hi2 | min[g]       ]   scales[8..11]  [ min[g] | scale[g]
//   ]
//                 of scale[g+4]  g 0..3                     of min[g+4]  g 0..3                     low 4 bits,  g 4..7
//
//                  7       4 3      0
//   qs[32p + l]   [ g = 2p+1 | g = 2p ]    p = 0..3: a pair of groups shares 32 bytes
struct BlockQ4_K {
  static constexpr int kElems = 256;
  uint16_t d;     // fp16
  uint16_t dmin;  // fp16
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// Q5_K, 5.5 bits per weight: as Q4_K with q 0..31; bit g of qh[l] is bit 4 of q of weight 32g + l
struct BlockQ5_K {
  static constexpr int kElems = 256;
  uint16_t d;     // fp16
  uint16_t dmin;  // fp16
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// Q6_K, 6.5625 bits per weight: 16 groups of 16.  d * scale * (q - 32),  q 0..63, scale -128..127
//
//                    7     4 3     0                      7     4 3     0                   7  6 5  4 3  2 1  0
//   ql[64n + l]     [ j=2   | j=0   ]   ql[64n + 32 + l] [ j=3   | j=1   ]   qh[32n + l]   [ j=3 | j=2 | j=1 | j=0 ]
//                    low 4 bits of q                                                       high 2 bits of q
struct BlockQ6_K {
  static constexpr int kElems = 256;
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockQ6_K) == 210);

// IQ4_XS, 4.25 bits per weight: 8 groups of 32.  d * scale * kIq4Values[q],  scale -32..31 (stored + 32 in 6 bits)
//
//                     7             4 3           0
//   scales_l[g/2]    [ lo4 of g odd  | lo4 of g even ]   bits 2g, 2g+1 of scales_h: high 2 bits of group g
//
//                     7     4 3     0
//   qs[16g + i]      [ i + 16 | i    ]    i = 0..15 within the group: halves, as in the 32-blocks
struct BlockIQ4_XS {
  static constexpr int kElems = 256;
  uint16_t d;  // fp16
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// ---- 256 weights from codebooks (codebooks.h): an index names a point, a tuple of eight levels, or of four in IQ3.
// Bit i % 8 of the eight signs of weights 8 m .. 8 m + 7 is 1 where weight i is negative. Where only seven are stored,
// the eighth makes the number of ones even. Scales are in units of d / kUnits.

// IQ2_XXS, 2.0625 bits per weight: 8 groups of 32.  d / 8 * (2 scale + 1) * sign * level,  scale 0..15
//
//   qs[8g .. 8g+3]: the indices of weights 32g .. 32g + 31, eight bits each.   qs[8g+4 .. 8g+7], a 32-bit word:
//
//     31    28 27    21 20    14 13     7 6      0
//    [ scale  | signs 3 | signs 2 | signs 1 | signs 0 ]   seven bits each
struct BlockIQ2_XXS {
  using Book = codebook::Iq2Xxs;
  static constexpr int kElems = 256, kUnits = 8;
  uint16_t d;  // fp16
  uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

// IQ2_XS, 2.3125 bits per weight: 16 groups of 16.  d / 8 * (2 scale + 1) * sign * level,  scale 0..15
//
//              15     9 8      0                      7      4 3      0
//   qs[m]     [ signs  | index  ]     scales[k / 2]  [ k odd  | k even ]   k = i / 16
struct BlockIQ2_XS {
  using Book = codebook::Iq2Xs;
  static constexpr int kElems = 256, kUnits = 8;
  uint16_t d;  // fp16
  uint16_t qs[32];
  uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2_XS) == 74);

// IQ2_S, 2.5625 bits per weight: 16 groups of 16, as IQ2_XS with all signs and ten bits of index: the high two of m are
// bits 2 (m % 4) and 2 (m % 4) + 1 of qh[m / 4]
struct BlockIQ2_S {
  using Book = codebook::Iq2S;
  static constexpr int kElems = 256, kUnits = 8;
  uint16_t d;         // fp16
  uint8_t qs[32];     // low bits of the indices
  uint8_t signs[32];  // of weights 8 m .. 8 m + 7
  uint8_t qh[8];
  uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2_S) == 82);

// IQ3_XXS, 3.0625 bits per weight: 8 groups of 32.  d / 4 * (2 scale + 1) * sign * level,  scale 0..15
//
//   qs[m]: the index of weights 4m .. 4m + 3.   words[4g .. 4g+3]: signs and scale of group g as in IQ2_XXS
struct BlockIQ3_XXS {
  using Book = codebook::Iq3Xxs;
  static constexpr int kElems = 256, kUnits = 4;
  uint16_t d;  // fp16
  uint8_t qs[64];
  uint8_t words[32];
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

// IQ3_S, 3.4375 bits per weight: 8 groups of 32.  d * (2 scale + 1) * sign * level,  scale 0..15: scales as in IQ2_XS;
// bit m % 8 of qh[m / 8] is the ninth bit of the index of weights 4m .. 4m + 3
struct BlockIQ3_S {
  using Book = codebook::Iq3S;
  static constexpr int kElems = 256, kUnits = 1;
  uint16_t d;  // fp16
  uint8_t qs[64];
  uint8_t qh[8];
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3_S) == 110);

// IQ1_S, 1.5625 bits per weight: 8 groups of 32.  d / 8 * (2 scale + 1) * (level + shift),  level -8, 0 or 8, scale
// 0..7, shift 1 or -1.  qs[m]: the low eight bits of the index of weights 8m .. 8m + 7
//
//            15      14   12 11                                 0
//   qh[g]   [ minus | scale | high three bits of m = 4g+3 .. 4g  ]
struct BlockIQ1_S {
  using Book = codebook::Iq1;
  static constexpr int kElems = 256, kUnits = 8;
  uint16_t d;  // fp16
  uint8_t qs[32];
  uint16_t qh[8];
};
static_assert(sizeof(BlockIQ1_S) == 50);

// IQ1_M, 1.75 bits per weight: 16 groups of 16, as IQ1_S with a shift for each eight weights, and an fp16 d in pieces:
// its nibble n is bits 12 to 15 of scales[n]
//
//               7       6  4 3       2  0                          11  9 8   6 5   3 2   0
//   qh[m / 2]  [ minus | high | minus | high ]    scales[k / 4]   [ k+3 | k+2 | k+1 | k   ]   k = i / 16
//               m odd          m even
struct BlockIQ1_M {
  using Book = codebook::Iq1;
  static constexpr int kElems = 256, kUnits = 8;
  uint8_t qs[32];
  uint8_t qh[16];
  uint16_t scales[4];
};
static_assert(sizeof(BlockIQ1_M) == 56);

// ---- 128 weights: what ggml lacks.

// F8_E4M3, 8.25 bits per weight:  d * e4m3(qs[i]).  Holds the 128x128-scaled weights of FP8 checkpoints without loss.
struct BlockF8_E4M3 {
  static constexpr int kElems = 128;
  float d;
  uint8_t qs[128];  // e4m3fn
};
static_assert(sizeof(BlockF8_E4M3) == 132);

// I4_G128, 4.125 bits per weight:  d * q,  q -8..7 in two's complement, halves of 64
//
//            7      4 3      0
//   qs[i]   [ q[i+64] | q[i]  ]   i = 0..63
struct BlockI4_G128 {
  static constexpr int kElems = 128;
  uint16_t d;  // fp16
  uint8_t qs[64];
};
static_assert(sizeof(BlockI4_G128) == 66);

}  // namespace hearth
