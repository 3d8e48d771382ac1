// Decoders (decoders.h) of the formats whose weights are points of a codebook. Signs and shifts are bits or bytes that
// lie elsewhere in the block.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/codebook_bytes.h"

namespace hearth {
namespace {

HEARTH_INLINE uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return word;
}

// Four times seven signs -> four times eight, of which the last makes the number of ones even.
HEARTH_INLINE uint32_t all_signs(uint32_t sevens) {
  const uint32_t signs =
      (sevens & 0x7f) | (sevens & 0x3f80) << 1 | (sevens & 0x1fc000) << 2 | (sevens & 0xfe00000) << 3;
  uint32_t parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return signs | (parity & 0x01010101) << 7;
}

// The bytes of v, those whose bits are set negated.
HEARTH_INLINE __m256i with_signs(__m256i v, uint32_t bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(int(bits)),
      _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i select = _mm256_set1_epi64x(int64_t(0x8040201008040201));
  const __m256i minus = _mm256_cmpeq_epi8(_mm256_and_si256(spread, select), select);
  return _mm256_sub_epi8(_mm256_xor_si256(v, minus), minus);
}

// Four tuples of eight.
template <int n>
HEARTH_INLINE __m256i tuples(const PointBytes<uint64_t, n>& bytes, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return _mm256_setr_epi64x(int64_t(bytes.of[a]), int64_t(bytes.of[b]), int64_t(bytes.of[c]), int64_t(bytes.of[d]));
}
// Eight tuples of four.
template <int n, class Index>
HEARTH_INLINE __m256i tuples(const PointBytes<uint32_t, n>& bytes, const Index& index) {
  return _mm256_setr_epi32(int(bytes.of[index(0)]), int(bytes.of[index(1)]), int(bytes.of[index(2)]),
                           int(bytes.of[index(3)]), int(bytes.of[index(4)]), int(bytes.of[index(5)]),
                           int(bytes.of[index(6)]), int(bytes.of[index(7)]));
}

// Scales s, stored as (s - 1) / 2.
HEARTH_INLINE __m256i odd(__m256i words) {
  return _mm256_or_si256(_mm256_add_epi16(words, words), _mm256_set1_epi16(1));
}
// The top four bits of 8 dwords, each twice as words. dwords(i): four of them, each in the upper half of a qword.
HEARTH_INLINE __m256i top_nibbles_twice(__m256i first, __m256i last) {
  const __m256i v = _mm256_packs_epi32(_mm256_srli_epi64(first, 60), _mm256_srli_epi64(last, 60));
  return _mm256_permute4x64_epi64(_mm256_or_si256(v, _mm256_slli_epi32(v, 16)), 0xD8);
}

// Formats in signed bytes.
template <class Block>
struct SignedPoints {
  static constexpr int kBlock = 256, kBytes = sizeof(Block), kOffset = 0;
  static constexpr bool kSigned = true, kMins = false;
  HEARTH_INLINE static float d(const uint8_t*, const uint8_t* p) { return half_to_float(p) * (1.0f / Block::kUnits); }
};
// In unsigned ones, plus 16: magnitudes up to 15. 16 * 15 * 127 = 30480
template <class Block>
struct ShiftedPoints {
  static constexpr int kBlock = 256, kBytes = sizeof(Block), kOffset = 16, kRun = 32;
  static constexpr bool kSigned = false, kMins = false;
  HEARTH_INLINE static float d(const uint8_t*, const uint8_t* p) { return half_to_float(p) * (1.0f / Block::kUnits); }
};

struct IQ2_XXS : SignedPoints<BlockIQ2_XXS> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    p += 2 + 8 * i;
    return with_signs(tuples(kIq2XxsBytes, p[0], p[1], p[2], p[3]), all_signs(word_at(p + 4)));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(top_nibbles_twice(load256(p + 2), load256(p + 34)));
  }
};

struct IQ2_XS : SignedPoints<BlockIQ2_XS> {
  static constexpr int kGroup = 16;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint32_t low = word_at(p + 2 + 8 * i), high = word_at(p + 6 + 8 * i);
    const uint32_t sevens = (low >> 9 & 0x7f) | low >> 25 << 7 | (high >> 9 & 0x7f) << 14 | high >> 25 << 21;
    return with_signs(tuples(kIq2XsBytes, low & 511, low >> 16 & 511, high & 511, high >> 16 & 511), all_signs(sevens));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return odd(nibble_words(p + 66)); }
};

struct IQ2_S : SignedPoints<BlockIQ2_S> {
  static constexpr int kGroup = 16;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 4 * i;
    const uint32_t high = p[66 + i];
    const __m256i points = tuples(kIq2SBytes, q[0] | (high & 3) << 8, q[1] | (high & 12) << 6, q[2] | (high & 48) << 4,
                                  q[3] | (high & 192) << 2);
    return with_signs(points, word_at(p + 34 + 4 * i));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return odd(nibble_words(p + 74)); }
};

struct IQ3_XXS : SignedPoints<BlockIQ3_XXS> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 8 * i;
    return with_signs(tuples(kIq3XxsBytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k]; }),
                      all_signs(word_at(p + 66 + 4 * i)));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m256i words = load256(p + 66);  // unpacked into the upper halves of qwords
    const __m256i zero = _mm256_setzero_si256(), low = _mm256_unpacklo_epi32(zero, words);
    const __m256i high = _mm256_unpackhi_epi32(zero, words);
    return odd(
        top_nibbles_twice(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)));
  }
};

struct IQ3_S : ShiftedPoints<BlockIQ3_S> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 8 * i;
    const uint32_t high = p[66 + i];
    const __m256i points =
        tuples(kIq3SBytes, [&](int k) HEARTH_INLINE_LAMBDA { return q[k] | (high << (8 - k) & 256); });
    return _mm256_add_epi8(with_signs(points, word_at(p + 74 + 4 * i)), _mm256_set1_epi8(16));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    const __m256i words = _mm256_cvtepu8_epi16(_mm_cvtsi32_si128(int(word_at(p + 106))));  // in the first four
    const __m128i low = _mm256_castsi256_si128(words);
    const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi16(low, _mm_srli_epi16(low, 4)), _mm_set1_epi16(15));
    return odd(each_twice(nibbles));
  }
};

struct IQ1_S : ShiftedPoints<BlockIQ1_S> {
  static constexpr int kGroup = 32;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 2 + 4 * i;
    const uint32_t high = half_bits(p + 34 + 2 * i);
    const __m256i points = tuples(kIq1Bytes, q[0] | (high & 7) << 8, q[1] | (high & 0x38) << 5,
                                  q[2] | (high & 0x1c0) << 2, q[3] | (high >> 1 & 0x700));
    return _mm256_add_epi8(points, _mm256_set1_epi8(high & 0x8000 ? -1 : 1));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return odd(each_twice(_mm_and_si128(_mm_srli_epi16(load128(p + 34), 12), _mm_set1_epi16(7))));
  }
};

struct IQ1_M : ShiftedPoints<BlockIQ1_M> {
  static constexpr int kGroup = 16, kRun = 16;
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const uint8_t* q = p + 4 * i;
    const uint32_t high = half_bits(p + 32 + 2 * i);
    const __m256i points = tuples(kIq1Bytes, q[0] | (high & 7) << 8, q[1] | (high & 0x70) << 4, q[2] | (high & 0x700),
                                  q[3] | (high >> 4 & 0x700));
    const auto shifts = [&](int bit) HEARTH_INLINE_LAMBDA {
      return int64_t(high >> bit & 1 ? ~uint64_t(0) : 0x0101010101010101);
    };
    return _mm256_add_epi8(points, _mm256_setr_epi64x(shifts(3), shifts(7), shifts(11), shifts(15)));
  }
  // Four words of three bits four times, and four bits of d.
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint64_t words;
    memcpy(&words, p + 48, 8);
    const __m256i each_four = _mm256_shuffle_epi8(
        _mm256_set1_epi64x(int64_t(words)),
        _mm256_setr_epi64x(0x0100010001000100, 0x0302030203020302, 0x0504050405040504, 0x0706070607060706));
    // Shifted up to the top three bits of words, by a product, since words cannot shift by lane; then down.
    const __m256i up = _mm256_mullo_epi16(each_four, _mm256_set1_epi64x(int64_t(0x0010008004002000)));
    return odd(_mm256_srli_epi16(up, 13));
  }
  HEARTH_INLINE static float d(const uint8_t*, const uint8_t* p) {
    uint64_t words;
    memcpy(&words, p + 48, 8);
    const uint64_t bits = (words >> 12 & 15) | (words >> 24 & 0xf0) | (words >> 36 & 0xf00) | (words >> 48 & 0xf000);
    return _cvtsh_ss(uint16_t(bits)) * (1.0f / BlockIQ1_M::kUnits);
  }
};

}  // namespace
}  // namespace hearth
