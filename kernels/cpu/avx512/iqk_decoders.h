// Decoders (decoders.h) of the formats that ik_llama.cpp adds (quant/blocks_iqk.h), in the order of the weights: levels
// are looked up by byte shuffles, in 16 at a time, and moved where the group's bit is set.
#pragma once

#include "kernels/cpu/avx512/decoders.h"
#include "quant/blocks_iqk.h"

namespace hearth {
namespace {

// Levels `first` .. first + 15 of a table, or those there are, plus `offset`, in all lanes.
template <class T>
HEARTH_INLINE __m512i sixteen_levels(int offset, int first = 0) {
  alignas(16) uint8_t of[16] = {};
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) {
    if (first + i < 1 << T::kBits) of[i] = uint8_t(T::kTable.of[first + i] + offset);
  }
  return in_all_lanes(load128(of));
}

// Whether, in the lower and in the upper 32 bytes, these bits are set.
HEARTH_INLINE __mmask64 bits_set(__m512i v, int low, int high) {
  return _mm512_test_epi8_mask(v, join(_mm256_set1_epi8(char(1 << low)), _mm256_set1_epi8(char(1 << high))));
}

// Offset: the power of two that makes levels unsigned (decoders.h).
template <class Block, int Offset>
struct TableLevels {
  using T = typename Block::Levels;
  static constexpr int kBlock = 256, kBytes = sizeof(Block), kOffset = Offset, kGroup = Block::kGroup;
  static constexpr bool kMins = false, kWide = Offset == 7;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  static constexpr int kStored = 4;
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return v[i][j]; }

  // Levels of vector i, not moved.
  HEARTH_INLINE static __m512i levels(const uint8_t* p, int i) {
    const uint8_t* qs = p + offsetof(Block, qs);
    if constexpr (T::kBits == 2) return at(0, two_bits(qs, i));
    if constexpr (T::kBits == 3) {
      const __m512i h = _mm512_srlv_epi16(in_both_halves(load256(high(p))), halves_of(2 * i, 2 * i + 1));
      return at(0, with_bits(two_bits(qs, i), _mm512_slli_epi16(h, 2), 4));
    }
    if constexpr (T::kBits == 4) return at(0, nibbles_of_two(qs + 32 * i, qs + 32 * i + 16));
    const __m512i z = in_both_halves(load256(qs + 32 * i)), low = low_bits(_mm512_srlv_epi16(z, halves_of(0, 4)), 4);
    if constexpr (T::kBits == 5) {
      const __mmask64 fifth = bits_set(in_both_halves(load256(high(p))), 2 * i, 2 * i + 1);
      return _mm512_mask_blend_epi8(fifth, at(0, low), at(16, low));
    }
    const __m512i h = in_both_halves(load256(high(p) + 32 * (i / 2)));
    const int bit = 4 * (i % 2);
    const __mmask64 fifth = bits_set(h, bit, bit + 2), sixth = bits_set(h, bit + 1, bit + 3);
    return _mm512_mask_blend_epi8(sixth, _mm512_mask_blend_epi8(fifth, at(0, low), at(16, low)),
                                  _mm512_mask_blend_epi8(fifth, at(32, low), at(48, low)));
  }

 private:
  HEARTH_INLINE static const uint8_t* high(const uint8_t* p) {
    if constexpr (requires { &Block::qh; }) return p + offsetof(Block, qh);
    return p;
  }
  HEARTH_INLINE static __m512i at(int first, __m512i numbers) {
    return _mm512_shuffle_epi8(sixteen_levels<T>(1 << Offset, first), numbers);
  }
  HEARTH_INLINE static __m512i two_bits(const uint8_t* qs, int i) {
    const int first = 4 * (i % 2);
    return low_bits(_mm512_srlv_epi16(in_both_halves(load256(qs + 32 * (i / 2))), halves_of(first, first + 2)), 2);
  }
};

// What levels are moved by: a lane for each of four bits, or a half for each of two.
template <class T>
HEARTH_INLINE __m512i moves_of_four(uint32_t bits) {
  const uint32_t spread = ((bits & 1) | (bits & 2) << 3 | (bits & 4) << 6 | (bits & 8) << 9) * 15;
  return _mm512_maskz_set1_epi32(__mmask16(spread), T::kMove * 0x01010101);
}
template <class T>
HEARTH_INLINE __m512i moves_of_two(uint32_t low, uint32_t high) {
  return _mm512_maskz_set1_epi32(__mmask16((low & 1) * 0xff | (high & 1) * 0xff00), T::kMove * 0x01010101);
}

// ---- Groups of 16: d is a half of the block

template <class Block, int Offset>
struct LevelsOf16 : TableLevels<Block, Offset> {
  using Base = TableLevels<Block, Offset>;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint32_t extra = half_bits(p + offsetof(Block, extra));
    return _mm512_add_epi8(Base::levels(p, i), moves_of_four<typename Block::Levels>(extra >> 4 * i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p; }
};

// The 16 scales of IQ4_K and IQ5_K: nibbles, and above them two bits of a 32-bit word.
HEARTH_INLINE __m256i scales_of_six_bits(const uint8_t* low, const uint8_t* high) {
  uint32_t bits;
  memcpy(&bits, high, 4);
  const __m256i pairs = _mm256_srlv_epi32(_mm256_set1_epi32(int(bits)), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  const __m256i even = _mm256_and_si256(pairs, _mm256_set1_epi32(3));
  const __m256i odd = _mm256_and_si256(_mm256_slli_epi32(pairs, 14), _mm256_set1_epi32(3 << 16));
  const __m256i top = _mm256_slli_epi16(_mm256_or_si256(even, odd), 4);
  return _mm256_sub_epi16(_mm256_or_si256(nibble_words(low), top), _mm256_set1_epi16(32));
}

struct IQ2_K : LevelsOf16<BlockIQ2_K, 5> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_sub_epi16(nibble_words(p + offsetof(BlockIQ2_K, scales)), _mm256_set1_epi16(8));
  }
};
struct IQ3_K : LevelsOf16<BlockIQ3_K, 6> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m256i nibbles = nibble_words(p + offsetof(BlockIQ3_K, scales_l));
    const __m256i size = _mm256_or_si256(_mm256_add_epi16(nibbles, nibbles), _mm256_set1_epi16(1));
    return _mm256_mask_sub_epi16(size, half_bits(p + offsetof(BlockIQ3_K, scales_h)), _mm256_setzero_si256(), size);
  }
};
struct IQ4_K : LevelsOf16<BlockIQ4_K, 7> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return scales_of_six_bits(p + offsetof(BlockIQ4_K, scales_l), p + offsetof(BlockIQ4_K, scales_h));
  }
};
struct IQ5_K : LevelsOf16<BlockIQ5_K, 7> {
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return scales_of_six_bits(p + offsetof(BlockIQ5_K, scales_l), p + offsetof(BlockIQ5_K, scales_h));
  }
};
struct IQ6_K : LevelsOf16<BlockIQ6_K, 7> {
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

template <class Block, int Offset>
struct LevelsOf32 : TableLevels<Block, Offset> {
  static constexpr int kHeader = sizeof(typename Block::Header);
  HEARTH_INLINE static float d(const uint8_t* row, const uint8_t*) {
    return unit_of(static_cast<const typename Block::Header*>(nullptr), row);
  }
};

// Eight words, each twice.
HEARTH_INLINE __m256i words_of_groups(__m128i words) {
  return _mm256_set_m128i(_mm_unpackhi_epi16(words, words), _mm_unpacklo_epi16(words, words));
}
// Eight nibbles in bytes, with a fifth bit each; - 16.
HEARTH_INLINE __m256i scales_of_five_bits(__m128i nibbles, __mmask8 fifth) {
  const __m128i low = _mm_cvtepu8_epi16(_mm_and_si128(nibbles, _mm_set1_epi8(15)));
  return words_of_groups(_mm_mask_mov_epi16(_mm_sub_epi16(low, _mm_set1_epi16(16)), fifth, low));
}

struct IQ2_KS : LevelsOf32<BlockIQ2_KS, 5> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint32_t extra = uint32_t(half_bits(p)) >> 2 * i;
    return _mm512_add_epi8(levels(p, i), moves_of_two<T>(extra, extra >> 1));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p + offsetof(BlockIQ2_KS, scales), 4);
    return scales_of_five_bits(_mm_unpacklo_epi8(_mm_cvtsi32_si128(int(four)), _mm_cvtsi32_si128(int(four >> 4))),
                               p[1]);
  }
};
struct IQ3_KS : LevelsOf32<BlockIQ3_KS, 6> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint32_t moved = uint32_t(p[1]) >> 2 * i;
    return _mm512_add_epi8(levels(p, i), moves_of_two<T>(moved, moved >> 1));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p + offsetof(BlockIQ3_KS, scales), 4);
    return scales_of_five_bits(_mm_setr_epi32(int(four), int(four >> 4), 0, 0), p[0]);
  }
};

// The upper seven bits of eight bytes, - 127.
HEARTH_INLINE __m256i scales_of_seven_bits(const uint8_t* p) {
  const __m128i words = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return words_of_groups(_mm_sub_epi16(_mm_and_si128(words, _mm_set1_epi16(254)), _mm_set1_epi16(127)));
}

struct IQ4_KS : LevelsOf32<BlockIQ4_KS, 7> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    return _mm512_add_epi8(levels(p, i), moves_of_two<T>(p[2 * i], p[2 * i + 1]));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return scales_of_seven_bits(p); }
};
struct IQ5_KS : LevelsOf32<BlockIQ5_KS, 7> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    return _mm512_add_epi8(levels(p, i), moves_of_two<T>(p[2 * i], p[2 * i + 1]));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return scales_of_seven_bits(p); }
};

}  // namespace
}  // namespace hearth
