// How bits become weights: everything that kernels/cuda knows about the formats' layouts, each in one place.
//
// The bits are drawn in quant/blocks.h, and quant/decode.h is the definition that tests/kernels/cuda/decode_test.cpp
// compares with. Blocks lie in memory as ggml wrote them: many are aligned to 2 bytes only.
//
// Integer formats are decoded in groups of 16 neighbouring weights, which have one scale. Bits<Block> says where the
// bits of group k lie and what they mean, four weights at a time, spread over the bytes of a word by masks and byte
// permutations (those from codebooks in decode_codebooks.cuh, the later formats' in decode_iqk.cuh). How bytes get into
// registers, how many weights are taken at a time and what they become is decided by the users:
//   weight_unit.cuh  one token: 32 weights as bytes for dp4a, from shared memory (Q3_K's bits are known there, too)
//   few_weights.cuh  few tokens: fragments of bf16 for tensor cores, from shared memory
//   weight_run.cuh   many tokens: 64 weights as bf16 or bytes for tensor cores, from global memory
// Code that needs single weights (embed, widen_weights) gets them from the definition itself, by weight_at() of
// formats.cuh.
#pragma once

#include <cstddef>

#include "kernels/cuda/formats.cuh"

namespace hearth::gpu {

// ---- Reading. Users with a block's bytes in registers have a class of their own with the functions of InMemory.

// n words at an address that is a multiple of kAlign.
template <int kAlign, int n>
GPU_FN void load_words(const std::byte* p, uint32_t (&words)[n]) {
  if constexpr (kAlign >= 16 && n % 4 == 0) {
    GPU_UNROLL
    for (int i = 0; i < n; i += 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(p + 4 * i);
      words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
    }
  } else if constexpr (kAlign >= 8 && n % 2 == 0) {
    GPU_UNROLL
    for (int i = 0; i < n; i += 2) {
      const uint2 v = *reinterpret_cast<const uint2*>(p + 4 * i);
      words[i] = v.x, words[i + 1] = v.y;
    }
  } else if constexpr (kAlign >= 4) {
    GPU_UNROLL
    for (int i = 0; i < n; ++i) words[i] = reinterpret_cast<const uint32_t*>(p)[i];
  } else {
    const auto* halves = reinterpret_cast<const uint16_t*>(p);
    GPU_UNROLL
    for (int i = 0; i < n; ++i) words[i] = halves[2 * i] | uint32_t(halves[2 * i + 1]) << 16;
  }
}

// A block in memory.
struct InMemory {
  const std::byte* block;

  GPU_FN uint16_t half(unsigned at) const { return *reinterpret_cast<const uint16_t*>(block + at); }
  template <int kAlign, int n>
  GPU_FN void words(unsigned at, uint32_t (&to)[n]) const {
    load_words<kAlign>(block + at, to);
  }
  // n bytes, 1 or 4.
  template <int kAlign, int n>
  GPU_FN uint32_t bytes(unsigned at) const {
    if constexpr (n == 1) return *reinterpret_cast<const uint8_t*>(block + at);
    uint32_t word[1];
    words<kAlign>(at, word);
    return word[0];
  }
};

// ---- Bits<Block> of the integer formats
//
//   read<n>(block, k)         takes what is needed for the scales of groups k .. k + n - 1 (n is 1, or 4 with k a
//                             multiple of 4); nothing is computed, so that nobody waits for memory here
//   scale(k, i), min(k, i)    of group k + i
//   low_at(k), high_at(k)     where the 16 bytes lie in the block that have the group's bits. high_at: where kHigh
//   levels(low, high, k, i)   from word i of those: levels 4 i .. 4 i + 3 of group k, a byte each
//   kPerScale                 so many neighbouring groups, from a multiple of that on, have one scale and min
//
// Weight = scale * level - min, or for formats with an offset instead, scale * (level - kOffset). Levels are unsigned,
// or signed if there is neither min nor offset.
//
// Formats whose rows have a header have read<n>(header, block, k) instead; kAlign is then the alignment of blocks after
// a header.

template <class Block>
struct Bits;

// The header of a row in registers, if its format has one.
template <class Block>
struct RowHeader {
  GPU_FN void load(const std::byte*) {}
};
template <class Block>
requires(kHeaderBytes<Block> > 0) struct RowHeader<Block> {
  typename Block::Header value;
  GPU_FN void load(const std::byte* row) { value = header_of<Block>(row); }
};

template <int n, class Block, class Bytes>
GPU_FN void read_scales(Bits<Block>& bits, [[maybe_unused]] const RowHeader<Block>& header, const Bytes& block,
                        unsigned k) {
  if constexpr (kHeaderBytes<Block> != 0) {
    bits.template read<n>(header.value, block, k);
  } else {
    bits.template read<n>(block, k);
  }
}

enum class Zero { none, offset, min };  // what is subtracted from levels or weights

// Groups k and k + kApart are packed in the same bytes (in Q8_0 they are neighbours). kAlign is the alignment of
// blocks, and of low_at and high_at in them.
template <int apart, int alignment, Zero zero = Zero::none, int offset = 0>
struct Packing {
  static constexpr int kApart = apart, kAlign = alignment, kOffset = offset;
  static constexpr Zero kZero = zero;
  static constexpr bool kFloats = false, kHigh = false, kCodebook = false;
  static constexpr int kPerScale = 2;
};

// Two fp16 in a word.
GPU_FN float lower_half(uint32_t word) {
  return half_to_float(uint16_t(word));
}
GPU_FN float upper_half(uint32_t word) {
  return half_to_float(uint16_t(word >> 16));
}

// The low nibbles of four bytes, or the high ones.
GPU_FN uint32_t nibbles_of(uint32_t word, unsigned high) {
  return word >> 4 * high & 0x0f0f0f0fu;
}

// Bits 0 to 3 of `bits` become bit 4 of four bytes: four products, side by side.
GPU_FN uint32_t spread_fifth_bits(uint32_t bits) {
  return (bits & 15) * 0x02040810u & 0x10101010u;
}

// IQ4's levels of four nibbles, as signed bytes. A byte permutation looks up four nibbles among eight levels: once
// among the lower eight, once among the upper, and a third one chooses by the nibbles' top bits.
GPU_FN uint32_t iq4_of_four_nibbles(uint32_t nibbles) {
  constexpr auto four = [](int first) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= uint32_t(uint8_t(int(iq4_value(first + i)))) << 8 * i;
    return word;
  };
  constexpr uint32_t table[4] = {four(0), four(4), four(8), four(12)};
  const uint32_t low = byte_permute(table[0], table[1], nibbles & 0x7777);
  const uint32_t high = byte_permute(table[2], table[3], nibbles & 0x7777);
  return byte_permute(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
}
// The levels of the low nibbles of four bytes, or of the high ones. If both are needed, the compiler can share the
// lookup.
GPU_FN uint32_t iq4_levels(uint32_t word, unsigned high) {
  return byte_permute(iq4_of_four_nibbles(word), iq4_of_four_nibbles(word >> 16), high ? 0x7531 : 0x6420);
}

// Byte i of four, by a permutation: the compiler does not see through it, and so does not move its own masking into
// values that two users share.
GPU_FN uint32_t byte_of(uint32_t word, unsigned i) {
  return byte_permute(word, 0, 0x4440 + i);
}

// ---- 32 weights: groups 0 and 1

template <class Block, int alignment, Zero zero = Zero::none, int offset = 0>
struct SmallBlock : Packing<1, alignment, zero, offset> {
  HEARTH_HD static constexpr unsigned low_at(unsigned) { return offsetof(Block, qs); }
};

// Formats whose only scale is a half.
template <class Block>
struct OneHalf {
  uint16_t d;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    d = block.half(offsetof(Block, d));
  }
  GPU_FN float scale(unsigned, int) const { return half_to_float(d); }
};

template <>
struct Bits<BlockQ8_0> : Packing<1, 2>, OneHalf<BlockQ8_0> {
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ8_0, qs) + 16 * k; }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned, int) const { return low; }
};

template <>
struct Bits<BlockQ4_0> : SmallBlock<BlockQ4_0, 2, Zero::offset, 8>, OneHalf<BlockQ4_0> {
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return nibbles_of(low, k); }
};

template <>
struct Bits<BlockIQ4_NL> : SmallBlock<BlockIQ4_NL, 2>, OneHalf<BlockIQ4_NL> {
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return iq4_levels(low, k); }
};

template <>
struct Bits<BlockQ4_1> : SmallBlock<BlockQ4_1, 4, Zero::min> {
  uint32_t d_m[1];  // m is added: minus a minimum
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    block.template words<4>(0, d_m);
  }
  GPU_FN float scale(unsigned, int) const { return lower_half(d_m[0]); }
  GPU_FN float min(unsigned, int) const { return -upper_half(d_m[0]); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return nibbles_of(low, k); }
};

template <>
struct Bits<BlockQ5_0> : SmallBlock<BlockQ5_0, 2, Zero::offset, 16>, OneHalf<BlockQ5_0> {
  uint32_t fifth[1];
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    OneHalf::template read<n>(block, k);
    block.template words<2>(offsetof(BlockQ5_0, qh), fifth);
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int i) const {
    return nibbles_of(low, k) | spread_fifth_bits(fifth[0] >> (16 * k + 4 * i));
  }
};

template <>
struct Bits<BlockQ5_1> : SmallBlock<BlockQ5_1, 8, Zero::min> {
  uint32_t header[2];  // d and m, fifth bits
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    block.template words<8>(0, header);
  }
  GPU_FN float scale(unsigned, int) const { return lower_half(header[0]); }
  GPU_FN float min(unsigned, int) const { return -upper_half(header[0]); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int i) const {
    return nibbles_of(low, k) | spread_fifth_bits(header[1] >> (16 * k + 4 * i));
  }
};

// ---- 128 weights: k = 4 h + (0 .. 3), h the half of the block

template <>
struct Bits<BlockI4_G128> : Packing<4, 2, Zero::offset, 8>, OneHalf<BlockI4_G128> {
  static constexpr int kPerScale = 8;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockI4_G128, qs) + 16 * (k % 4); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const {
    return nibbles_of(low, k / 4) ^ 0x08080808u;  // two's complement, plus 8
  }
};

// ---- 256 weights: k = 8 n + 2 j + s: half n of the block, quarter j of that, its first or last 16 weights (s)

template <>
struct Bits<BlockQ2_K> : Packing<2, 4, Zero::min> {
  static constexpr int kPerScale = 1;
  uint32_t groups;  // a byte each: scale and min
  uint32_t d_dmin[1];
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ2_K, qs) + k / 8 * 32 + k % 2 * 16; }
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    groups = block.template bytes<4, n>(offsetof(BlockQ2_K, scales) + k);
    block.template words<4>(offsetof(BlockQ2_K, d), d_dmin);
  }
  GPU_FN float scale(unsigned, int i) const { return lower_half(d_dmin[0]) * float(groups >> 8 * i & 15); }
  GPU_FN float min(unsigned, int i) const { return upper_half(d_dmin[0]) * float(groups >> (8 * i + 4) & 15); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return two_bits(low, k); }
  // Shifted in two steps: a user who takes quarters 2 p and 2 p + 1 shares the first step.
  GPU_FN static uint32_t two_bits(uint32_t low, unsigned k) {
    return low >> 4 * (k / 4 % 2) >> 2 * (k / 2 % 2) & 0x03030303u;
  }
};

template <>
struct Bits<BlockTQ2_0> : Packing<2, 2, Zero::offset, 1>, OneHalf<BlockTQ2_0> {
  static constexpr int kPerScale = 16;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockTQ2_0, qs) + k / 8 * 32 + k % 2 * 16; }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return Bits<BlockQ2_K>::two_bits(low, k); }
};

template <>
struct Bits<BlockQ3_K> : Packing<2, 2, Zero::offset, 4> {
  static constexpr int kPerScale = 1;
  static constexpr bool kHigh = true;
  uint32_t low4, high2;  // a byte each: scales of k and k + 8, of k, k + 4, k + 8 and k + 12
  uint16_t d;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ3_K, qs) + k / 8 * 32 + k % 2 * 16; }
  HEARTH_HD static constexpr unsigned high_at(unsigned k) { return offsetof(BlockQ3_K, hmask) + k % 2 * 16; }
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    low4 = block.template bytes<2, n>(offsetof(BlockQ3_K, scales) + k % 8);
    high2 = block.template bytes<2, n>(offsetof(BlockQ3_K, scales) + 8 + k % 4);
    d = block.half(offsetof(BlockQ3_K, d));
  }
  GPU_FN float scale(unsigned k, int i) const {
    const uint32_t low = low4 >> (8 * i + k / 8 * 4) & 15, high = high2 >> (8 * i + k / 4 * 2) & 3;
    return half_to_float(d) * float(int(low | high << 4) - 32);
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return Bits<BlockQ2_K>::two_bits(low, k) | (high >> k / 4 * 2 << (2 - k / 2 % 2) & 0x04040404u);
  }
};

// The scales of Q4_K and Q5_K. Two neighbouring groups share one, so four groups have a pair of bytes for scales and
// one for minimums.
template <class Block>
struct SixBitScales {
  static_assert(offsetof(Block, scales) == 4);
  uint32_t header[4] = {};
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    block.template words<16>(0, header);
  }
  GPU_FN float scale(unsigned k, int i) const {
    const unsigned shift = 16 * (k / 4 % 2);
    const uint32_t first = header[1] >> shift, last = header[3] >> shift;
    const uint32_t pair = k / 8 == 0 ? first & 0x3f3f : (last & 0x0f0f) | (first >> 2 & 0x3030);
    return lower_half(header[0]) * float(byte_of(pair, (k + i) / 2 % 2));
  }
  GPU_FN float min(unsigned k, int i) const {
    const unsigned shift = 16 * (k / 4 % 2);
    const uint32_t first = header[2] >> shift, last = header[3] >> shift;
    const uint32_t pair = k / 8 == 0 ? first & 0x3f3f : (last >> 4 & 0x0f0f) | (first >> 2 & 0x3030);
    return upper_half(header[0]) * float(byte_of(pair, (k + i) / 2 % 2));
  }
};

template <>
struct Bits<BlockQ4_K> : Packing<2, 16, Zero::min>, SixBitScales<BlockQ4_K> {
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ4_K, qs) + k / 4 * 32 + k % 2 * 16; }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return nibbles_of(low, k / 2 % 2); }
};

template <>
struct Bits<BlockQ5_K> : Packing<2, 16, Zero::min>, SixBitScales<BlockQ5_K> {
  static constexpr bool kHigh = true;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ5_K, qs) + k / 4 * 32 + k % 2 * 16; }
  HEARTH_HD static constexpr unsigned high_at(unsigned k) { return offsetof(BlockQ5_K, qh) + k % 2 * 16; }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return nibbles_of(low, k / 2 % 2) | (high >> k / 4 * 2 << (4 - k / 2 % 2) & 0x10101010u);
  }
};

template <>
struct Bits<BlockQ6_K> : Packing<4, 2, Zero::offset, 32> {
  static constexpr int kPerScale = 1;
  static constexpr bool kHigh = true;
  uint32_t groups;  // a signed byte each
  uint16_t d;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockQ6_K, ql) + k / 8 * 64 + k % 4 * 16; }
  HEARTH_HD static constexpr unsigned high_at(unsigned k) { return offsetof(BlockQ6_K, qh) + k / 8 * 32 + k % 2 * 16; }
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    groups = block.template bytes<2, n>(offsetof(BlockQ6_K, scales) + k);
    d = block.half(offsetof(BlockQ6_K, d));
  }
  GPU_FN float scale(unsigned, int i) const { return half_to_float(d) * float(int8_t(groups >> 8 * i)); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    const unsigned upper = k / 4 % 2;
    return nibbles_of(low, upper) | (high >> k / 2 % 2 * 2 << 4 * (1 - upper) & 0x30303030u);
  }
};

template <>
struct Bits<BlockIQ4_XS> : Packing<1, 8> {
  static_assert(offsetof(BlockIQ4_XS, scales_h) == 2 && offsetof(BlockIQ4_XS, scales_l) == 4);
  uint32_t header[2] = {};
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return offsetof(BlockIQ4_XS, qs) + k / 2 * 16; }
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    block.template words<8>(0, header);
  }
  GPU_FN float scale(unsigned k, int i) const {
    const unsigned g = (k + i) / 2;
    const uint32_t low = header[1] >> 4 * g & 15, high = header[0] >> (16 + 2 * g) & 3;
    return lower_half(header[0]) * float(int(low | high << 4) - 32);
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const { return iq4_levels(low, k % 2); }
};

// ---- Bits<Block> of the float formats
//
//   kPerWord, kAt             weights in a word of the block; the first word is at byte kAt
//   read(block)               takes the block's scale
//   floats(word, w)           the weights of a word before scaling
//   nans_of(word)             not 0 if the word has a weight that scaling must make NaN
//   scale(nans)               the scale; NaN if nans, the or of nans_of, is not 0

// e4m3 is fp16 without its lowest bits and with a bias that is 8 less: shifted into fp16's places it is the number
// times 2^-8, subnormals included. Only NaN, all ones in e4m3, needs a check.
template <>
struct Bits<BlockF8_E4M3> {
  static constexpr bool kFloats = true;
  static constexpr int kPerWord = 4, kAlign = 4;
  static constexpr unsigned kAt = offsetof(BlockF8_E4M3, qs);
  uint32_t d[1];
  template <class Bytes>
  GPU_FN void read(const Bytes& block) {
    block.template words<4>(offsetof(BlockF8_E4M3, d), d);
  }
  GPU_FN static void floats(uint32_t word, float* w) {
    const uint32_t even = (word << 8 & 0x80008000u) | (word << 7 & 0x3f803f80u);
    const uint32_t odd = (word & 0x80008000u) | (word >> 1 & 0x3f803f80u);
    w[0] = lower_half(even), w[1] = lower_half(odd), w[2] = upper_half(even), w[3] = upper_half(odd);
  }
  GPU_FN static uint32_t nans_of(uint32_t word) { return ((word & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u; }
  GPU_FN float scale(uint32_t nans) const { return nans ? float_from_bits(0x7fc00000u) : float_from_bits(d[0]) * 256; }
};

// Rows may have any length and, with 16-bit floats, any even address.
template <int per_word>
struct PlainFloats {
  static constexpr bool kFloats = true;
  static constexpr int kPerWord = per_word, kAlign = 4 / per_word;
  static constexpr unsigned kAt = 0;
  template <class Bytes>
  GPU_FN void read(const Bytes&) {}
  GPU_FN static uint32_t nans_of(uint32_t) { return 0; }
  GPU_FN float scale(uint32_t) const { return 1; }
};

template <>
struct Bits<BlockF32> : PlainFloats<1> {
  GPU_FN static void floats(uint32_t word, float* w) { w[0] = float_from_bits(word); }
};
template <>
struct Bits<BlockF16> : PlainFloats<2> {
  GPU_FN static void floats(uint32_t word, float* w) { w[0] = lower_half(word), w[1] = upper_half(word); }
};
template <>
struct Bits<BlockBF16> : PlainFloats<2> {
  GPU_FN static void floats(uint32_t word, float* w) {
    w[0] = float_from_bits(word << 16), w[1] = float_from_bits(word & 0xffff0000u);
  }
};

}  // namespace hearth::gpu
