// Decoders: one struct per format that turns stored blocks into vectors of eight floats. They know bits and nothing of
// loops; matmul_tile.h knows the loop and nothing of bits.
//
//   kBlock, kBytes   weights and bytes of a block
//   kStep            weights that `step` gives at once (a divisor of kBlock): as many as share their packed bytes
//   Block            what is unpacked once per block: its scales
//   step(b, s, sink) calls sink(i, w) with weights kStep s + 8 i .. + 7 of the block, for i = 0, 1, 2 .. in this order
//                    (which is the order of the sums)
//
// The floats are those of Format::decode bit for bit: all products are exact in float32 (quant/decode.h), so the only
// rounding is that of the last subtraction or addition, which FMA does once as well. Layouts are drawn in
// quant/blocks.h.
#pragma once

#include <cstddef>

#include "kernels/cpu/avx2/simd.h"
#include "quant/blocks.h"

namespace hearth {
namespace {

HEARTH_INLINE __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HEARTH_INLINE __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
HEARTH_INLINE __m128i load64(const void* p) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(p));
}

// The first eight of 16 signed bytes as floats.
HEARTH_INLINE __m256 bytes_to_floats(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

// From bytes in registers to floats in two instructions per eight weights: one byte shuffle, which runs on more ports
// than a widening does, then the conversion. It needs the same 16 bytes in both halves of q. As unsigned bytes they go
// to the low end of 32 bits, as signed ones to the high end: there the sign is in its place, the value times 2^24, and
// the format's scale takes 2^-24 (kTop), which is exact.
constexpr float kTop = 0x1p-24f;

template <class Sink>
HEARTH_INLINE void spread_unsigned(__m256i q, const Sink& sink) {
  constexpr char z = char(0x80);  // gives a zero byte
  sink(0, _mm256_cvtepi32_ps(_mm256_shuffle_epi8(q, _mm256_setr_epi8(0, z, z, z, 1, z, z, z, 2, z, z, z, 3, z, z, z,  //
                                                                     4, z, z, z, 5, z, z, z, 6, z, z, z, 7, z, z, z))));
  sink(1, _mm256_cvtepi32_ps(
              _mm256_shuffle_epi8(q, _mm256_setr_epi8(8, z, z, z, 9, z, z, z, 10, z, z, z, 11, z, z, z,  //
                                                      12, z, z, z, 13, z, z, z, 14, z, z, z, 15, z, z, z))));
}
template <class Sink>
HEARTH_INLINE void spread_signed(__m256i q, const Sink& sink) {
  constexpr char z = char(0x80);
  sink(0, _mm256_cvtepi32_ps(_mm256_shuffle_epi8(q, _mm256_setr_epi8(z, z, z, 0, z, z, z, 1, z, z, z, 2, z, z, z, 3,  //
                                                                     z, z, z, 4, z, z, z, 5, z, z, z, 6, z, z, z, 7))));
  sink(1, _mm256_cvtepi32_ps(
              _mm256_shuffle_epi8(q, _mm256_setr_epi8(z, z, z, 8, z, z, z, 9, z, z, z, 10, z, z, z, 11,  //
                                                      z, z, z, 12, z, z, z, 13, z, z, z, 14, z, z, z, 15))));
}

// 32 signed bytes as four vectors to sink(first .. first + 3): f(half, v) makes a weight of v = q * 2^24, where `half`
// says which 16 of the 32 it is among.
template <class F, class Sink>
HEARTH_INLINE void emit(__m256i q, int first, const F& f, const Sink& sink) {
  for (int half = 0; half < 2; ++half) {
    const __m256i both = half ? _mm256_permute2x128_si256(q, q, 0x11) : _mm256_permute2x128_si256(q, q, 0x00);
    spread_signed(both, [&](int i, __m256 v) HEARTH_INLINE_LAMBDA { sink(first + 2 * half + i, f(half, v)); });
  }
}

// The low and the high nibbles of 16 bytes, for spread_unsigned: the high ones stay where they are, as 16 q, and
// scale / 16 makes the same product.
HEARTH_INLINE __m256i low_nibbles(const void* qs) {
  return _mm256_and_si256(_mm256_broadcastsi128_si256(load128(qs)), _mm256_set1_epi8(0x0f));
}
HEARTH_INLINE __m256i high_nibbles(const void* qs) {
  return _mm256_and_si256(_mm256_broadcastsi128_si256(load128(qs)), _mm256_set1_epi8(char(0xf0)));
}

// 16 bytes of nibbles in halves -> 32 bytes: the low nibbles, then the high ones.
HEARTH_INLINE __m256i nibbles_in_halves(const void* qs) {
  const __m128i packed = load128(qs);
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(packed), _mm_srli_epi16(packed, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// 32 bits -> 32 bytes: `value` where the bit is clear, else 0.
HEARTH_INLINE __m256i where_clear(const void* bits, char value) {
  int32_t word;
  memcpy(&word, bits, 4);
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(word),
      _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i select = _mm256_set1_epi64x(int64_t(0x8040201008040201));
  const __m256i clear = _mm256_cmpeq_epi8(_mm256_and_si256(spread, select), _mm256_setzero_si256());
  return _mm256_and_si256(clear, _mm256_set1_epi8(value));
}

// The 16 levels of IQ4 for 16 bytes of nibbles: the low ones' to sink(0, 1), the high ones' to sink(2, 3).
template <class F, class Sink>
HEARTH_INLINE void emit_iq4(const void* qs, const F& f, const Sink& sink) {
  const __m256i levels = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
  const __m256i packed = _mm256_broadcastsi128_si256(load128(qs)), low4 = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(levels, _mm256_and_si256(packed, low4));
  const __m256i high = _mm256_shuffle_epi8(levels, _mm256_and_si256(_mm256_srli_epi16(packed, 4), low4));
  spread_signed(low, [&](int i, __m256 v) HEARTH_INLINE_LAMBDA { sink(i, f(v)); });
  spread_signed(high, [&](int i, __m256 v) HEARTH_INLINE_LAMBDA { sink(2 + i, f(v)); });
}

// ---- one weight per element; rows of any length, taken 32 at a time

struct DecodeF32 {
  static constexpr int kBlock = 32, kBytes = 128, kStep = 32, kElemBytes = 4;
  struct Block {
    const uint8_t* p;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    const float* p = reinterpret_cast<const float*>(b.p);
    for (int i = 0; i < 4; ++i) sink(i, _mm256_loadu_ps(p + 8 * i));
  }
};

struct DecodeF16 {
  static constexpr int kBlock = 32, kBytes = 64, kStep = 32, kElemBytes = 2;
  using Block = DecodeF32::Block;
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    for (int i = 0; i < 4; ++i) sink(i, _mm256_cvtph_ps(load128(b.p + 16 * i)));
  }
};

struct DecodeBF16 {
  static constexpr int kBlock = 32, kBytes = 64, kStep = 32, kElemBytes = 2;
  using Block = DecodeF32::Block;
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    for (int i = 0; i < 4; ++i) {
      const __m256i wide = _mm256_cvtepu16_epi32(load128(b.p + 16 * i));
      sink(i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
  }
};

// ---- blocks of 32: d, perhaps m, perhaps fifth bits, then the weights

struct DecodeQ8_0 {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockQ8_0), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p), d(half_to_floats(p)) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    for (int i = 0; i < 4; ++i) {
      sink(i, _mm256_mul_ps(b.d, bytes_to_floats(load64(b.p + offsetof(BlockQ8_0, qs) + 8 * i))));
    }
  }
};

struct DecodeQ4_0 {  // d * (q - 8) = d * q - 8 d: the difference is exact
  static constexpr int kBlock = 32, kBytes = sizeof(BlockQ4_0), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d, d16, offset;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      d = half_to_floats(p);
      d16 = _mm256_mul_ps(d, _mm256_set1_ps(1.0f / 16));
      offset = _mm256_mul_ps(d, _mm256_set1_ps(8.0f));
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    const uint8_t* qs = b.p + offsetof(BlockQ4_0, qs);
    spread_unsigned(low_nibbles(qs),
                    [&](int i, __m256 q) HEARTH_INLINE_LAMBDA { sink(i, _mm256_fmsub_ps(b.d, q, b.offset)); });
    spread_unsigned(high_nibbles(qs),
                    [&](int i, __m256 q) HEARTH_INLINE_LAMBDA { sink(2 + i, _mm256_fmsub_ps(b.d16, q, b.offset)); });
  }
};

struct DecodeQ4_1 {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockQ4_1), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d, d16, m;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      d = half_to_floats(p);
      d16 = _mm256_mul_ps(d, _mm256_set1_ps(1.0f / 16));
      m = half_to_floats(p + 2);
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    const uint8_t* qs = b.p + offsetof(BlockQ4_1, qs);
    spread_unsigned(low_nibbles(qs),
                    [&](int i, __m256 q) HEARTH_INLINE_LAMBDA { sink(i, _mm256_fmadd_ps(b.d, q, b.m)); });
    spread_unsigned(high_nibbles(qs),
                    [&](int i, __m256 q) HEARTH_INLINE_LAMBDA { sink(2 + i, _mm256_fmadd_ps(b.d16, q, b.m)); });
  }
};

struct DecodeQ5_0 {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockQ5_0), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p), d(_mm256_mul_ps(half_to_floats(p), _mm256_set1_ps(kTop))) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    // q - 16 is the nibble where the fifth bit is set, and else the nibble under four set bits.
    const __m256i upper = where_clear(b.p + offsetof(BlockQ5_0, qh), char(0xf0));
    emit(
        _mm256_or_si256(nibbles_in_halves(b.p + offsetof(BlockQ5_0, qs)), upper), 0,
        [&](int, __m256 v) HEARTH_INLINE_LAMBDA { return _mm256_mul_ps(b.d, v); }, sink);
  }
};

struct DecodeQ5_1 {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockQ5_1), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d, m;
    HEARTH_INLINE explicit Block(const uint8_t* p)
        : p(p), d(_mm256_mul_ps(half_to_floats(p), _mm256_set1_ps(kTop))), m(half_to_floats(p + 2)) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    const __m256i clear = where_clear(b.p + offsetof(BlockQ5_1, qh), 16);
    const __m256i fifth = _mm256_xor_si256(clear, _mm256_set1_epi8(16));
    emit(
        _mm256_or_si256(nibbles_in_halves(b.p + offsetof(BlockQ5_1, qs)), fifth), 0,
        [&](int, __m256 v) HEARTH_INLINE_LAMBDA { return _mm256_fmadd_ps(b.d, v, b.m); }, sink);
  }
};

struct DecodeIQ4_NL {
  static constexpr int kBlock = 32, kBytes = sizeof(BlockIQ4_NL), kStep = 32;
  using Block = DecodeQ5_0::Block;
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    emit_iq4(
        b.p + offsetof(BlockIQ4_NL, qs), [&](__m256 v) HEARTH_INLINE_LAMBDA { return _mm256_mul_ps(b.d, v); }, sink);
  }
};

// ---- blocks of 256 with 8 groups of 32, each with a scale and a min

// The 12 packed bytes -> d * scale and dmin * min of the groups, the scales times `factors` (powers of two: exact).
struct GroupScales {
  alignas(32) float scale[8], min[8];

  HEARTH_INLINE GroupScales(const uint8_t* d_and_dmin, const uint8_t* packed, __m256 factors) {
    uint32_t a, b, c;  // bytes 0-3, 4-7, 8-11
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    const uint32_t scales_low = a & 0x3f3f3f3f, scales_high = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    const uint32_t mins_low = b & 0x3f3f3f3f, mins_high = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    const __m256 d = half_to_floats(d_and_dmin), dmin = half_to_floats(d_and_dmin + 2);
    const __m256 s = bytes_to_floats(_mm_cvtsi64_si128(int64_t(uint64_t(scales_high) << 32 | scales_low)));
    const __m256 m = bytes_to_floats(_mm_cvtsi64_si128(int64_t(uint64_t(mins_high) << 32 | mins_low)));
    _mm256_store_ps(scale, _mm256_mul_ps(_mm256_mul_ps(d, s), factors));
    _mm256_store_ps(min, _mm256_mul_ps(dmin, m));
  }
};

struct DecodeQ4_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ4_K), kStep = 64;
  struct Block {
    const uint8_t* p;
    GroupScales groups;
    HEARTH_INLINE explicit Block(const uint8_t* p)
        : p(p),
          groups(p, p + offsetof(BlockQ4_K, scales),
                 _mm256_setr_ps(1, 1.0f / 16, 1, 1.0f / 16, 1, 1.0f / 16, 1, 1.0f / 16)) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const uint8_t* qs = b.p + offsetof(BlockQ4_K, qs) + 32 * s;
    for (int group = 0; group < 2; ++group) {
      const __m256 scale = _mm256_broadcast_ss(b.groups.scale + 2 * s + group);
      const __m256 min = _mm256_broadcast_ss(b.groups.min + 2 * s + group);
      for (int half = 0; half < 2; ++half) {
        spread_unsigned(group ? high_nibbles(qs + 16 * half) : low_nibbles(qs + 16 * half),
                        [&](int i, __m256 q)
                            HEARTH_INLINE_LAMBDA { sink(4 * group + 2 * half + i, _mm256_fmsub_ps(scale, q, min)); });
      }
    }
  }
};

struct DecodeQ5_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ5_K), kStep = 64;
  struct Block {
    const uint8_t* p;
    GroupScales groups;
    HEARTH_INLINE explicit Block(const uint8_t* p)
        : p(p), groups(p, p + offsetof(BlockQ5_K, scales), _mm256_set1_ps(kTop)) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const __m256i packed = load256(b.p + offsetof(BlockQ5_K, qs) + 32 * s), low4 = _mm256_set1_epi8(15);
    const __m256i qh = load256(b.p + offsetof(BlockQ5_K, qh)), sixteen = _mm256_set1_epi8(16);
    for (int group = 0; group < 2; ++group) {
      const int g = 2 * s + group;
      const __m256i plane = _mm256_set1_epi8(char(1 << g));
      const __m256i high = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(qh, plane), plane), sixteen);
      const __m256i low = _mm256_and_si256(group ? _mm256_srli_epi16(packed, 4) : packed, low4);
      const __m256 scale = _mm256_broadcast_ss(b.groups.scale + g), min = _mm256_broadcast_ss(b.groups.min + g);
      emit(
          _mm256_or_si256(low, high), 4 * group,
          [&](int, __m256 v) HEARTH_INLINE_LAMBDA { return _mm256_fmsub_ps(scale, v, min); }, sink);
    }
  }
};

struct DecodeIQ4_XS {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockIQ4_XS), kStep = 32;
  struct Block {
    const uint8_t* p;
    float scale[8];
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      const float d = half_to_float(p) * kTop;
      uint16_t high;
      memcpy(&high, p + offsetof(BlockIQ4_XS, scales_h), 2);
      const uint8_t* low = p + offsetof(BlockIQ4_XS, scales_l);
      for (int g = 0; g < 8; ++g) {
        scale[g] = d * float(((low[g / 2] >> 4 * (g % 2) & 15) | (high >> 2 * g & 3) << 4) - 32);
      }
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const __m256 scale = _mm256_broadcast_ss(b.scale + s);
    emit_iq4(
        b.p + offsetof(BlockIQ4_XS, qs) + 16 * s,
        [&](__m256 v) HEARTH_INLINE_LAMBDA { return _mm256_mul_ps(scale, v); }, sink);
  }
};

// ---- blocks of 256 with 16 groups of 16; a step is a half of the block, whose bytes hold four weights each

// q's bytes with one scale for each 16.
template <class Sink>
HEARTH_INLINE void emit_scaled16(__m256i q, int first, const float* scales, const Sink& sink) {
  emit(
      q, first,
      [&](int half, __m256 v) HEARTH_INLINE_LAMBDA { return _mm256_mul_ps(_mm256_broadcast_ss(scales + half), v); },
      sink);
}

struct DecodeQ6_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ6_K), kStep = 128;
  struct Block {
    const uint8_t* p;
    alignas(32) float scale[16];
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      const __m256 d = _mm256_mul_ps(half_to_floats(p + offsetof(BlockQ6_K, d)), _mm256_set1_ps(kTop));
      const uint8_t* scales = p + offsetof(BlockQ6_K, scales);
      _mm256_store_ps(scale, _mm256_mul_ps(d, bytes_to_floats(load64(scales))));
      _mm256_store_ps(scale + 8, _mm256_mul_ps(d, bytes_to_floats(load64(scales + 8))));
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const __m256i low4 = _mm256_set1_epi8(15), high2 = _mm256_set1_epi8(0x30), offset = _mm256_set1_epi8(32);
    const __m256i ql0 = load256(b.p + 64 * s), ql1 = load256(b.p + 64 * s + 32);
    const __m256i qh = load256(b.p + offsetof(BlockQ6_K, qh) + 32 * s);
    const float* scale = b.scale + 8 * s;
    const auto quarter = [&](int j, __m256i low, __m256i high) HEARTH_INLINE_LAMBDA {
      const __m256i q = _mm256_or_si256(_mm256_and_si256(low, low4), _mm256_and_si256(high, high2));
      emit_scaled16(_mm256_sub_epi8(q, offset), 4 * j, scale + 2 * j, sink);
    };
    quarter(0, ql0, _mm256_slli_epi16(qh, 4));
    quarter(1, ql1, _mm256_slli_epi16(qh, 2));
    quarter(2, _mm256_srli_epi16(ql0, 4), qh);
    quarter(3, _mm256_srli_epi16(ql1, 4), _mm256_srli_epi16(qh, 2));
  }
};

struct DecodeQ3_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ3_K), kStep = 128;
  struct Block {
    const uint8_t* p;
    float scale[16];
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      const float d = half_to_float(p + offsetof(BlockQ3_K, d)) * kTop;
      const uint8_t* packed = p + offsetof(BlockQ3_K, scales);
      for (int k = 0; k < 16; ++k) {
        const int low = k < 8 ? packed[k] & 15 : packed[k - 8] >> 4;
        const int high = packed[8 + k % 4] >> 2 * (k / 4) & 3;
        scale[k] = d * float((low | high << 4) - 32);
      }
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const __m256i qs = load256(b.p + offsetof(BlockQ3_K, qs) + 32 * s), low2 = _mm256_set1_epi8(3);
    const __m256i hmask = load256(b.p + offsetof(BlockQ3_K, hmask)), four = _mm256_set1_epi8(4);
    const auto quarter = [&](int j, __m256i low) HEARTH_INLINE_LAMBDA {
      const __m256i plane = _mm256_and_si256(hmask, _mm256_set1_epi8(char(1 << (4 * s + j))));
      const __m256i minus = _mm256_and_si256(_mm256_cmpeq_epi8(plane, _mm256_setzero_si256()), four);
      emit_scaled16(_mm256_sub_epi8(_mm256_and_si256(low, low2), minus), 4 * j, b.scale + 8 * s + 2 * j, sink);
    };
    quarter(0, qs);
    quarter(1, _mm256_srli_epi16(qs, 2));
    quarter(2, _mm256_srli_epi16(qs, 4));
    quarter(3, _mm256_srli_epi16(qs, 6));
  }
};

struct DecodeQ2_K {
  static constexpr int kBlock = 256, kBytes = sizeof(BlockQ2_K), kStep = 128;
  struct Block {
    const uint8_t* p;
    alignas(32) float scale[16], min[16];
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      const __m256 d = _mm256_mul_ps(half_to_floats(p + offsetof(BlockQ2_K, d)), _mm256_set1_ps(kTop));
      const __m256 dmin = half_to_floats(p + offsetof(BlockQ2_K, dmin));
      const __m128i packed = load128(p + offsetof(BlockQ2_K, scales)), low4 = _mm_set1_epi8(15);
      const __m128i s = _mm_and_si128(packed, low4), m = _mm_and_si128(_mm_srli_epi16(packed, 4), low4);
      _mm256_store_ps(scale, _mm256_mul_ps(d, bytes_to_floats(s)));
      _mm256_store_ps(scale + 8, _mm256_mul_ps(d, bytes_to_floats(_mm_unpackhi_epi64(s, s))));
      _mm256_store_ps(min, _mm256_mul_ps(dmin, bytes_to_floats(m)));
      _mm256_store_ps(min + 8, _mm256_mul_ps(dmin, bytes_to_floats(_mm_unpackhi_epi64(m, m))));
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    const __m256i qs = load256(b.p + offsetof(BlockQ2_K, qs) + 32 * s), low2 = _mm256_set1_epi8(3);
    const auto quarter = [&](int j, __m256i low) HEARTH_INLINE_LAMBDA {
      const float *scale = b.scale + 8 * s + 2 * j, *min = b.min + 8 * s + 2 * j;
      emit(
          _mm256_and_si256(low, low2), 4 * j,
          [&](int half, __m256 v) HEARTH_INLINE_LAMBDA {
            return _mm256_fmsub_ps(_mm256_broadcast_ss(scale + half), v, _mm256_broadcast_ss(min + half));
          },
          sink);
    };
    quarter(0, qs);
    quarter(1, _mm256_srli_epi16(qs, 2));
    quarter(2, _mm256_srli_epi16(qs, 4));
    quarter(3, _mm256_srli_epi16(qs, 6));
  }
};

// ---- blocks of 128

// e4m3 -> fp16 with the same bits three places up, which is the value / 256 (exponent bias 15 against 7) with its
// subnormals; the conversion to float takes care of those at full speed. 256 goes into the scale.
struct DecodeF8_E4M3 {
  static constexpr int kBlock = 128, kBytes = sizeof(BlockF8_E4M3), kStep = 32;
  struct Block {
    const uint8_t* p;
    __m256 d;
    HEARTH_INLINE explicit Block(const uint8_t* p) : p(p) {
      float scale;
      memcpy(&scale, p, 4);
      d = _mm256_set1_ps(scale * 256.0f);
    }
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int s, const Sink& sink) {
    for (int half = 0; half < 2; ++half) {
      const __m256i q = _mm256_cvtepu8_epi16(load128(b.p + offsetof(BlockF8_E4M3, qs) + 32 * s + 16 * half));
      const __m256i body = _mm256_and_si256(q, _mm256_set1_epi16(0x7f));
      const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(q, _mm256_set1_epi16(0x80)), 8);
      const __m256i nan = _mm256_cmpeq_epi16(body, _mm256_set1_epi16(0x7f));
      const __m256i fp16 = _mm256_or_si256(_mm256_or_si256(sign, _mm256_slli_epi16(body, 7)), nan);
      sink(2 * half, _mm256_mul_ps(b.d, _mm256_cvtph_ps(_mm256_castsi256_si128(fp16))));
      sink(2 * half + 1, _mm256_mul_ps(b.d, _mm256_cvtph_ps(_mm256_extracti128_si256(fp16, 1))));
    }
  }
};

struct DecodeI4_G128 {  // a nibble at the top of a byte has its sign in place: q * 16
  static constexpr int kBlock = 128, kBytes = sizeof(BlockI4_G128), kStep = 128;
  struct Block {
    const uint8_t* p;
    __m256 d;
    HEARTH_INLINE explicit Block(const uint8_t* p)
        : p(p), d(_mm256_mul_ps(half_to_floats(p), _mm256_set1_ps(kTop / 16))) {}
  };
  template <class Sink>
  HEARTH_INLINE static void step(const Block& b, int, const Sink& sink) {
    const uint8_t* qs = b.p + offsetof(BlockI4_G128, qs);
    const auto scaled = [&](int first) HEARTH_INLINE_LAMBDA {
      return [&b, &sink, first](int i, __m256 v) HEARTH_INLINE_LAMBDA { sink(first + i, _mm256_mul_ps(b.d, v)); };
    };
    for (int i = 0; i < 4; ++i) {
      const __m256i packed = _mm256_broadcastsi128_si256(load128(qs + 16 * i));
      spread_signed(_mm256_and_si256(_mm256_slli_epi16(packed, 4), _mm256_set1_epi8(char(0xf0))), scaled(2 * i));
    }
    for (int i = 0; i < 4; ++i) spread_signed(high_nibbles(qs + 16 * i), scaled(8 + 2 * i));
  }
};

}  // namespace
}  // namespace hearth
