// Decoders (decoders.h) of the formats whose weights are points of a codebook, in the order of the weights. Signs and
// shifts are bits or bytes that lie elsewhere in the block.
#pragma once

#include "kernels/cpu/avx512/decoders.h"
#include "kernels/cpu/codebook_bytes.h"

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

// Eight times seven signs, four in each half, -> eight times eight, of which the last makes the number of ones even.
HEARTH_INLINE __mmask64 all_signs(uint64_t sevens) {
  const auto both = [](uint64_t mask) HEARTH_INLINE_LAMBDA { return mask << 32 | mask; };
  const uint64_t signs = (sevens & both(0x7f)) | (sevens & both(0x3f80)) << 1 | (sevens & both(0x1fc000)) << 2 |
                         (sevens & both(0xfe00000)) << 3;
  uint64_t parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return signs | (parity & both(0x01010101)) << 7;
}

// Eight tuples of eight.
template <int n, class Index>
HEARTH_INLINE __m512i tuples(const PointBytes<uint64_t, n>& bytes, const Index& index) {
  const auto point = [&](int k) HEARTH_INLINE_LAMBDA { return int64_t(bytes.of[index(k)]); };
  return _mm512_setr_epi64(point(0), point(1), point(2), point(3), point(4), point(5), point(6), point(7));
}
// Sixteen tuples of four.
template <int n, class Index>
HEARTH_INLINE __m512i tuples(const PointBytes<uint32_t, n>& bytes, const Index& index) {
  const auto point = [&](int k) HEARTH_INLINE_LAMBDA {
    return int64_t(bytes.of[index(2 * k)] | uint64_t(bytes.of[index(2 * k + 1)]) << 32);
  };
  return _mm512_setr_epi64(point(0), point(1), point(2), point(3), point(4), point(5), point(6), point(7));
}

// Scales s, stored as (s - 1) / 2.
HEARTH_INLINE __m256i odd(__m256i words) {
  return _mm256_or_si256(_mm256_add_epi16(words, words), _mm256_set1_epi16(1));
}
// 16 nibbles as words.
HEARTH_INLINE __m256i nibble_words(const uint8_t* p) {
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15)));
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
};

struct IQ2_XXS : Points<BlockIQ2_XXS, 6> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 + 16 * i;
    const __m512i v = tuples(kIq2XxsBytes, [&](int k) HEARTH_INLINE_LAMBDA { return p[k + k / 4 * 4]; });
    return with_signs(v, all_signs(word_at(p + 4) | uint64_t(word_at(p + 12)) << 32));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(words_twice(_mm512_cvtepi64_epi16(_mm512_srli_epi64(load512(p + 2), 60))));
  }
};

struct IQ2_XS : Points<BlockIQ2_XS, 6> {
  static constexpr int kGroup = 16;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 + 16 * i;
    const __m512i v = tuples(kIq2XsBytes, [&](int k) HEARTH_INLINE_LAMBDA { return half_bits(p + 2 * k) & 511; });
    const __m128i sevens = _mm_srli_epi16(load128(p), 9);
    __m128i parity = _mm_xor_si128(sevens, _mm_srli_epi16(sevens, 4));
    parity = _mm_xor_si128(parity, _mm_srli_epi16(parity, 2));
    parity = _mm_xor_si128(parity, _mm_srli_epi16(parity, 1));
    const __m128i eighth = _mm_slli_epi16(_mm_and_si128(parity, _mm_set1_epi16(1)), 7);
    const __m128i signs = _mm_or_si128(sevens, eighth);
    return with_signs(v, __mmask64(_mm_cvtsi128_si64(_mm_packus_epi16(signs, signs))));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return odd(nibble_words(p + 66)); }
};

struct IQ2_S : Points<BlockIQ2_S, 6> {
  static constexpr int kGroup = 16;
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
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 16 * i;
    const __m512i v = tuples(kIq3XxsBytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k]; });
    return with_signs(v, all_signs(two_words_at(p + 66 + 8 * i)));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(words_twice(_mm256_cvtepi32_epi16(_mm256_srli_epi32(load256(p + 66), 28))));
  }
};

struct IQ3_S : Points<BlockIQ3_S, 4> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 16 * i;
    const uint32_t high = uint32_t(half_bits(p + 66 + 2 * i)) << 8;  // a bit each
    const __m512i v = tuples(kIq3SBytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k] | (high >> k & 0x100); });
    return with_signs(v, two_words_at(p + 74 + 8 * i));
  }
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m128i both = _mm_cvtsi32_si128(int(word_at(p + 106)));
    const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15));
    return odd(each_twice(nibbles));
  }
};

struct IQ1_S : Points<BlockIQ1_S, 4> {
  static constexpr int kGroup = 32;
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
  static constexpr int kGroup = 16;
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
