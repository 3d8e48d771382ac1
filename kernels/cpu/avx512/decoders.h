// Decoders of the integer formats: one struct per format that turns 256 stored weights of a row into four vectors of
// unsigned bytes and their scales. They know bits and nothing of loops; rows.h and panel.h know the loops and nothing
// of bits. Layouts are drawn in quant/blocks.h.
//
//   kBlock, kBytes   weights and bytes of a stored block (256, 128 or 32 weights)
//   kOffset          a weight is (byte - 2^kOffset) * scale - minimum; -1: no offset
//   kMins            there are minimums
//   kGroup           weights that share a scale: 16 or 32 (coarser ones are repeated)
//   kWide            four products may sum to more than 16 bits
//   sub16(i, lane)   which sixteen weights of the 256 lie in a 128-bit lane of vector i
//   vector(p, i)     vector i of the blocks at p
//   Scales(p)        floats: scale[16] or [8] (and min) of the groups, in order
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "quant/blocks.h"

namespace hearth {
namespace {

HEARTH_INLINE __m512i low_bits(__m512i v, int n) {
  return _mm512_and_si512(v, _mm512_set1_epi8(char((1 << n) - 1)));
}
// (v >> shift) with bits of `keep` left in every byte; or-ed to `base`.
HEARTH_INLINE __m512i with_bits(__m512i base, __m512i bits, char keep) {
  return _mm512_ternarylogic_epi64(bits, _mm512_set1_epi8(keep), base, 0xEA);  // (bits & keep) | base
}
// Shift counts for the lower and the upper 256 bits.
HEARTH_INLINE __m512i halves_of(int low, int high) {
  return join(_mm256_set1_epi16(short(low)), _mm256_set1_epi16(short(high)));
}

// ---- 256-blocks: integer scales of 16 weights each, times d. Where they apply to 32 weights, each stands twice.

// The 8 scales and 8 mins of Q4_K and Q5_K as 16 bytes.
HEARTH_INLINE __m128i scales_and_mins(const uint8_t* packed) {  // 12 bytes
  uint32_t a, b, c;
  memcpy(&a, packed, 4);
  memcpy(&b, packed + 4, 4);
  memcpy(&c, packed + 8, 4);
  const uint32_t low6 = 0x3f3f3f3f, low4 = 0x0f0f0f0f, high2 = 0x30303030;
  return _mm_setr_epi32(int(a & low6), int((c & low4) | (a >> 2 & high2)), int(b & low6),
                        int((c >> 4 & low4) | (b >> 2 & high2)));
}

// In pairs: each of the 8 low words' bytes twice, as 16 words.
HEARTH_INLINE __m256i each_twice(__m128i bytes) {  // 8 bytes, unsigned
  return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes));
}

struct Q4_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ4_K), kOffset = -1, kGroup = 32;
  static constexpr bool kMins = true, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * (i & 2) + 2 * (i & 1) + 4 * (lane / 2) + lane % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + 16 + 64 * (i / 2));
    return low_bits(i % 2 ? _mm512_srli_epi16(z, 4) : z, 4);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p; }
  HEARTH_INLINE static const uint8_t* dmin(const uint8_t* p) { return p + 2; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return each_twice(scales_and_mins(p + 4)); }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) {
    return each_twice(_mm_unpackhi_epi64(scales_and_mins(p + 4), _mm_setzero_si128()));
  }
};

struct Q5_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ5_K), kOffset = -1, kGroup = 32;
  static constexpr bool kMins = true, kWide = false;
  static constexpr int sub16(int i, int lane) { return Q4_K::sub16(i, lane); }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + 48 + 64 * (i / 2)), h = in_both_halves(load256(p + 16));
    const __m512i low = low_bits(i % 2 ? _mm512_srli_epi16(z, 4) : z, 4);
    // Groups 4 (i/2) + i%2 and two further on: their bit goes to bit 4.
    const __m512i high = i < 2 ? _mm512_sllv_epi16(h, halves_of(4 - i % 2, 2 - i % 2))
                               : _mm512_srlv_epi16(h, halves_of(i % 2, 2 + i % 2));
    return with_bits(low, high, 0x10);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p; }
  HEARTH_INLINE static const uint8_t* dmin(const uint8_t* p) { return p + 2; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return Q4_K::scales(p); }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) { return Q4_K::mins(p); }
};

struct Q6_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ6_K), kOffset = 5, kGroup = 16;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + 64 * (i / 2)), h = in_both_halves(load256(p + 128 + 32 * (i / 2)));
    if (i % 2 == 0) return with_bits(low_bits(z, 4), _mm512_sllv_epi16(h, halves_of(4, 2)), 0x30);
    return with_bits(low_bits(_mm512_srli_epi16(z, 4), 4), _mm512_srlv_epi16(h, halves_of(0, 2)), 0x30);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + 208; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return _mm256_cvtepi8_epi16(load128(p + 192)); }
};

struct Q2_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ2_K), kOffset = -1, kGroup = 16;
  static constexpr bool kMins = true, kWide = false;
  static constexpr int sub16(int i, int lane) { return 2 * i + 8 * (lane / 2) + lane % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    return low_bits(_mm512_srli_epi16(load512(p + 16), unsigned(2 * i)), 2);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + 80; }
  HEARTH_INLINE static const uint8_t* dmin(const uint8_t* p) { return p + 82; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_and_si128(load128(p), _mm_set1_epi8(15)));
  }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(load128(p), 4), _mm_set1_epi8(15)));
  }
};

struct Q3_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ3_K), kOffset = 2, kGroup = 16;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return Q2_K::sub16(i, lane); }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i low = low_bits(_mm512_srli_epi16(load512(p + 32), unsigned(2 * i)), 2);
    // Bits i and 4 + i of hmask go to bit 2 of the lower and the upper half.
    const __m512i h = _mm512_srlv_epi16(in_both_halves(load256(p)), halves_of(0, 4));
    return with_bits(low, i <= 2 ? _mm512_slli_epi16(h, unsigned(2 - i)) : _mm512_srli_epi16(h, 1), 4);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + 108; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint64_t low;
    uint32_t high;
    memcpy(&low, p + 96, 8);
    memcpy(&high, p + 104, 4);
    const __m128i l = _mm_and_si128(_mm_set_epi64x(int64_t(low >> 4), int64_t(low)), _mm_set1_epi8(15));
    const __m128i h =
        _mm_and_si128(_mm_srlv_epi32(_mm_set1_epi32(int(high)), _mm_setr_epi32(0, 2, 4, 6)), _mm_set1_epi8(3));
    const __m128i six = _mm_or_si128(l, _mm_slli_epi16(h, 4));
    return _mm256_cvtepi8_epi16(_mm_sub_epi8(six, _mm_set1_epi8(32)));
  }
};

// The 16 levels of IQ4, 128 more than they are.
HEARTH_INLINE __m512i iq4_levels(__m512i nibbles) {
  const __m128i levels = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm512_shuffle_epi8(in_all_lanes(_mm_xor_si128(levels, _mm_set1_epi8(char(0x80)))), nibbles);
}

struct IQ4_XS {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockIQ4_XS), kOffset = 7, kGroup = 32;
  static constexpr bool kMins = false, kWide = true;
  static constexpr int sub16(int i, int lane) { return 8 * (i / 2) + 2 * lane + i % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + 8 + 64 * (i / 2));
    return iq4_levels(low_bits(i % 2 ? _mm512_srli_epi16(z, 4) : z, 4));
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t low;
    memcpy(&low, p + 4, 4);
    const __m128i l = _mm_and_si128(_mm_unpacklo_epi8(_mm_cvtsi32_si128(int(low)), _mm_cvtsi32_si128(int(low >> 4))),
                                    _mm_set1_epi8(15));  // bytes: group 0, 1, 2 ..
    const __m128i h = _mm_and_si128(
        _mm_srlv_epi16(_mm_set1_epi16(short(half_bits(p + 2))), _mm_setr_epi16(0, 2, 4, 6, 8, 10, 12, 14)),
        _mm_set1_epi16(3));
    const __m128i six = _mm_or_si128(_mm_cvtepu8_epi16(l), _mm_slli_epi16(h, 4));
    const __m128i scale = _mm_sub_epi16(six, _mm_set1_epi16(32));
    return _mm256_set_m128i(_mm_unpackhi_epi16(scale, scale), _mm_unpacklo_epi16(scale, scale));
  }
};

// ---- smaller blocks with a half-precision scale: eight 32-blocks or two 128-blocks make 256 weights

// The same 16 bytes of nibbles of two blocks -> 64 bytes: low nibbles and high nibbles of the first, then the second.
HEARTH_INLINE __m512i nibbles_of_two(const uint8_t* a, const uint8_t* b) {
  const __m512i z = join(_mm256_broadcastsi128_si256(load128(a)), _mm256_broadcastsi128_si256(load128(b)));
  return low_bits(_mm512_srlv_epi64(z, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)), 4);
}
HEARTH_INLINE uint64_t bits_of_two(const uint8_t* a, const uint8_t* b) {
  uint32_t low, high;
  memcpy(&low, a, 4);
  memcpy(&high, b, 4);
  return uint64_t(high) << 32 | low;
}
// Eight half-precision numbers, `stride` bytes apart.
HEARTH_INLINE __m256 eight_halves(const uint8_t* p, int stride) {
  __m128i v = _mm_cvtsi32_si128(half_bits(p));
  v = _mm_insert_epi16(v, half_bits(p + stride), 1);
  v = _mm_insert_epi16(v, half_bits(p + 2 * stride), 2);
  v = _mm_insert_epi16(v, half_bits(p + 3 * stride), 3);
  v = _mm_insert_epi16(v, half_bits(p + 4 * stride), 4);
  v = _mm_insert_epi16(v, half_bits(p + 5 * stride), 5);
  v = _mm_insert_epi16(v, half_bits(p + 6 * stride), 6);
  v = _mm_insert_epi16(v, half_bits(p + 7 * stride), 7);
  return _mm256_cvtph_ps(v);
}

template <class Block, int Offset, bool Mins, bool Wide>
struct SmallBlocks {
  static constexpr int kBlock = 32, kBytes = sizeof(Block), kOffset = Offset, kGroup = 32;
  static constexpr bool kMins = Mins, kWide = Wide;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  HEARTH_INLINE static __m256 scales(const uint8_t* p) { return eight_halves(p, kBytes); }
  HEARTH_INLINE static __m256 mins(const uint8_t* p) {  // subtracted
    return _mm256_xor_ps(eight_halves(p + 2, kBytes), _mm256_set1_ps(-0.0f));
  }
};

struct Q4_0 : SmallBlocks<BlockQ4_0, 3, false, false> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return nibbles_of_two(p + 2, p + kBytes + 2);
  }
};
struct Q4_1 : SmallBlocks<BlockQ4_1, -1, true, false> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return nibbles_of_two(p + 4, p + kBytes + 4);
  }
};
struct Q5_0 : SmallBlocks<BlockQ5_0, 4, false, false> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    const __m512i low = nibbles_of_two(p + 6, p + kBytes + 6), sixteen = _mm512_set1_epi8(16);
    return _mm512_mask_add_epi8(low, bits_of_two(p + 2, p + kBytes + 2), low, sixteen);
  }
};
struct Q5_1 : SmallBlocks<BlockQ5_1, -1, true, false> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    const __m512i low = nibbles_of_two(p + 8, p + kBytes + 8), sixteen = _mm512_set1_epi8(16);
    return _mm512_mask_add_epi8(low, bits_of_two(p + 4, p + kBytes + 4), low, sixteen);
  }
};
struct Q8_0 : SmallBlocks<BlockQ8_0, 7, false, true> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return _mm512_xor_si512(join(load256(p + 2), load256(p + kBytes + 2)), _mm512_set1_epi8(char(0x80)));
  }
};
struct IQ4_NL : SmallBlocks<BlockIQ4_NL, 7, false, true> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return iq4_levels(nibbles_of_two(p + 2, p + kBytes + 2));
  }
};

struct I4_G128 {
  static constexpr int kBlock = 128, kBytes = sizeof(BlockI4_G128), kOffset = 3, kGroup = 32;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + (i / 2) * kBytes + 2);
    const __m512i q = low_bits(i % 2 ? _mm512_srli_epi16(z, 4) : z, 4);
    return _mm512_xor_si512(q, _mm512_set1_epi8(8));  // two's complement -8..7 as 0..15
  }
  HEARTH_INLINE static __m256 scales(const uint8_t* p) {
    return _mm256_set_m128(_mm_set1_ps(half_to_float(p + kBytes)), _mm_set1_ps(half_to_float(p)));
  }
};

}  // namespace
}  // namespace hearth
