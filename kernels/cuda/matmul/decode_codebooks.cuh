// Bits<Block> (decode.cuh) of the formats of 256 weights from codebooks:
//
//   eight(k, i, j, a, b)      instead of levels: weights 8 j .. 8 j + 7 of group k + i, four bytes each in a and b
//
// and without low_at and high_at: indices and signs are read with the scales. (NVFP4 and TQ1_0 of decode_iqk.cuh, too.)
#pragma once

#include <cstddef>

#include "kernels/cuda/matmul/decode.cuh"

namespace hearth::gpu {

template <class Block, int groups_per_scale, Zero zero = Zero::none, int offset = 0>
struct FromCodebook {
  using Book = typename Block::Book;
  static constexpr int kApart = 1, kAlign = 2, kOffset = offset, kPerScale = groups_per_scale;
  static constexpr Zero kZero = zero;
  static constexpr bool kFloats = false, kHigh = false, kCodebook = true;
  uint16_t d = 0;
  template <class Bytes>
  GPU_FN void read_d(const Bytes& block) {
    d = block.half(0);
  }
  GPU_FN float odd_scale(uint32_t bits) const {
    return half_to_float(d) * ((1.0f / Block::kUnits) * float(2 * bits + 1));
  }
};

// Four bytes of each of n groups, n words; or two bytes of each, n / 2 words.
template <int n, class Bytes>
GPU_FN void read_words(const Bytes& block, unsigned at, uint32_t (&to)[4]) {
  if constexpr (n == 4) {
    block.template words<2>(at, to);
  } else {
    to[0] = block.template bytes<2, 4>(at);
  }
}
template <int n, class Bytes>
GPU_FN void read_halves(const Bytes& block, unsigned at, uint32_t (&to)[2]) {
  if constexpr (n == 4) {
    block.template words<2>(at, to);
  } else {
    to[0] = block.half(at);
  }
}

// Levels 8, 25, 43 of the four nibbles at the bottom, as bytes.
GPU_FN uint32_t iq2_levels(uint32_t nibbles) {
  return byte_permute(0x002b1908, 0, nibbles & 0x7777);
}
// Four bytes, none of which is 0, and those negated whose bit is set.
GPU_FN uint32_t with_signs(uint32_t bytes, uint32_t bits) {
  const uint32_t minus = (bits & 15) * 0x00204081u & 0x01010101u;
  return (bytes ^ minus * 255) + minus;
}
template <class Book>
GPU_FN void eight_of_iq2(uint32_t index, uint32_t signs, uint32_t& a, uint32_t& b) {
  const uint32_t nibbles = codebook::point<Book>(int(index));
  a = with_signs(iq2_levels(nibbles), signs);
  b = with_signs(iq2_levels(nibbles >> 16), signs >> 4);
}
// Levels of four nibbles among eight, given as bytes.
template <class Book>
GPU_FN uint32_t iq3_levels(uint32_t index) {
  constexpr auto four = [](int first) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= uint32_t(Book::level(first + i)) << 8 * i;
    return word;
  };
  constexpr uint32_t low = four(0), high = four(4);
  return byte_permute(low, high, codebook::point<Book>(int(index)));
}
template <class Book>
GPU_FN void eight_of_iq3(uint32_t first, uint32_t second, uint32_t signs, uint32_t& a, uint32_t& b) {
  a = with_signs(iq3_levels<Book>(first), signs);
  b = with_signs(iq3_levels<Book>(second), signs >> 4);
}
// Plus 16.
GPU_FN void eight_of_iq1(uint32_t index, bool minus, uint32_t& a, uint32_t& b) {
  const uint32_t nibbles = codebook::point<codebook::Iq1>(int(index)), levels = minus ? 0x00170f07u : 0x00191109u;
  a = byte_permute(levels, 0, nibbles & 0x7777);
  b = byte_permute(levels, 0, nibbles >> 16 & 0x7777);
}

template <>
struct Bits<BlockIQ2_XXS> : FromCodebook<BlockIQ2_XXS, 2> {
  uint32_t words[4] = {};  // of each 32: indices; signs and scale
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    if constexpr (n == 4) {
      block.template words<2>(2 + 4 * k, words);
    } else {
      uint32_t own[2];
      block.template words<2>(2 + k / 2 * 8, own);
      words[0] = own[0], words[1] = own[1];
    }
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(words[i / 2 * 2 + 1] >> 28); }
  GPU_FN void eight(unsigned k, int i, int j, uint32_t& a, uint32_t& b) const {
    const unsigned m = (k + unsigned(i)) % 2 * 2 + unsigned(j);
    eight_of_iq2<Book>(words[i / 2 * 2] >> 8 * m & 255, signs_of_word(words[i / 2 * 2 + 1], int(m)), a, b);
  }
};

// What formats with a nibble for the scale of each group, or of each two, read: of one group, or of four.
template <int n, class Bytes>
GPU_FN uint32_t nibbles_at(const Bytes& block, unsigned at, unsigned k) {
  if constexpr (n == 4) return block.half(at + k / 2);
  return block.template bytes<2, 1>(at + k / 2) >> 4 * (k % 2);
}

template <>
struct Bits<BlockIQ2_XS> : FromCodebook<BlockIQ2_XS, 1> {
  uint32_t qs[4] = {}, scales = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    read_words<n>(block, offsetof(BlockIQ2_XS, qs) + 4 * k, qs);
    scales = nibbles_at<n>(block, offsetof(BlockIQ2_XS, scales), k);
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(scales >> 4 * i & 15); }
  GPU_FN void eight(unsigned, int i, int j, uint32_t& a, uint32_t& b) const {
    const uint32_t q = qs[i] >> 16 * j & 0xffff;
    eight_of_iq2<Book>(q & 511, eight_signs(q >> 9), a, b);
  }
};

template <>
struct Bits<BlockIQ2_S> : FromCodebook<BlockIQ2_S, 1> {
  uint32_t qs[2] = {}, signs[2] = {}, high = 0, scales = 0;  // bytes of each eight; pairs of bits; nibbles
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    read_halves<n>(block, offsetof(BlockIQ2_S, qs) + 2 * k, qs);
    read_halves<n>(block, offsetof(BlockIQ2_S, signs) + 2 * k, signs);
    high = nibbles_at<n>(block, offsetof(BlockIQ2_S, qh), k);
    scales = nibbles_at<n>(block, offsetof(BlockIQ2_S, scales), k);
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(scales >> 4 * i & 15); }
  GPU_FN void eight(unsigned, int i, int j, uint32_t& a, uint32_t& b) const {
    const unsigned shift = unsigned(16 * (i % 2) + 8 * j);
    const uint32_t low = qs[i / 2] >> shift & 255, top = high >> (4 * i + 2 * j) & 3;
    eight_of_iq2<Book>(low | top << 8, signs[i / 2] >> shift & 255, a, b);
  }
};

template <>
struct Bits<BlockIQ3_XXS> : FromCodebook<BlockIQ3_XXS, 2> {
  uint32_t qs[4] = {}, words[2] = {};  // an index for each four weights; signs and scale of each 32
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    read_words<n>(block, offsetof(BlockIQ3_XXS, qs) + 4 * k, qs);
    uint32_t own[n == 4 ? 2 : 1];
    block.template words<2>(offsetof(BlockIQ3_XXS, words) + k / 2 * 4, own);
    words[0] = own[0];
    if constexpr (n == 4) words[1] = own[1];
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(words[i / 2] >> 28); }
  GPU_FN void eight(unsigned k, int i, int j, uint32_t& a, uint32_t& b) const {
    const uint32_t signs = signs_of_word(words[i / 2], int((k + unsigned(i)) % 2 * 2) + j), q = qs[i] >> 16 * j;
    eight_of_iq3<Book>(q & 255, q >> 8 & 255, signs, a, b);
  }
};

template <>
struct Bits<BlockIQ3_S> : FromCodebook<BlockIQ3_S, 2> {
  uint32_t qs[4] = {}, signs[2] = {}, high = 0, scales = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    read_words<n>(block, offsetof(BlockIQ3_S, qs) + 4 * k, qs);
    read_halves<n>(block, offsetof(BlockIQ3_S, signs) + 2 * k, signs);
    high = nibbles_at<n>(block, offsetof(BlockIQ3_S, qh), k);
    scales = block.template bytes<2, 1>(offsetof(BlockIQ3_S, scales) + k / 4) >> 4 * (k / 2 % 2);
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(scales >> 4 * (i / 2) & 15); }
  GPU_FN void eight(unsigned, int i, int j, uint32_t& a, uint32_t& b) const {
    const uint32_t q = qs[i] >> 16 * j, top = high >> (4 * i + 2 * j);
    eight_of_iq3<Book>((q & 255) | (top & 1) << 8, (q >> 8 & 255) | (top & 2) << 7,
                       signs[i / 2] >> (16 * (i % 2) + 8 * j) & 255, a, b);
  }
};

template <>
struct Bits<BlockIQ1_S> : FromCodebook<BlockIQ1_S, 2, Zero::offset, 16> {
  uint32_t qs[2] = {}, high = 0;  // bytes of each eight; a half of each 32
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    read_halves<n>(block, offsetof(BlockIQ1_S, qs) + 2 * k, qs);
    high = block.half(offsetof(BlockIQ1_S, qh) + k / 2 * 2);
    if constexpr (n == 4) high |= uint32_t(block.half(offsetof(BlockIQ1_S, qh) + k / 2 * 2 + 2)) << 16;
  }
  GPU_FN float scale(unsigned, int i) const { return odd_scale(high >> (16 * (i / 2) + 12) & 7); }
  GPU_FN void eight(unsigned k, int i, int j, uint32_t& a, uint32_t& b) const {
    const uint32_t own = high >> 16 * (i / 2), m = (k + unsigned(i)) % 2 * 2 + unsigned(j);
    eight_of_iq1((qs[i / 2] >> (16 * (i % 2) + 8 * j) & 255) | (own >> 3 * m & 7) << 8, own >> 15 & 1, a, b);
  }
};

template <>
struct Bits<BlockIQ1_M> : FromCodebook<BlockIQ1_M, 1, Zero::offset, 16> {
  uint32_t qs[2] = {}, high = 0, scales[2] = {};
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_halves<n>(block, offsetof(BlockIQ1_M, qs) + 2 * k, qs);
    high = block.template bytes<2, n>(offsetof(BlockIQ1_M, qh) + k);
    block.template words<2>(offsetof(BlockIQ1_M, scales), scales);
  }
  GPU_FN float scale(unsigned k, int i) const {
    const unsigned group = k + unsigned(i);
    const uint32_t four = (group < 8 ? scales[0] : scales[1]) >> 16 * (group / 4 % 2);
    const uint32_t half =
        (scales[0] >> 12 & 15) | (scales[0] >> 24 & 0xf0) | (scales[1] >> 4 & 0xf00) | (scales[1] >> 16 & 0xf000);
    return half_to_float(uint16_t(half)) * ((1.0f / BlockIQ1_M::kUnits) * float(2 * (four >> 3 * (group % 4) & 7) + 1));
  }
  GPU_FN void eight(unsigned, int i, int j, uint32_t& a, uint32_t& b) const {
    const uint32_t nibble = high >> (8 * i + 4 * j);
    eight_of_iq1((qs[i / 2] >> (16 * (i % 2) + 8 * j) & 255) | (nibble & 7) << 8, nibble & 8, a, b);
  }
};

}  // namespace hearth::gpu
