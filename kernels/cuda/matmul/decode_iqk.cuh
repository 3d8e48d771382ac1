// Bits<Block> (decode.cuh) of the formats whose levels come from a table by more than IQ4's four bits, or from one of
// two tables: those that ik_llama.cpp adds (quant/blocks_iqk.h), and the fp4 formats; and of TQ1_0.
//
// A byte permutation looks up four numbers among eight levels. Numbers of more bits are looked up among each eight, and
// their upper bits choose.
#pragma once

#include "kernels/cuda/matmul/decode_codebooks.cuh"

namespace hearth::gpu {

// ---- Tables

// Levels as bytes, four to a word.
template <class T>
struct LevelWords {
  uint32_t of[(1 << T::kBits) / 4];
};
template <class T>
constexpr LevelWords<T> level_words() {
  LevelWords<T> words{};
  for (int i = 0; i < 1 << T::kBits; ++i) words.of[i / 4] |= uint32_t(uint8_t(T::kTable.of[i])) << 8 * (i % 4);
  return words;
}
template <class T>
inline constexpr LevelWords<T> kLevelWords = level_words<T>();

// Word i of a table.
template <class T, int i>
GPU_FN uint32_t level_word() {
  constexpr uint32_t word = kLevelWords<T>.of[i];
  return word;
}

// Levels first .. first + 15 (or + 7, + 3) of four nibbles.
template <class T, int first = 0>
GPU_FN uint32_t among_sixteen(uint32_t nibbles) {
  if constexpr (T::kBits == 2) return byte_permute(level_word<T, 0>(), 0, nibbles);
  if constexpr (T::kBits == 3) return byte_permute(level_word<T, 0>(), level_word<T, 1>(), nibbles);
  if constexpr (T::kBits >= 4) {
    constexpr int i = first / 4;
    const uint32_t within = nibbles & 0x7777;
    const uint32_t low = byte_permute(level_word<T, i>(), level_word<T, i + 1>(), within);
    const uint32_t high = byte_permute(level_word<T, i + 2>(), level_word<T, i + 3>(), within);
    return byte_permute(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
  }
}

// Four bytes plus a number below 128 each. (To look levels up in the moved table instead takes a second table's
// registers.)
GPU_FN uint32_t add_to_bytes(uint32_t bytes, uint32_t numbers) {
  return ((bytes & 0x7f7f7f7fu) + numbers) ^ (bytes & 0x80808080u);
}

// Bytes of a where a bit, which is at the bottom of each byte of `bits`, is not set, of b where it is.
GPU_FN uint32_t choose_bytes(uint32_t a, uint32_t b, uint32_t bits) {
  const uint32_t chosen = (bits & 0x01010101u) * 255;
  return (a & ~chosen) | (b & chosen);
}

// Levels of the numbers whose lower four bits are four bytes; their bits 4 and 5 are at the bottom of the bytes of
// `upper` and of upper / 2.
template <class T>
GPU_FN uint32_t table_levels(uint32_t bytes, [[maybe_unused]] uint32_t upper = 0) {
  const uint32_t nibbles = byte_permute(bytes | bytes >> 4, 0, 0x4420);
  const uint32_t first = among_sixteen<T>(nibbles);
  if constexpr (T::kBits <= 4) {
    return first;
  } else {
    const uint32_t lower_half = choose_bytes(first, among_sixteen<T, 16>(nibbles), upper);
    if constexpr (T::kBits == 5) {
      return lower_half;
    } else {
      const uint32_t upper_half = choose_bytes(among_sixteen<T, 32>(nibbles), among_sixteen<T, 48>(nibbles), upper);
      return choose_bytes(lower_half, upper_half, upper >> 1);
    }
  }
}

// ---- 256 weights with levels from tables: k = i / 16, as in decode.cuh

template <class Block, int alignment>
struct TableBits : Packing<Block::Levels::kBits == 4 ? 1 : 2, alignment> {
  using Levels = typename Block::Levels;
  static constexpr int kPerScale = Block::kGroup / 16, kBits = Levels::kBits;
  static constexpr bool kHigh = kBits != 2 && kBits != 4;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) {
    return offsetof(Block, qs) + (kBits <= 3   ? k / 8 * 32 + k % 2 * 16
                                  : kBits == 4 ? k / 2 * 16
                                               : k / 4 * 32 + k % 2 * 16);
  }
  HEARTH_HD static constexpr unsigned high_at(unsigned k) {
    if constexpr (kHigh) return offsetof(Block, qh) + k % 2 * 16;
    return 0;
  }
  GPU_FN static uint32_t levels_of(uint32_t low, uint32_t high, unsigned k, bool moved) {
    return add_to_bytes(levels_in_place(low, high, k), moved ? Levels::kMove * 0x01010101u : 0u);
  }

 private:
  GPU_FN static uint32_t levels_in_place(uint32_t low, uint32_t high, unsigned k) {
    if constexpr (kBits == 2) return table_levels<Levels>(Bits<BlockQ2_K>::two_bits(low, k));
    if constexpr (kBits == 3) {
      const uint32_t third = high >> k / 2 << 2 & 0x04040404u;
      return table_levels<Levels>(Bits<BlockQ2_K>::two_bits(low, k) | third);
    }
    if constexpr (kBits == 4) return table_levels<Levels>(nibbles_of(low, k % 2));
    if constexpr (kBits == 5) return table_levels<Levels>(nibbles_of(low, k / 2 % 2), high >> k / 2);
  }
};

// Groups of 16. extra: a bit for each group; d: the block's.
template <class Block, int alignment>
struct TableOf16 : TableBits<Block, alignment> {
  uint32_t extra = 0;
  uint16_t d = 0;
  template <class Bytes>
  GPU_FN void read_d(const Bytes& block) {
    d = block.half(offsetof(Block, d));
    extra = block.half(offsetof(Block, extra));
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return this->levels_of(low, high, k, extra >> k & 1);
  }
};

template <>
struct Bits<BlockIQ2_K> : TableOf16<BlockIQ2_K, 4> {
  uint32_t scales = 0;  // nibbles
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    scales = nibbles_at<n>(block, offsetof(BlockIQ2_K, scales), k);
  }
  GPU_FN float scale(unsigned, int i) const { return half_to_float(d) * float(int(scales >> 4 * i & 15) - 8); }
};

template <>
struct Bits<BlockIQ3_K> : TableOf16<BlockIQ3_K, 2> {
  uint32_t scales = 0, minus = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    read_d(block);
    minus = block.half(offsetof(BlockIQ3_K, scales_h));
    scales = nibbles_at<n>(block, offsetof(BlockIQ3_K, scales_l), k);
  }
  GPU_FN float scale(unsigned k, int i) const {
    const int size = int(scales >> 4 * i & 15) * 2 + 1;
    return half_to_float(d) * float(minus >> (k + unsigned(i)) & 1 ? -size : size);
  }
};

// Scales of six bits: nibbles, and a byte for the upper bits of four groups.
template <class Block, int alignment>
struct SixBitTables : TableOf16<Block, alignment> {
  uint32_t low4 = 0, high2 = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    this->read_d(block);
    low4 = nibbles_at<n>(block, offsetof(Block, scales_l), k);
    high2 = block.template bytes<2, 1>(offsetof(Block, scales_h) + k / 4);
  }
  GPU_FN float scale(unsigned k, int i) const {
    const uint32_t low = low4 >> 4 * i & 15, high = high2 >> 2 * ((k + unsigned(i)) % 4) & 3;
    return half_to_float(this->d) * float(int(low | high << 4) - 32);
  }
};
template <>
struct Bits<BlockIQ4_K> : SixBitTables<BlockIQ4_K, 16> {};
template <>
struct Bits<BlockIQ5_K> : SixBitTables<BlockIQ5_K, 16> {};

// Whose bits are all read with the scales, as with a codebook.
struct ReadWhole {
  static constexpr int kApart = 1;
  static constexpr bool kFloats = false, kHigh = false, kCodebook = true;
};

// (With windows there would be too few registers for its table in the largest tile.)
template <>
struct Bits<BlockIQ6_K> : ReadWhole {
  using Levels = level_tables::Iq6;
  static constexpr int kAlign = 4, kOffset = 0, kPerScale = 1;
  static constexpr Zero kZero = Zero::none;
  uint32_t low[8] = {}, high[8] = {};  // of four groups; or in the first four words of one
  uint32_t groups = 0, extra = 0;      // a signed byte each, a bit each
  uint16_t d = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    d = block.half(offsetof(BlockIQ6_K, d));
    extra = block.half(offsetof(BlockIQ6_K, extra));
    groups = block.template bytes<4, n>(offsetof(BlockIQ6_K, scales) + k);
    const unsigned low_at = offsetof(BlockIQ6_K, qs) + k / 4 * 32, high_at = offsetof(BlockIQ6_K, qh) + k / 8 * 32;
    if constexpr (n == 4) {
      block.template words<4>(low_at, low);
      block.template words<4>(high_at, high);
    } else {
      uint32_t own_low[4], own_high[4];
      block.template words<4>(low_at + k % 2 * 16, own_low);
      block.template words<4>(high_at + k % 2 * 16, own_high);
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) low[i] = own_low[i], high[i] = own_high[i];
    }
  }
  GPU_FN float scale(unsigned, int i) const { return half_to_float(d) * float(int8_t(groups >> 8 * i)); }
  GPU_FN void eight(unsigned k, int i, int j, uint32_t& a, uint32_t& b) const {
    const unsigned group = k + unsigned(i), upper = group / 2 % 2, shift = group / 2 % 4 * 2;
    const uint32_t move = extra >> group & 1 ? Levels::kMove * 0x01010101u : 0;
    const int word = 4 * (i % 2) + 2 * j;
    a = add_to_bytes(table_levels<Levels>(nibbles_of(low[word], upper), high[word] >> shift), move);
    b = add_to_bytes(table_levels<Levels>(nibbles_of(low[word + 1], upper), high[word + 1] >> shift), move);
  }
};

// Groups of 32: two neighbouring k. d: the row's.
template <class Block>
struct FiveBitTables : TableBits<Block, 2> {
  uint32_t extra = 0, nibbles[1] = {};
  uint16_t d = 0;
  template <int n, class Bytes>
  GPU_FN void read(const HalfHeader& header, const Bytes& block, unsigned) {
    d = header.d;
    extra = block.half(offsetof(Block, extra));
    block.template words<2>(offsetof(Block, scales), nibbles);
  }
  GPU_FN float scale_of(uint32_t low, uint32_t fifth) const {
    return half_to_float(d) * float(int((low & 15) | (fifth & 1) << 4) - 16);
  }
};
template <>
struct Bits<BlockIQ2_KS> : FiveBitTables<BlockIQ2_KS> {
  GPU_FN float scale(unsigned k, int i) const {
    const unsigned g = (k + unsigned(i)) / 2;
    return scale_of(nibbles[0] >> 4 * g, extra >> (8 + g));
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return levels_of(low, high, k, extra >> k / 2 & 1);
  }
};
template <>
struct Bits<BlockIQ3_KS> : FiveBitTables<BlockIQ3_KS> {
  GPU_FN float scale(unsigned k, int i) const {
    const unsigned g = (k + unsigned(i)) / 2;
    return scale_of(nibbles[0] >> (8 * (g % 4) + 4 * (g / 4)), extra >> g);
  }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return levels_of(low, high, k, extra >> (8 + k / 2) & 1);
  }
};

// A byte for each group: seven bits of the scale, and which table.
template <class Block>
struct SevenBitTables : TableBits<Block, 4> {
  uint32_t groups[2] = {};
  float d = 0;
  template <int n, class Bytes>
  GPU_FN void read(const FloatHeader& header, const Bytes& block, unsigned) {
    d = header.d;
    block.template words<4>(offsetof(Block, scales), groups);
  }
  GPU_FN uint32_t byte_of_group(unsigned k) const { return (k < 8 ? groups[0] : groups[1]) >> 8 * (k / 2 % 4) & 255; }
  GPU_FN float scale(unsigned k, int i) const { return d * float(int(byte_of_group(k + unsigned(i)) & 254) - 127); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t high, unsigned k, int) const {
    return this->levels_of(low, high, k, byte_of_group(k) & 1);
  }
};
template <>
struct Bits<BlockIQ4_KS> : SevenBitTables<BlockIQ4_KS> {};
template <>
struct Bits<BlockIQ5_KS> : SevenBitTables<BlockIQ5_KS> {};

// ---- fp4

template <>
struct Bits<BlockMXFP4> : SmallBlock<BlockMXFP4, 1> {
  uint32_t e;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned) {
    e = block.template bytes<1, 1>(offsetof(BlockMXFP4, e));
  }
  GPU_FN float scale(unsigned, int) const { return half_of_e8m0(uint8_t(e)); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned k, int) const {
    return table_levels<level_tables::E2m1>(nibbles_of(low, k));
  }
};

template <>
struct Bits<BlockNVFP4> : ReadWhole {
  static constexpr int kAlign = 4, kOffset = 0, kPerScale = 1;
  static constexpr Zero kZero = Zero::none;
  uint32_t qs[8] = {}, d = 0;  // two words of each group; a byte of each
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    d = block.template bytes<4, n>(offsetof(BlockNVFP4, d) + k);
    if constexpr (n == 4) {
      block.template words<4>(offsetof(BlockNVFP4, qs), qs);
    } else {
      uint32_t own[2];
      block.template words<4>(offsetof(BlockNVFP4, qs) + 8 * k, own);
      qs[0] = own[0], qs[1] = own[1];
    }
  }
  GPU_FN float scale(unsigned, int i) const { return half_of_ue4m3(uint8_t(d >> 8 * i)); }
  GPU_FN void eight(unsigned, int i, int j, uint32_t& a, uint32_t& b) const {
    a = table_levels<level_tables::E2m1>(nibbles_of(qs[2 * i], unsigned(j)));
    b = table_levels<level_tables::E2m1>(nibbles_of(qs[2 * i + 1], unsigned(j)));
  }
};

// ---- TQ1_0

template <>
struct Bits<BlockTQ1_0> : ReadWhole {
  static constexpr int kAlign = 2, kOffset = 1, kPerScale = 16;
  static constexpr Zero kZero = Zero::offset;
  uint32_t words[13] = {};  // qs and qh; of one group its own words, wherever they are looked for
  uint16_t d = 0;
  template <int n, class Bytes>
  GPU_FN void read(const Bytes& block, unsigned k) {
    d = block.half(offsetof(BlockTQ1_0, d));
    if constexpr (n == 4) {
      block.template words<2>(0, words);
    } else {
      uint32_t own[4] = {block.template bytes<2, 4>(k < 10 ? k % 2 * 16 : k < 15 ? 32 : 48)};
      GPU_UNROLL
      for (unsigned i = 1; i < 4; ++i) own[i] = block.template bytes<2, 4>((k < 10 ? k % 2 * 16 : 32) + 4 * i);
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) words[i] = words[8 + i] = own[i];
      words[12] = own[0];
    }
  }
  GPU_FN float scale(unsigned, int) const { return half_to_float(d); }
  GPU_FN void eight(unsigned k, int i, int j, uint32_t& a, uint32_t& b) const {
    const unsigned group = k + unsigned(i);
    const int own = 4 * (i % 2) + 2 * j, later = 8 + 2 * j;
    const unsigned digit = group < 10 ? group / 2 : group < 15 ? group - 10 : 2 * unsigned(j);
    a = digits(group < 10 ? words[own] : group < 15 ? words[later] : words[12], digit);
    b = digits(group < 10 ? words[own + 1] : group < 15 ? words[later + 1] : words[12], digit + (group < 15 ? 0 : 1));
  }
  // Digit n in base 3 of four fractions in bytes.
  GPU_FN static uint32_t digits(uint32_t bytes, unsigned n) {
    const uint32_t power = n < 4 ? 0x1b090301u >> 8 * n & 255 : 81;
    const uint32_t even = (bytes & 0x00ff00ffu) * power & 0x00ff00ffu;
    const uint32_t odd = (bytes >> 8 & 0x00ff00ffu) * power & 0x00ff00ffu;
    return (even * 3 >> 8 & 0x00030003u) | (odd * 3 & 0x03000300u);
  }
};

}  // namespace hearth::gpu
