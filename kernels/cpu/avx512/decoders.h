// Decoders of the integer formats: one struct per format that turns 256 stored weights of a row into four vectors of
// unsigned bytes and their scales. Decoders know bits but no loops; matmul_vec.h and matmul_tile.h know the loops but
// no bits. Layouts are drawn in quant/blocks.h.
//
//   kBlock, kBytes   weights and bytes of a stored block (256, 128 or 32 weights)
//   kOffset          a weight is (byte - 2^kOffset) * scale - minimum; -1: no offset
//   kMins            there are minimums
//   kLargest         with minimums the largest byte; without, the largest magnitude of byte - 2^kOffset, where that is
//                    not 2^kOffset
//   kGroup           weights that share a scale: 16 or 32 (coarser ones are repeated)
//   kWide            four products may sum to more than 16 bits
//   sub16(i, lane)   which of the 256 weights' sixteens lies in a 128-bit lane of vector i
//   vector(p, i)     vector i of the blocks at p
//   stored(p, s)     for tiles: the kStored vectors from which the weights are unpacked
//   column(v, i, j)  the same unpacking after a transposition: dword j of vector i (four weights) for sixteen rows,
//                    from v[s][0 .. 15], the dwords of the stored vectors s. Fewer vectors are transposed that way
//   d(p), dmin(p)    blocks of 256: half-precision units of the words scales(p) and mins(p), one for each 16 weights
//   scales(p)        smaller blocks: eight floats, for the groups in order; mins(p), likewise, are subtracted
//
// Formats whose rows have a header have kHeader, its bytes. They and others whose unit is not a half of the block have
// instead d(row, p), the number itself, or for smaller blocks scales(row, p); both may read the header, which is at
// `row`.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "quant/blocks.h"

namespace hearth {
namespace {

// Bytes before the blocks of a row: a decoder's kHeader, where it has one.
template <class D>
constexpr int kHeaderOf = 0;
template <class D>
requires requires {
  D::kHeader;
}
constexpr int kHeaderOf<D> = D::kHeader;

// Is the unit of the integer scales another one than a half of the block?
template <class D>
constexpr bool kOwnUnit = requires(const uint8_t* p) {
  D::d(p, p);
};

HEARTH_INLINE __m512i low_bits(__m512i v, int n) {
  return _mm512_and_si512(v, _mm512_set1_epi8(char((1 << n) - 1)));
}
// The lower or the upper four bits of every byte.
HEARTH_INLINE __m512i nibbles(__m512i v, bool upper) {
  return low_bits(upper ? _mm512_srli_epi16(v, 4) : v, 4);
}
// v shifted so that bit `from` of every byte becomes bit `to`, with its neighbours around it.
HEARTH_INLINE __m512i move_bit(__m512i v, int from, int to) {
  return from < to ? _mm512_slli_epi16(v, unsigned(to - from)) : _mm512_srli_epi16(v, unsigned(from - to));
}
// base | (bits & keep)
HEARTH_INLINE __m512i with_bits_of(__m512i base, __m512i bits, __m512i keep) {
  return _mm512_ternarylogic_epi64(bits, keep, base, 0xEA);
}
// The same with `keep` in every byte.
HEARTH_INLINE __m512i with_bits(__m512i base, __m512i bits, char keep) {
  return with_bits_of(base, bits, _mm512_set1_epi8(keep));
}
// Shift counts for the lower and the upper 256 bits.
HEARTH_INLINE __m512i halves_of(int low, int high) {
  return join(_mm256_set1_epi16(short(low)), _mm256_set1_epi16(short(high)));
}

// ---- 256-blocks: an integer scale, times d, for each 16 weights. Where a scale is for 32 weights, it is there twice.

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

// The 8 low bytes, each twice, as 16 words.
HEARTH_INLINE __m256i each_twice(__m128i bytes) {  // 8 bytes, unsigned
  return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes));
}

struct Q4_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ4_K), kOffset = -1, kGroup = 32;
  static constexpr bool kMins = true, kWide = false;
  static constexpr int kLargest = 15;
  static constexpr int sub16(int i, int lane) { return 4 * (i & 2) + 2 * (i & 1) + 4 * (lane / 2) + lane % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) { return nibbles(stored(p, i / 2), i % 2); }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return load512(p + 16 + 64 * s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return nibbles(v[i / 2][j], i % 2); }
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
  static constexpr int kLargest = 31;
  static constexpr int sub16(int i, int lane) { return Q4_K::sub16(i, lane); }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const __m512i z = load512(p + 48 + 64 * (i / 2)), h = in_both_halves(load256(p + 16));
    const __m512i low = low_bits(i % 2 ? _mm512_srli_epi16(z, 4) : z, 4);
    // The lower half is group 4 (i / 2) + i % 2, the upper half the group two further on: their bits of qh go to bit 4.
    const __m512i high = i < 2 ? _mm512_sllv_epi16(h, halves_of(4 - i % 2, 2 - i % 2))
                               : _mm512_srlv_epi16(h, halves_of(i % 2, 2 + i % 2));
    return with_bits(low, high, 0x10);
  }
  static constexpr int kStored = 3;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) {
    return s < 2 ? load512(p + 48 + 64 * s) : _mm512_castsi256_si512(load256(p + 16));
  }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    const int group = 4 * (i / 2) + i % 2 + 2 * (j / 8);
    return with_bits(nibbles(v[i / 2][j], i % 2), move_bit(v[2][j % 8], group, 4), 0x10);
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
  static constexpr int kStored = 3;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return load512(p + 64 * s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    const int first_bit = 4 * (i % 2) + 2 * (j / 8);  // of two
    return with_bits(nibbles(v[i / 2][j], i % 2), move_bit(v[2][8 * (i / 2) + j % 8], first_bit, 4), 0x30);
  }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + 208; }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return _mm256_cvtepi8_epi16(load128(p + 192)); }
};

struct Q2_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ2_K), kOffset = -1, kGroup = 16;
  static constexpr bool kMins = true, kWide = false;
  static constexpr int kLargest = 3;
  static constexpr int sub16(int i, int lane) { return 2 * i + 8 * (lane / 2) + lane % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    return low_bits(_mm512_srli_epi16(load512(p + 16), unsigned(2 * i)), 2);
  }
  static constexpr int kStored = 1;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int) { return load512(p + 16); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return low_bits(_mm512_srli_epi16(v[0][j], unsigned(2 * i)), 2);
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

// Every byte times its word's factor, modulo 256.
HEARTH_INLINE __m512i times_bytes(__m512i v, __m512i factors) {
  const __m512i even = _mm512_set1_epi16(0xff);
  const __m512i high = _mm512_mullo_epi16(_mm512_andnot_si512(even, v), factors);
  return with_bits_of(high, _mm512_mullo_epi16(v, factors), even);
}

struct TQ1_0 {  // one scale, d, for the whole block
  static constexpr int kBlock = 256, kBytes = sizeof(BlockTQ1_0), kOffset = 0, kGroup = 32;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  // A digit moves to the front by a product with a power of 3; then it is 1 from 1/3 on, and 2 from 2/3 on.
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    const auto power = [](int n) HEARTH_INLINE_LAMBDA {
      return _mm256_set1_epi16(short(n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : 81));
    };
    const auto powers = [&](int a, int b) HEARTH_INLINE_LAMBDA {
      return _mm256_inserti128_si256(power(a), _mm256_castsi256_si128(power(b)), 1);
    };
    const __m256i first = load256(p), last = _mm256_broadcastsi128_si256(load128(p + 32));
    __m512i moved;
    if (i < 2) {
      moved = times_bytes(in_both_halves(first), join(power(2 * i), power(2 * i + 1)));
    } else if (i == 2) {
      moved = times_bytes(join(first, last), join(power(4), powers(0, 1)));
    } else {
      uint32_t four;
      memcpy(&four, p + offsetof(BlockTQ1_0, qh), 4);
      const __m256i end = _mm256_inserti128_si256(last, _mm_set1_epi32(int(four)), 1);
      const __m256i factors = _mm256_inserti128_si256(power(4), _mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27), 1);
      moved = times_bytes(join(last, end), join(powers(2, 3), factors));
    }
    const auto from = [&](int least) HEARTH_INLINE_LAMBDA {
      return _mm512_maskz_set1_epi8(_mm512_cmpge_epu8_mask(moved, _mm512_set1_epi8(char(least))), 1);
    };
    return _mm512_add_epi8(from(86), from(171));
  }
  static constexpr int kStored = 4;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return v[i][j]; }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + offsetof(BlockTQ1_0, d); }
  HEARTH_INLINE static __m256i scales(const uint8_t*) { return _mm256_set1_epi16(1); }
};

struct TQ2_0 {  // as Q2_K, with one scale, d, for the whole block
  static constexpr int kBlock = 256, kBytes = sizeof(BlockTQ2_0), kOffset = 0, kGroup = 32;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int kLargest = 2;  // for code 3, which no encoder writes
  static constexpr int sub16(int i, int lane) { return Q2_K::sub16(i, lane); }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    return low_bits(_mm512_srli_epi16(load512(p), unsigned(2 * i)), 2);
  }
  static constexpr int kStored = 1;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int) { return load512(p); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return Q2_K::column(v, i, j); }
  HEARTH_INLINE static const uint8_t* d(const uint8_t* p) { return p + 64; }
  HEARTH_INLINE static __m256i scales(const uint8_t*) { return _mm256_set1_epi16(1); }
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
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) {
    return s == 0 ? load512(p + 32) : _mm512_castsi256_si512(load256(p));
  }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    const __m512i low = low_bits(_mm512_srli_epi16(v[0][j], unsigned(2 * i)), 2);
    return with_bits(low, move_bit(v[1][j % 8], i + 4 * (j / 8), 2), 4);
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

// The 16 levels of IQ4, plus 128.
HEARTH_INLINE __m512i iq4_levels(__m512i nibbles) {
  const __m128i levels = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm512_shuffle_epi8(in_all_lanes(_mm_xor_si128(levels, _mm_set1_epi8(char(0x80)))), nibbles);
}

struct IQ4_XS {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockIQ4_XS), kOffset = 7, kGroup = 32;
  static constexpr bool kMins = false, kWide = true;
  static constexpr int sub16(int i, int lane) { return 8 * (i / 2) + 2 * lane + i % 2; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) { return iq4_levels(nibbles(stored(p, i / 2), i % 2)); }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return load512(p + 8 + 64 * s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return iq4_levels(nibbles(v[i / 2][j], i % 2));
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
  const __m512i z = _mm512_mask_broadcast_i32x4(in_all_lanes(load128(a)), 0xff00, load128(b));
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

// The nibbles of four blocks are one stored vector, sixteen bytes each.
template <class Block, int At>
HEARTH_INLINE __m512i stored_nibbles(const uint8_t* p, int s) {
  p += 4 * s * int(sizeof(Block)) + At;
  __m512i v = _mm512_castsi128_si512(load128(p));
  v = _mm512_inserti32x4(v, load128(p + sizeof(Block)), 1);
  v = _mm512_inserti32x4(v, load128(p + 2 * sizeof(Block)), 2);
  return _mm512_inserti32x4(v, load128(p + 3 * sizeof(Block)), 3);
}
HEARTH_INLINE __m512i column_of_nibbles(const __m512i (*v)[16], int i, int j) {
  return nibbles(v[i / 2][8 * (i % 2) + 4 * (j / 8) + j % 4], j / 4 % 2);
}
// The fifth bits of eight blocks are one more stored vector; four bits at a time become bit 4 of four bytes.
template <class Block, int At>
HEARTH_INLINE __m512i stored_fifth_bits(const uint8_t* p) {
  uint32_t bits[8];
  for (int b = 0; b < 8; ++b) memcpy(bits + b, p + b * int(sizeof(Block)) + At, 4);
  return _mm512_castsi256_si512(load256(bits));
}
HEARTH_INLINE __m512i column_of_fifth_bits(const __m512i (*v)[16], int i, int j) {
  const __m512i spread =
      _mm512_setr_epi32(0, 0x10, 0x1000, 0x1010, 0x100000, 0x100010, 0x101000, 0x101010,  //
                        0x10000000, 0x10000010, 0x10001000, 0x10001010, 0x10100000, 0x10100010, 0x10101000, 0x10101010);
  return _mm512_permutexvar_epi32(_mm512_srli_epi32(v[2][2 * i + j / 8], unsigned(4 * (j % 8))), spread);
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
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return stored_nibbles<BlockQ4_0, 2>(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return column_of_nibbles(v, i, j); }
};
struct Q4_1 : SmallBlocks<BlockQ4_1, -1, true, false> {
  static constexpr int kLargest = 15;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return nibbles_of_two(p + 4, p + kBytes + 4);
  }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return stored_nibbles<BlockQ4_1, 4>(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return column_of_nibbles(v, i, j); }
};
struct Q5_0 : SmallBlocks<BlockQ5_0, 4, false, false> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    const __m512i low = nibbles_of_two(p + 6, p + kBytes + 6), sixteen = _mm512_set1_epi8(16);
    return _mm512_mask_add_epi8(low, bits_of_two(p + 2, p + kBytes + 2), low, sixteen);
  }
  static constexpr int kStored = 3;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) {
    return s < 2 ? stored_nibbles<BlockQ5_0, 6>(p, s) : stored_fifth_bits<BlockQ5_0, 2>(p);
  }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return _mm512_or_si512(column_of_nibbles(v, i, j), column_of_fifth_bits(v, i, j));
  }
};
struct Q5_1 : SmallBlocks<BlockQ5_1, -1, true, false> {
  static constexpr int kLargest = 31;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    const __m512i low = nibbles_of_two(p + 8, p + kBytes + 8), sixteen = _mm512_set1_epi8(16);
    return _mm512_mask_add_epi8(low, bits_of_two(p + 4, p + kBytes + 4), low, sixteen);
  }
  static constexpr int kStored = 3;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) {
    return s < 2 ? stored_nibbles<BlockQ5_1, 8>(p, s) : stored_fifth_bits<BlockQ5_1, 4>(p);
  }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return _mm512_or_si512(column_of_nibbles(v, i, j), column_of_fifth_bits(v, i, j));
  }
};
struct Q8_0 : SmallBlocks<BlockQ8_0, 7, false, true> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return _mm512_xor_si512(join(load256(p + 2), load256(p + kBytes + 2)), _mm512_set1_epi8(char(0x80)));
  }
  static constexpr int kStored = 4;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return vector(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) { return v[i][j]; }
};
struct IQ4_NL : SmallBlocks<BlockIQ4_NL, 7, false, true> {
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return iq4_levels(nibbles_of_two(p + 2, p + kBytes + 2));
  }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return stored_nibbles<BlockIQ4_NL, 2>(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return iq4_levels(column_of_nibbles(v, i, j));
  }
};

// The 16 numbers of fp4, doubled.
HEARTH_INLINE __m128i e2m1_table() {
  return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
}
HEARTH_INLINE __m512i e2m1_levels(__m512i nibbles) {  // plus 16
  return _mm512_shuffle_epi8(in_all_lanes(_mm_add_epi8(e2m1_table(), _mm_set1_epi8(16))), nibbles);
}

struct MXFP4 : SmallBlocks<BlockMXFP4, 4, false, false> {
  static constexpr int kLargest = 12;
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) {
    p += 2 * i * kBytes;
    return e2m1_levels(nibbles_of_two(p + 1, p + kBytes + 1));
  }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return stored_nibbles<BlockMXFP4, 1>(p, s); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return e2m1_levels(column_of_nibbles(v, i, j));
  }
  // Powers of two: the exponent's bits, but for the two that are subnormal.
  HEARTH_INLINE static __m256 scales(const uint8_t* p) {
    const __m256i e = _mm256_setr_epi32(p[0], p[kBytes], p[2 * kBytes], p[3 * kBytes], p[4 * kBytes], p[5 * kBytes],
                                        p[6 * kBytes], p[7 * kBytes]);
    const __m256i one = _mm256_set1_epi32(1), normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    return _mm256_castsi256_ps(
        _mm256_mask_sllv_epi32(normal, _mm256_cmple_epu32_mask(e, one), _mm256_set1_epi32(0x00200000), e));
  }
};

struct I4_G128 {
  static constexpr int kBlock = 128, kBytes = sizeof(BlockI4_G128), kOffset = 3, kGroup = 32;
  static constexpr bool kMins = false, kWide = false;
  static constexpr int sub16(int i, int lane) { return 4 * i + lane; }
  HEARTH_INLINE static __m512i vector(const uint8_t* p, int i) { return with_offset(nibbles(stored(p, i / 2), i % 2)); }
  static constexpr int kStored = 2;
  HEARTH_INLINE static __m512i stored(const uint8_t* p, int s) { return load512(p + s * kBytes + 2); }
  HEARTH_INLINE static __m512i column(const __m512i (*v)[16], int i, int j) {
    return with_offset(nibbles(v[i / 2][j], i % 2));
  }
  HEARTH_INLINE static __m512i with_offset(__m512i q) {
    return _mm512_xor_si512(q, _mm512_set1_epi8(8));  // two's complement -8..7 as 0..15
  }
  HEARTH_INLINE static __m256 scales(const uint8_t* p) {
    return _mm256_set_m128(_mm_set1_ps(half_to_float(p + kBytes)), _mm_set1_ps(half_to_float(p)));
  }
};

// Minimums that are summed as integers over a block.
template <class D>
constexpr bool kIntegerMins = D::kBlock == 256 && D::kMins;

// ---- Scales of a block at p in the row that begins at `row`

// The unit d of the integer scales of a block of 256.
template <class D>
HEARTH_INLINE float block_factor([[maybe_unused]] const uint8_t* row, const uint8_t* p) {
  if constexpr (kOwnUnit<D>) {
    return D::d(row, p);
  } else {
    return half_to_float(D::d(p));
  }
}

// The scales of the eight groups of 32 in smaller blocks.
template <class D>
HEARTH_INLINE __m256 group_scales([[maybe_unused]] const uint8_t* row, const uint8_t* p) {
  if constexpr (kHeaderOf<D> != 0) {
    return D::scales(row, p);
  } else {
    return D::scales(p);
  }
}

}  // namespace
}  // namespace hearth
