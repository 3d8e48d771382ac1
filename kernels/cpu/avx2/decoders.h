// Decoders of the integer formats: one struct per format that turns 32 stored weights of a row into a vector of bytes,
// and their scales. Decoders know bits but no loops; matmul_vec.h, matmul_tile.h and float_decoder.h know the loops but
// no bits. Layouts are drawn in quant/blocks.h.
//
//   kBlock, kBytes   weights and bytes of a stored block (256, 128 or 32 weights)
//   kSigned          the bytes are signed: the weights themselves; else they are unsigned, below 64: weight + kOffset
//   kMins            there are minimums (blocks of 256) or added numbers (smaller blocks)
//   kGroup           weights that share a scale: 16 or 32 (coarser ones are repeated)
//   kRun             of unsigned bytes: weights whose products are summed in 16 bits. Of each four, the first two go
//   into
//                    one sum and the last two into another. After the offset is subtracted, a sum is within +-32767 for
//                    any bits
//   vector(p, i)     weights 32 i .. 32 i + 31 of the blocks at p, in order
//
// Where the bits of a weight stand at the same place of all bytes, whole tiles need not be unpacked row by row:
//
//   kPieces          16-byte pieces of a block that hold the bits of its weights; they may overlap
//   piece(s)         where piece s begins
//   weights(z, i, j) weights 32 i + 4 j .. 32 i + 4 j + 3 of eight rows' blocks, four bytes for each row. z(s, c) is
//   the
//                    c-th dword of piece s of the eight rows
//
// Blocks of 256: scales(p) and mins(p) are 16 words (each twice where kGroup is 32), in units of the half-precision
// numbers d at byte kD and dmin at byte kDmin: weight = d * scale * byte - dmin * min. Smaller blocks:
// weight = scale * byte + added, both half-precision numbers, at bytes kScaleAt and kAddedAt.
//
// Formats whose rows have a header have kHeader, its bytes. They and others whose unit is not a half of the block have,
// in place of kD, d(row, p), and in place of kScaleAt scales(row, p, n), eight floats; both may read the header, which
// is at `row`.
#pragma once

#include <cstddef>

#include "kernels/cpu/avx2/simd.h"
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

HEARTH_INLINE __m256i low_bits(__m256i v, int n) {
  return _mm256_and_si256(v, _mm256_set1_epi8(char((1 << n) - 1)));
}

// Of bytes that hold two bits of four vectors each, those of vector i.
HEARTH_INLINE __m256i two_bits(__m256i z, int i) {
  return low_bits(_mm256_srli_epi16(z, 2 * (i % 4)), 2);
}

// 16 bytes of nibbles in halves -> 32 bytes: the low nibbles, then the high ones.
HEARTH_INLINE __m256i nibbles_in_halves(const uint8_t* qs) {
  const __m256i both = in_both_halves(load128(qs));
  return low_bits(_mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), 4);
}

// And the same of dwords of eight rows: low nibbles where j is below 4, else high ones.
HEARTH_INLINE __m256i nibbles_of_half(__m256i z, int j) {
  return low_bits(j < 4 ? z : _mm256_srli_epi16(z, 4), 4);
}

// 32 bits -> 32 bytes: 16 where the bit is set, else 0.
HEARTH_INLINE __m256i sixteen_where_set(const uint8_t* bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      four_bytes(bits),
      _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i select = _mm256_set1_epi64x(int64_t(0x8040201008040201));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, select), select);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

// And the same for weights 4 j .. 4 j + 3 of eight rows, whose 32 bits are in the row's dword.
HEARTH_INLINE __m256i sixteen_where_set(__m256i bits, int j) {
  const int byte = j / 2;
  const __m256i spread = _mm256_shuffle_epi8(
      bits, _mm256_broadcastsi128_si256(_mm_setr_epi32(0x01010101 * byte, 0x01010101 * (byte + 4),
                                                       0x01010101 * (byte + 8), 0x01010101 * (byte + 12))));
  const __m256i select = _mm256_set1_epi32(j % 2 ? int(0x80402010) : 0x08040201);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, select), select), _mm256_set1_epi8(16));
}

// The 16 levels of IQ4.
HEARTH_INLINE __m256i iq4_levels(__m256i nibbles) {
  const __m128i levels = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm256_shuffle_epi8(in_both_halves(levels), nibbles);
}

// The 16 numbers of fp4, doubled.
HEARTH_INLINE __m256i e2m1_levels(__m256i nibbles) {
  const __m128i levels = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  return _mm256_shuffle_epi8(in_both_halves(levels), nibbles);
}

// ---- 256-blocks

// 8 words, each twice: vpmaddwd multiplies such a pair with two neighbouring sums.
HEARTH_INLINE __m256i each_twice(__m128i words) {
  return _mm256_set_m128i(_mm_unpackhi_epi16(words, words), _mm_unpacklo_epi16(words, words));
}

struct Q4_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ4_K), kOffset = 0, kGroup = 32, kRun = 32;
  static constexpr bool kSigned = false, kMins = true;  // 16 * 15 * 127 = 30480
  static constexpr int kD = 0, kDmin = 2;
  static constexpr int kPieces = 8;
  HEARTH_INLINE static constexpr int piece(int s) { return 16 + 16 * s; }
  HEARTH_INLINE static __m256i bits(__m256i z, int i) { return low_bits(i % 2 ? _mm256_srli_epi16(z, 4) : z, 4); }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return bits(load256(p + 16 + 32 * (i / 2)), i); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return bits(z(i / 2 * 2 + j / 4, j % 4), i);
  }
  // 8 scales then 8 mins as bytes, in both halves. As words of four bytes: a, b, c -> low 6 bits of a; low 4 of c with
  // the high 2 of a above them; low 6 of b; high 4 of c with the high 2 of b.
  HEARTH_INLINE static __m256i scales_and_mins(const uint8_t* p) {
    const __m256i v = in_both_halves(load128(p));  // d and dmin, a, b, c
    const __m256i low =
        _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0xED), _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4)),
                         _mm256_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f,
                                           0x3f3f3f3f, 0x0f0f0f0f));
    const __m256i high =
        _mm256_and_si256(_mm256_srli_epi32(_mm256_shuffle_epi32(v, 0x94), 2),
                         _mm256_setr_epi32(0, 0x30303030, 0, 0x30303030, 0, 0x30303030, 0, 0x30303030));
    return _mm256_or_si256(low, high);
  }
  static constexpr char kNone = char(0x80);  // gives a zero byte
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_shuffle_epi8(
        scales_and_mins(p),
        _mm256_setr_epi8(0, kNone, 0, kNone, 1, kNone, 1, kNone, 2, kNone, 2, kNone, 3, kNone, 3, kNone,  //
                         4, kNone, 4, kNone, 5, kNone, 5, kNone, 6, kNone, 6, kNone, 7, kNone, 7, kNone));
  }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) {
    return _mm256_shuffle_epi8(
        scales_and_mins(p),
        _mm256_setr_epi8(8, kNone, 8, kNone, 9, kNone, 9, kNone, 10, kNone, 10, kNone, 11, kNone, 11, kNone,  //
                         12, kNone, 12, kNone, 13, kNone, 13, kNone, 14, kNone, 14, kNone, 15, kNone, 15, kNone));
  }
};

struct Q5_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ5_K), kOffset = 0, kGroup = 32, kRun = 16;
  static constexpr bool kSigned = false, kMins = true;  // 8 * 31 * 127 = 31496
  static constexpr int kD = 0, kDmin = 2;
  static constexpr int kPieces = 10;  // two of fifth bits, then nibbles
  HEARTH_INLINE static constexpr int piece(int s) { return 16 + 16 * s; }
  HEARTH_INLINE static __m256i bits(__m256i z, __m256i h, int i) {
    const __m256i high = i <= 4 ? _mm256_slli_epi16(h, 4 - i) : _mm256_srli_epi16(h, i - 4);
    return _mm256_or_si256(Q4_K::bits(z, i), _mm256_and_si256(high, _mm256_set1_epi8(16)));
  }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return bits(load256(p + 48 + 32 * (i / 2)), load256(p + 16), i);
  }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return bits(z(2 + i / 2 * 2 + j / 4, j % 4), z(j / 4, j % 4), i);
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return Q4_K::scales(p); }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) { return Q4_K::mins(p); }
};

struct Q6_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ6_K), kOffset = 32, kGroup = 16, kRun = 16;
  static constexpr bool kSigned = false, kMins = false;  // 8 * 32 * 127 = 32512
  static constexpr int kD = 208;
  static constexpr int kPieces = 12;  // eight of nibbles, then the upper bits
  HEARTH_INLINE static constexpr int piece(int s) { return 16 * s; }
  HEARTH_INLINE static __m256i bits(__m256i z, __m256i h, int i) {
    const int j = i % 4;
    const __m256i low = low_bits(j < 2 ? z : _mm256_srli_epi16(z, 4), 4);
    const __m256i high = j < 2 ? _mm256_slli_epi16(h, 4 - 2 * j) : j == 2 ? h : _mm256_srli_epi16(h, 2);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
  }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return bits(load256(p + 64 * (i / 4) + 32 * (i % 2)), load256(p + 128 + 32 * (i / 4)), i);
  }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return bits(z(i / 4 * 4 + i % 2 * 2 + j / 4, j % 4), z(8 + i / 4 * 2 + j / 4, j % 4), i);
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) { return _mm256_cvtepi8_epi16(load128(p + 192)); }
};

struct Q2_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ2_K), kOffset = 0, kGroup = 16, kRun = 16;
  static constexpr bool kSigned = false, kMins = true;
  static constexpr int kD = 80, kDmin = 82;
  static constexpr int kPieces = 4;
  HEARTH_INLINE static constexpr int piece(int s) { return 16 + 16 * s; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return two_bits(load256(p + 16 + 32 * (i / 4)), i); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return two_bits(z(i / 4 * 2 + j / 4, j % 4), i);
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_and_si128(load128(p), _mm_set1_epi8(15)));
  }
  HEARTH_INLINE static __m256i mins(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(load128(p), 4), _mm_set1_epi8(15)));
  }
};

// Every byte times its word's factor, modulo 256.
HEARTH_INLINE __m256i times_bytes(__m256i v, __m256i factors) {
  const __m256i even = _mm256_set1_epi16(0xff);
  const __m256i high = _mm256_mullo_epi16(_mm256_andnot_si256(even, v), factors);
  return _mm256_or_si256(_mm256_and_si256(_mm256_mullo_epi16(v, factors), even), high);
}

struct TQ1_0 {  // one scale, d, for the whole block
  static constexpr int kBlock = 256, kBytes = sizeof(BlockTQ1_0), kOffset = 1, kGroup = 32, kRun = 32;
  static constexpr bool kSigned = false, kMins = false;  // 16 * 2 * 127 = 4064
  static constexpr int kD = 52;
  // A digit moves to the front by a product with a power of 3; then it is 1 from 1/3 on, and 2 from 2/3 on.
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    const auto power = [](int n) HEARTH_INLINE_LAMBDA {
      return _mm_set1_epi16(short(n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : 81));
    };
    __m256i moved;
    if (i < 5) {
      moved = times_bytes(load256(p), in_both_halves(power(i)));
    } else if (i < 7) {
      moved = times_bytes(in_both_halves(load128(p + 32)), _mm256_set_m128i(power(2 * i - 9), power(2 * i - 10)));
    } else {
      const __m256i bytes = _mm256_set_m128i(_mm256_castsi256_si128(four_bytes(p + 48)), load128(p + 32));
      moved = times_bytes(bytes, _mm256_set_m128i(_mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27), power(4)));
    }
    const auto from = [&](int least) HEARTH_INLINE_LAMBDA {
      return _mm256_cmpeq_epi8(_mm256_max_epu8(moved, _mm256_set1_epi8(char(least))), moved);
    };
    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(from(86), from(171)));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t*) { return _mm256_set1_epi16(1); }
};

struct TQ2_0 {  // one scale, d, for the whole block
  static constexpr int kBlock = 256, kBytes = sizeof(BlockTQ2_0), kOffset = 1, kGroup = 32, kRun = 32;
  static constexpr bool kSigned = false, kMins = false;  // 16 * 2 * 127 = 4064
  static constexpr int kD = 64;
  static constexpr int kPieces = 4;
  HEARTH_INLINE static constexpr int piece(int s) { return 16 * s; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return two_bits(load256(p + 32 * (i / 4)), i); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return two_bits(z(i / 4 * 2 + j / 4, j % 4), i);
  }
  HEARTH_INLINE static __m256i scales(const uint8_t*) { return _mm256_set1_epi16(1); }
};

struct Q3_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ3_K), kOffset = 4, kGroup = 16, kRun = 16;
  static constexpr bool kSigned = false, kMins = false;
  static constexpr int kD = 108;
  static constexpr int kPieces = 6;  // two of third bits, then the others
  HEARTH_INLINE static constexpr int piece(int s) { return 16 * s; }
  HEARTH_INLINE static __m256i bits(__m256i z, __m256i h, int i) {
    const __m256i high = i <= 2 ? _mm256_slli_epi16(h, 2 - i) : _mm256_srli_epi16(h, i - 2);
    return _mm256_or_si256(two_bits(z, i), _mm256_and_si256(high, _mm256_set1_epi8(4)));
  }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return bits(load256(p + 32 + 32 * (i / 4)), load256(p), i);
  }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return bits(z(2 + i / 4 * 2 + j / 4, j % 4), z(j / 4, j % 4), i);
  }
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

struct IQ4_XS {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockIQ4_XS), kOffset = 0, kGroup = 32;
  static constexpr bool kSigned = true, kMins = false;
  static constexpr int kD = 0;
  static constexpr int kPieces = 8;
  HEARTH_INLINE static constexpr int piece(int s) { return 8 + 16 * s; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return iq4_levels(nibbles_in_halves(p + 8 + 16 * i)); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return iq4_levels(nibbles_of_half(z(i, j % 4), j));
  }
  HEARTH_INLINE static __m256i scales(const uint8_t* p) {
    uint32_t low;
    memcpy(&low, p + 4, 4);
    const __m128i l = _mm_and_si128(_mm_unpacklo_epi8(_mm_cvtsi32_si128(int(low)), _mm_cvtsi32_si128(int(low >> 4))),
                                    _mm_set1_epi8(15));  // bytes: group 0, 1, 2 ..
    // Two bits for each group, moved to bits 4 and 5: a word times a power of two, since words cannot shift by lane.
    const __m128i up = _mm_mullo_epi16(_mm_set1_epi16(short(half_bits(p + 2))),
                                       _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1));
    const __m128i h = _mm_slli_epi16(_mm_srli_epi16(up, 14), 4);
    return each_twice(_mm_sub_epi16(_mm_or_si128(_mm_cvtepu8_epi16(l), h), _mm_set1_epi16(32)));
  }
};

// ---- smaller blocks with a half-precision scale

// Block, kOffset, byte of the added number (0: there is none), kRun; 0: signed.
template <class Block, int Offset, int AddedAt, int Run>
struct SmallBlocks {
  static constexpr int kBlock = Block::kElems, kBytes = sizeof(Block), kOffset = Offset, kGroup = 32, kRun = Run;
  static constexpr int kScaleAt = 0, kAddedAt = AddedAt;
  static constexpr bool kSigned = Run == 0, kMins = AddedAt != 0;
};

struct Q4_0 : SmallBlocks<BlockQ4_0, 8, 0, 32> {  // 16 * 8 * 127 = 16256
  static constexpr int kPieces = 1;
  HEARTH_INLINE static constexpr int piece(int) { return 2; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return nibbles_in_halves(p + i * kBytes + 2); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return nibbles_of_half(z(0, j % 4), j);
  }
};
struct Q4_1 : SmallBlocks<BlockQ4_1, 0, 2, 32> {
  static constexpr int kPieces = 1;
  HEARTH_INLINE static constexpr int piece(int) { return 4; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return nibbles_in_halves(p + i * kBytes + 4); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return nibbles_of_half(z(0, j % 4), j);
  }
};
struct Q5_0 : SmallBlocks<BlockQ5_0, 16, 0, 32> {  // 16 * 16 * 127 = 32512
  static constexpr int kPieces = 2;                // nibbles, and the beginning: the scale and the fifth bits
  HEARTH_INLINE static constexpr int piece(int s) { return s == 0 ? 6 : 0; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    p += i * kBytes;
    return _mm256_or_si256(nibbles_in_halves(p + 6), sixteen_where_set(p + 2));
  }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    const __m256i fifth = _mm256_or_si256(_mm256_srli_epi32(z(1, 0), 16), _mm256_slli_epi32(z(1, 1), 16));
    return _mm256_or_si256(nibbles_of_half(z(0, j % 4), j), sixteen_where_set(fifth, j));
  }
};
struct Q5_1 : SmallBlocks<BlockQ5_1, 0, 2, 16> {
  static constexpr int kPieces = 2;  // nibbles, and the beginning: the scale, the added number and the fifth bits
  HEARTH_INLINE static constexpr int piece(int s) { return s == 0 ? 8 : 0; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    p += i * kBytes;
    return _mm256_or_si256(nibbles_in_halves(p + 8), sixteen_where_set(p + 4));
  }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return _mm256_or_si256(nibbles_of_half(z(0, j % 4), j), sixteen_where_set(z(1, 1), j));
  }
};
struct Q8_0 : SmallBlocks<BlockQ8_0, 0, 0, 0> {
  static constexpr int kPieces = 2;
  HEARTH_INLINE static constexpr int piece(int s) { return 2 + 16 * s; }
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return load256(p + i * kBytes + 2); }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return z(j / 4, j % 4);
  }
};
struct IQ4_NL : SmallBlocks<BlockIQ4_NL, 0, 0, 0> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return iq4_levels(nibbles_in_halves(p + i * kBytes + 2));
  }
  static constexpr int kPieces = 1;
  HEARTH_INLINE static constexpr int piece(int) { return 2; }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return iq4_levels(nibbles_of_half(z(0, j % 4), j));
  }
};
struct MXFP4 {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockMXFP4), kOffset = 12, kGroup = 32, kRun = 32;
  static constexpr bool kSigned = false, kMins = false;  // 16 * 12 * 127 = 24384
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) { return moved(nibbles_in_halves(p + i * kBytes + 1)); }
  static constexpr int kPieces = 1;
  HEARTH_INLINE static constexpr int piece(int) { return 1; }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int, int j) {
    return moved(nibbles_of_half(z(0, j % 4), j));
  }
  HEARTH_INLINE static __m256i moved(__m256i nibbles) {
    return _mm256_add_epi8(e2m1_levels(nibbles), _mm256_set1_epi8(kOffset));
  }
  // Powers of two: the exponent's bits, but for the two that are subnormal.
  HEARTH_INLINE static __m256 scales(const uint8_t*, const uint8_t* p, int n) {
    alignas(32) int32_t e[8] = {};
    for (int g = 0; g < n; ++g) e[g] = p[g * kBytes];
    const __m256i v = load256(e), one = _mm256_set1_epi32(1);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(v, one), 23);
    const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), v);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(tiny, normal, _mm256_cmpgt_epi32(v, one)));
  }
};
struct I4_G128 : SmallBlocks<BlockI4_G128, 8, 0, 32> {
  HEARTH_INLINE static __m256i vector(const uint8_t* p, int i) {
    return bits(load256(p + i / 4 * kBytes + 2 + 32 * (i % 2)), i);
  }
  HEARTH_INLINE static __m256i bits(__m256i z, int i) {
    const __m256i q = low_bits(i % 4 < 2 ? z : _mm256_srli_epi16(z, 4), 4);
    return _mm256_xor_si256(q, _mm256_set1_epi8(8));  // two's complement -8..7 as 0..15
  }
  static constexpr int kPieces = 4;
  HEARTH_INLINE static constexpr int piece(int s) { return 2 + 16 * s; }
  template <class Pieces>
  HEARTH_INLINE static __m256i weights(const Pieces& z, int i, int j) {
    return bits(z(i % 2 * 2 + j / 4, j % 4), i);
  }
};

// The half-precision numbers `at` bytes into each block, for n <= 8 groups of 32, as floats; zeros after them.
template <class D>
HEARTH_INLINE __m256 group_halves(const uint8_t* p, int at, int n) {
  alignas(16) uint16_t bits[8] = {};
  const auto of = [&](int g) HEARTH_INLINE_LAMBDA { return half_bits(p + g * 32 / D::kBlock * D::kBytes + at); };
  if (n == 8) {
    __m128i v = _mm_cvtsi32_si128(of(0));
    v = _mm_insert_epi16(v, of(1), 1);
    v = _mm_insert_epi16(v, of(2), 2);
    v = _mm_insert_epi16(v, of(3), 3);
    v = _mm_insert_epi16(v, of(4), 4);
    v = _mm_insert_epi16(v, of(5), 5);
    v = _mm_insert_epi16(v, of(6), 6);
    v = _mm_insert_epi16(v, of(7), 7);
    return _mm256_cvtph_ps(v);
  }
  for (int g = 0; g < n; ++g) bits[g] = of(g);
  return _mm256_cvtph_ps(load128(bits));
}

// The unit d of the integer scales of the block of 256 at p, in the row that begins at `row`.
template <class D>
HEARTH_INLINE float block_factor([[maybe_unused]] const uint8_t* row, const uint8_t* p) {
  if constexpr (kOwnUnit<D>) {
    return D::d(row, p);
  } else {
    return half_to_float(p + D::kD);
  }
}

// The scales of n <= 8 groups of 32 in smaller blocks; what follows them may be anything.
template <class D>
HEARTH_INLINE __m256 group_scales([[maybe_unused]] const uint8_t* row, const uint8_t* p, int n) {
  if constexpr (requires { D::scales(row, p, n); }) {
    return D::scales(row, p, n);
  } else {
    return group_halves<D>(p, D::kScaleAt, n);
  }
}

// Sums of two products w * a each, as words: w as a decoder gives it, a within +-127. Exact: of signed bytes the
// magnitude is multiplied, and the sign moves to a (2 * 128 * 127 = 32512); unsigned bytes are below 64.
template <class D>
HEARTH_INLINE __m256i multiply_pairs(__m256i w, __m256i a) {
  if constexpr (D::kSigned) return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
  return _mm256_maddubs_epi16(w, a);
}

}  // namespace
}  // namespace hearth
