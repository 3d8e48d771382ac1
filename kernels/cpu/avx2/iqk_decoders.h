// Decoders (decoders.h) of the formats that ik_llama.cpp adds (quant/blocks_iqk.h): levels are looked up by byte
// shuffles, in 16 at a time, and moved where the group's bit is set.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "quant/blocks_iqk.h"

namespace hearth {
namespace {

// Levels `first` .. first + 15 of a table, or those there are, plus an offset, in both lanes.
template <class T, int Offset>
HEARTH_INLINE __m256i sixteen_levels(int first = 0) {
  alignas(16) int8_t of[16] = {};
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) {
    if (first + i < 1 << T::kBits) of[i] = int8_t(T::kTable.of[first + i] + Offset);
  }
  return in_both_halves(load128(of));
}
// What levels are moved by: in the lower 16 bytes if bit 0 is set, in the upper ones if bit 1 is.
template <class T>
HEARTH_INLINE __m256i moves_of_two(uint32_t bits) {
  const __m256i select = _mm256_setr_epi32(1, 1, 1, 1, 2, 2, 2, 2);
  const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(bits)), select), select);
  return _mm256_and_si256(set, _mm256_set1_epi8(T::kMove));
}
template <class T>
HEARTH_INLINE __m256i moves_of_all(uint32_t bit) {
  return _mm256_set1_epi8(char((bit & 1) * T::kMove));
}

template <class Block>
struct TableLevels {
  using T = typename Block::Levels;
  static constexpr int kBlock = 256, kBytes = sizeof(Block), kGroup = Block::kGroup;
  // Four levels are small enough for unsigned bytes: 8 * 31 * 127 = 31496
  static constexpr bool kSigned = T::kBits > 2, kMins = false;
  static constexpr int kOffset = kSigned ? 0 : 32, kRun = 16;

  // Levels of vector i, not moved. The upper bits of their numbers choose between lookups by the lower four.
  HEARTH_INLINE static __m256i levels(const uint8_t* p, int i) {
    const uint8_t* qs = p + offsetof(Block, qs);
    if constexpr (T::kBits == 2) return at(0, two_bits(qs, i));
    if constexpr (T::kBits == 3) return at(0, _mm256_or_si256(two_bits(qs, i), third_bit(high(p), i)));
    if constexpr (T::kBits == 4) return at(0, nibbles_in_halves(qs + 16 * i));
    if constexpr (T::kBits >= 5) {
      const __m256i z = load256(qs + 32 * (i / 2)), low = low_bits(i % 2 ? _mm256_srli_epi16(z, 4) : z, 4);
      if constexpr (T::kBits == 5) {
        return _mm256_blendv_epi8(at(0, low), at(16, low), _mm256_slli_epi16(load256(high(p)), 7 - i));
      } else {
        const __m256i h = load256(high(p) + 32 * (i / 4));
        const __m256i fifth = _mm256_slli_epi16(h, 7 - 2 * (i % 4)), sixth = _mm256_slli_epi16(h, 6 - 2 * (i % 4));
        return _mm256_blendv_epi8(_mm256_blendv_epi8(at(0, low), at(16, low), fifth),
                                  _mm256_blendv_epi8(at(32, low), at(48, low), fifth), sixth);
      }
    }
  }

 private:
  HEARTH_INLINE static __m256i at(int first, __m256i numbers) {
    return _mm256_shuffle_epi8(sixteen_levels<T, kOffset>(first), numbers);
  }
  HEARTH_INLINE static const uint8_t* high(const uint8_t* p) {
    if constexpr (requires { &Block::qh; }) return p + offsetof(Block, qh);
    return p;
  }
  HEARTH_INLINE static __m256i two_bits(const uint8_t* qs, int i) {
    return low_bits(_mm256_srli_epi16(load256(qs + 32 * (i / 4)), 2 * (i % 4)), 2);
  }
  HEARTH_INLINE static __m256i third_bit(const uint8_t* qh, int i) {
    const __m256i h = load256(qh);
    return _mm256_and_si256(i <= 2 ? _mm256_slli_epi16(h, 2 - i) : _mm256_srli_epi16(h, i - 2), _mm256_set1_epi8(4));
  }
};

// ---- Groups of 16: d is a half of the block

template <class Block>
struct LevelsOf16 : TableLevels<Block> {
  using Base = TableLevels<Block>;
  static constexpr int kD = 0;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint32_t extra = half_bits(p + offsetof(Block, extra));
    return _mm256_add_epi8(Base::levels(p, i), moves_of_two<typename Block::Levels>(extra >> 2 * i));
  }
};

// 16 bits, of which each becomes a word: all ones or zero.
HEARTH_INLINE __m256i words_where_set(uint32_t bits) {
  const __m256i select =
      _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, short(0x8000));
  return _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(short(bits)), select), select);
}
// The 16 scales of IQ4_K and IQ5_K: nibbles, and above them two bits of a 32-bit word.
HEARTH_INLINE __m256i scales_of_six_bits(const uint8_t* low, const uint8_t* high) {
  const __m256i pairs = _mm256_srlv_epi32(four_bytes(high), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  const __m256i even = _mm256_and_si256(pairs, _mm256_set1_epi32(3));
  const __m256i odd = _mm256_and_si256(_mm256_slli_epi32(pairs, 14), _mm256_set1_epi32(3 << 16));
  const __m256i top = _mm256_slli_epi16(_mm256_or_si256(even, odd), 4);
  return _mm256_sub_epi16(_mm256_or_si256(nibble_words(low), top), _mm256_set1_epi16(32));
}

struct IQ2_K : LevelsOf16<BlockIQ2_K> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_sub_epi16(nibble_words(p + offsetof(BlockIQ2_K, scales)), _mm256_set1_epi16(8));
  }
};
struct IQ3_K : LevelsOf16<BlockIQ3_K> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m256i nibbles = nibble_words(p + offsetof(BlockIQ3_K, scales_l));
    const __m256i size = _mm256_or_si256(_mm256_add_epi16(nibbles, nibbles), _mm256_set1_epi16(1));
    const __m256i minus = words_where_set(half_bits(p + offsetof(BlockIQ3_K, scales_h)));
    return _mm256_sub_epi16(_mm256_xor_si256(size, minus), minus);
  }
};
struct IQ4_K : LevelsOf16<BlockIQ4_K> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return scales_of_six_bits(p + offsetof(BlockIQ4_K, scales_l), p + offsetof(BlockIQ4_K, scales_h));
  }
};
struct IQ5_K : LevelsOf16<BlockIQ5_K> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return scales_of_six_bits(p + offsetof(BlockIQ5_K, scales_l), p + offsetof(BlockIQ5_K, scales_h));
  }
};
struct IQ6_K : LevelsOf16<BlockIQ6_K> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_cvtepi8_epi16(load128(p + offsetof(BlockIQ6_K, scales)));
  }
};

// ---- Groups of 32: d is the row's

HEARTH_INLINE float unit_of(const HalfHeader*, const uint8_t* row) {
  return half_to_float(row);
}
HEARTH_INLINE float unit_of(const FloatHeader*, const uint8_t* row) {
  float d;
  memcpy(&d, row, sizeof d);
  return d;
}

template <class Block>
struct LevelsOf32 : TableLevels<Block> {
  static constexpr int kHeader = sizeof(typename Block::Header);
  HEARTH_INLINE static float d(const uint8_t* row, const uint8_t*) {
    return unit_of(static_cast<const typename Block::Header*>(nullptr), row);
  }
};

// Eight words, each `bit` where a bit of the eight is set, else 0.
HEARTH_INLINE __m128i eight_bits(uint32_t bits, int bit) {
  const __m128i select = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
  const __m128i set = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16(short(bits)), select), select);
  return _mm_and_si128(set, _mm_set1_epi16(short(bit)));
}

struct IQ2_KS : LevelsOf32<BlockIQ2_KS> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return _mm256_add_epi8(levels(p, i), moves_of_all<T>(uint32_t(half_bits(p)) >> i));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p + offsetof(BlockIQ2_KS, scales), 4);
    const __m128i low = _mm_and_si128(
        _mm_unpacklo_epi8(_mm_cvtsi32_si128(int(four)), _mm_cvtsi32_si128(int(four >> 4))), _mm_set1_epi8(15));
    const __m128i five = _mm_or_si128(_mm_cvtepu8_epi16(low), eight_bits(uint32_t(half_bits(p)) >> 8, 16));
    return each_twice(_mm_sub_epi16(five, _mm_set1_epi16(16)));
  }
};
struct IQ3_KS : LevelsOf32<BlockIQ3_KS> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return _mm256_add_epi8(levels(p, i), moves_of_all<T>(uint32_t(half_bits(p)) >> (8 + i)));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p + offsetof(BlockIQ3_KS, scales), 4);
    const __m128i low = _mm_and_si128(_mm_setr_epi32(int(four), int(four >> 4), 0, 0), _mm_set1_epi8(15));
    const __m128i five = _mm_or_si128(_mm_cvtepu8_epi16(low), eight_bits(half_bits(p), 16));
    return each_twice(_mm_sub_epi16(five, _mm_set1_epi16(16)));
  }
};

// The upper seven bits of eight bytes, - 127.
HEARTH_INLINE __m256i scales_of_seven_bits(const uint8_t* p) {
  const __m128i words = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return each_twice(_mm_sub_epi16(_mm_and_si128(words, _mm_set1_epi16(254)), _mm_set1_epi16(127)));
}

struct IQ4_KS : LevelsOf32<BlockIQ4_KS> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return _mm256_add_epi8(levels(p, i), moves_of_all<T>(p[i]));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return scales_of_seven_bits(p); }
};
struct IQ5_KS : LevelsOf32<BlockIQ5_KS> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return _mm256_add_epi8(levels(p, i), moves_of_all<T>(p[i]));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return scales_of_seven_bits(p); }
};

}  // namespace
}  // namespace hearth
