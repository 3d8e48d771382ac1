// Decoders (decoders.h) of the formats whose weights are points of a codebook, in the order of the weights. Signs and
// shifts are bits or bytes that lie elsewhere in the block.
#pragma once

#include "kernels/cpu/avx512/decoders.h"
#include "kernels/cpu/codebook_bytes.h"
#include "quant/codebooks.h"

namespace hearth {
namespace {

HEARTH_INLINE uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return word;
}
HEARTH_INLINE uint64_t two_words_at(const uint8_t* p) {
  uint64_t words;
  memcpy(&words, p, 8);
  return words;
}

// Seven signs in each byte -> eight, of which the last makes the number of ones even.
HEARTH_INLINE __m256i eight_signs(__m256i sevens) {
  // Of a byte, the parity of the number of ones is that of its two nibbles together, by a table.
  const __m256i odd =
      _mm256_setr_epi64x(0x8000008000808000, 0x0080800080000080, 0x8000008000808000, 0x0080800080000080);
  const __m256i nibbles = _mm256_xor_si256(sevens, _mm256_srli_epi16(sevens, 4));
  return _mm256_or_si256(sevens, _mm256_shuffle_epi8(odd, _mm256_and_si256(nibbles, _mm256_set1_epi8(15))));
}
// Eight words, of each four times seven bits.
HEARTH_INLINE __m256i signs_of_words(__m256i words) {
  const __m256i seven = _mm256_set1_epi32(0x7f);
  const auto byte = [&](int i) HEARTH_INLINE_LAMBDA {  // 7 i .. 7 i + 6 to 8 i .. 8 i + 6
    return _mm256_and_si256(_mm256_slli_epi32(words, i), _mm256_slli_epi32(seven, 8 * i));
  };
  return eight_signs(_mm256_or_si256(_mm256_or_si256(byte(0), byte(1)), _mm256_or_si256(byte(2), byte(3))));
}
// Of 256 weights, those of vector i.
HEARTH_INLINE __mmask64 signs_of_vector(__m256i signs, int i) {
  const __m128i half = i < 2 ? _mm256_castsi256_si128(signs) : _mm256_extracti128_si256(signs, 1);
  return __mmask64(i % 2 == 0 ? _mm_cvtsi128_si64(half) : _mm_extract_epi64(half, 1));
}

// Of 32 indices, words, those of points.
HEARTH_INLINE __m512i look_up(const uint16_t* codes, __m512i index, int n_points) {
  __m512i found[8];
  HEARTH_UNROLL for (int i = 0; i < n_points / 64; ++i) {
    found[i] = _mm512_permutex2var_epi16(load512(codes + 64 * i), index, load512(codes + 64 * i + 32));
  }
  const auto bit = [&](int b) HEARTH_INLINE_LAMBDA {
    return _mm512_test_epi16_mask(index, _mm512_set1_epi16(int16_t(1 << b)));
  };
  const __mmask32 first = bit(6), second = bit(7);
  const auto of_four = [&](const __m512i* four) HEARTH_INLINE_LAMBDA {
    return _mm512_mask_blend_epi16(second, _mm512_mask_blend_epi16(first, four[0], four[1]),
                                   _mm512_mask_blend_epi16(first, four[2], four[3]));
  };
  if (n_points == 256) return of_four(found);
  return _mm512_mask_blend_epi16(bit(8), of_four(found), of_four(found + 4));
}
template <int n>
HEARTH_INLINE __m512i look_up(const PointCodes<n>& codes, __m512i index) {
  return look_up(codes.of, index, n);
}

// Level numbers of two bits, eight in a word, -> in bytes: words 8 i .. 8 i + 7.
HEARTH_INLINE __m512i two_bits_each(__m512i codes, int i) {
  const __m512i four_times =
      _mm512_set_epi16(7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  const __m512i word = _mm512_permutexvar_epi16(_mm512_add_epi16(four_times, _mm512_set1_epi16(int16_t(8 * i))), codes);
  const __m512i pair = _mm512_srlv_epi16(word, _mm512_set1_epi64(0x000c000800040000));
  // Of each word's lowest four bits, the upper two to its second byte.
  return _mm512_ternarylogic_epi64(_mm512_and_si512(pair, _mm512_set1_epi16(3)), _mm512_slli_epi16(pair, 6),
                                   _mm512_set1_epi16(0x300), 0xF8);  // a | (b & c)
}
// Of three bits, four in a word: words 16 i .. 16 i + 15.
HEARTH_INLINE __m512i three_bits_each(__m512i codes, int i) {
  const __m512i twice = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5,
                                         4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m512i word = _mm512_permutexvar_epi16(_mm512_add_epi16(twice, _mm512_set1_epi16(int16_t(16 * i))), codes);
  const __m512i pair = _mm512_srlv_epi16(word, _mm512_set1_epi32(0x00060000));
  // Of each word's six bits, the upper three to its second byte.
  return _mm512_ternarylogic_epi64(_mm512_and_si512(pair, _mm512_set1_epi16(7)), _mm512_slli_epi16(pair, 5),
                                   _mm512_set1_epi16(0x700), 0xF8);
}

// 1 << offset plus or minus each level of a book, for byte shuffles.
template <class Book>
constexpr int64_t signed_levels(int offset, int sign) {
  uint64_t bytes = 0;
  for (int c = 0; c < Book::kLevels; ++c) bytes |= uint64_t((1 << offset) + sign * Book::level(c)) << 8 * c;
  return int64_t(bytes);
}

// Eight tuples of eight.
template <int n, class Index>
HEARTH_INLINE __m512i tuples(const PointBytes<uint64_t, n>& bytes, const Index& index) {
  const auto point = [&](int k) HEARTH_INLINE_LAMBDA { return int64_t(bytes.of[index(k)]); };
  return _mm512_setr_epi64(point(0), point(1), point(2), point(3), point(4), point(5), point(6), point(7));
}
// Scales s, stored as (s - 1) / 2.
HEARTH_INLINE __m256i odd(__m256i words) {
  return _mm256_or_si256(_mm256_add_epi16(words, words), _mm256_set1_epi16(1));
}
// Eight words, each twice.
HEARTH_INLINE __m256i words_twice(__m128i words) {
  return _mm256_set_m128i(_mm_unpackhi_epi16(words, words), _mm_unpacklo_epi16(words, words));
}

// kOffset 6 for magnitudes up to 62, 4 for those up to 15.
template <class Block, int offset>
struct Points {
  static constexpr int kBlock = 256, kBytes = sizeof(Block), kOffset = offset;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  static constexpr int kStored = 4;
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return v[i][j]; }
  HEARTH_INLINE static float d(const uint8_t*, const uint8_t* p) { return half_to_float(p) * (1.0f / Block::kUnits); }
  // Magnitudes as the bytes that sums are made of, those with a bit set negated.
  HEARTH_INLINE static __m512i with_signs(__m512i v, __mmask64 minus) {
    const __m512i zero = _mm512_set1_epi8(1 << offset);
    return _mm512_mask_sub_epi8(_mm512_add_epi8(zero, v), minus, zero, v);
  }
  // The same from the numbers of a book's levels.
  template <class Book>
  HEARTH_INLINE static __m512i level_bytes(__m512i numbers, __mmask64 minus) {
    constexpr int64_t kPlus = signed_levels<Book>(offset, 1), kMinus = signed_levels<Book>(offset, -1);
    return _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(_mm512_set1_epi64(kPlus), numbers), minus,
                                    _mm512_set1_epi64(kMinus), numbers);
  }
};

struct IQ2_XXS : Points<BlockIQ2_XXS, 6> {
  static constexpr int kGroup = 32, kLargest = 43;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i pairs = load512(p + 2);  // of dwords: indices; signs and scale
    const __m512i codes = look_up(kIq2XxsCodes, _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(pairs)));
    const __m256i signs = signs_of_words(_mm512_cvtepi64_epi32(_mm512_srli_epi64(pairs, 32)));
    return level_bytes<codebook::Iq2Xxs>(two_bits_each(codes, i), signs_of_vector(signs, i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(words_twice(_mm512_cvtepi64_epi16(_mm512_srli_epi64(load512(p + 2), 60))));
  }
};

struct IQ2_XS : Points<BlockIQ2_XS, 6> {
  static constexpr int kGroup = 16, kLargest = 43;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i words = load512(p + 2);
    const __m512i codes = look_up(kIq2XsCodes, _mm512_and_si512(words, _mm512_set1_epi16(511)));
    const __m256i signs = eight_signs(_mm512_cvtepi16_epi8(_mm512_srli_epi16(words, 9)));
    return level_bytes<codebook::Iq2Xs>(two_bits_each(codes, i), signs_of_vector(signs, i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return odd(nibble_words(p + 66)); }
};

struct IQ2_S : Points<BlockIQ2_S, 6> {
  static constexpr int kGroup = 16, kLargest = 43;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 8 * i;
    const uint32_t high = uint32_t(half_bits(p + 66 + 2 * i)) << 8;  // two bits each
    const __m512i v = tuples(kIq2SBytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k] | (high >> 2 * k & 0x300); });
    return with_signs(v, two_words_at(p + 34 + 8 * i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return odd(nibble_words(p + 74)); }
};

struct IQ3_XXS : Points<BlockIQ3_XXS, 6> {
  static constexpr int kGroup = 32, kLargest = 62;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i codes = look_up(kIq3XxsCodes, _mm512_cvtepu8_epi16(load256(p + 2 + i / 2 * 32)));
    const __m256i signs = signs_of_words(load256(p + 66));
    return level_bytes<codebook::Iq3Xxs>(three_bits_each(codes, i % 2), signs_of_vector(signs, i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(words_twice(_mm256_cvtepi32_epi16(_mm256_srli_epi32(load256(p + 66), 28))));
  }
};

struct IQ3_S : Points<BlockIQ3_S, 4> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i low = _mm512_cvtepu8_epi16(load256(p + 2 + i / 2 * 32));
    const __m512i index =
        _mm512_mask_add_epi16(low, __mmask32(word_at(p + 66 + i / 2 * 4)), low, _mm512_set1_epi16(256));
    return level_bytes<codebook::Iq3S>(three_bits_each(look_up(kIq3SCodes, index), i % 2),
                                       two_words_at(p + 74 + 8 * i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m128i both = _mm_cvtsi32_si128(int(word_at(p + 106)));
    const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15));
    return odd(each_twice(nibbles));
  }
};

struct IQ1_S : Points<BlockIQ1_S, 4> {
  static constexpr int kGroup = 32, kLargest = 9;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 8 * i;
    const uint32_t first = half_bits(p + 34 + 4 * i), last = half_bits(p + 36 + 4 * i);
    const uint64_t high = (uint64_t(last & 0xfff) << 12 | (first & 0xfff)) << 8;  // three bits each
    const __m512i v = tuples(kIq1Bytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k] | (high >> 3 * k & 0x700); });
    const __m256i ones = _mm256_set1_epi8(1), minus = _mm256_set1_epi8(-1);
    return _mm512_add_epi8(v, join(first >> 15 ? minus : ones, last >> 15 ? minus : ones));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(words_twice(_mm_and_si128(_mm_srli_epi16(load128(p + 34), 12), _mm_set1_epi16(7))));
  }
};

struct IQ1_M : Points<BlockIQ1_M, 4> {
  static constexpr int kGroup = 16, kLargest = 9;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 8 * i;
    const uint32_t nibbles = word_at(p + 32 + 4 * i);
    const uint64_t high = uint64_t(nibbles) << 8;
    const __m512i v = tuples(kIq1Bytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k] | (high >> 4 * k & 0x700); });
    // Bit 3 of each nibble: eight times 1 or -1.
    const __m512i spread =
        _mm512_sllv_epi64(_mm512_set1_epi64(int64_t(nibbles)), _mm512_setr_epi64(60, 56, 52, 48, 44, 40, 36, 32));
    const __mmask8 minus = _mm512_movepi64_mask(spread);
    const __m512i ones = _mm512_set1_epi8(1);
    return _mm512_add_epi8(v, _mm512_mask_blend_epi64(minus, ones, _mm512_set1_epi8(-1)));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  // Four words of three bits four times, and four bits of d.
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m256i words = _mm256_cvtepu16_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 48)));
    const __m256i each_four =
        _mm256_shuffle_epi8(words, _mm256_set_m128i(_mm_setr_epi32(0x01000100, 0x01000100, 0x09080908, 0x09080908),
                                                    _mm_setr_epi32(0x01000100, 0x01000100, 0x09080908, 0x09080908)));
    const __m256i down = _mm256_srlv_epi16(each_four, _mm256_set1_epi64x(int64_t(0x0009000600030000)));
    return odd(_mm256_and_si256(down, _mm256_set1_epi16(7)));
  }
  HEARTH_INLINE static float d(const uint8_t*, const uint8_t* p) {
    const uint64_t words = two_words_at(p + 48);
    const uint64_t bits = (words >> 12 & 15) | (words >> 24 & 0xf0) | (words >> 36 & 0xf00) | (words >> 48 & 0xf000);
    return _cvtsh_ss(uint16_t(bits)) * (1.0f / BlockIQ1_M::kUnits);
  }
};

}  // namespace
}  // namespace hearth
