// The decoders of all formats, for the kernels that multiply.
//
// The bits are drawn in quant/blocks.h, and quant/decode.h is the definition that tests/kernels/cuda_decode_test.cpp
// compares with. A format is named by its block type; the three plain float formats have one here, of one weight, so
// that all formats read alike. Blocks lie in memory as ggml wrote them: many are aligned to 2 bytes only.
//
// Decoded is a unit: 32 weights of an integer format as signed bytes and scales, for dp4a, in the two halves in which
// the format packs them; or 8 floats. Bytes are spread by masks and byte permutations, four weights at a time. (The
// tile kernels decode longer runs, to bf16: weight_run.cuh.)
#pragma once

#include "kernels/cuda/device.h"
#include "quant/decode.h"
#include "quant/format.h"

namespace hearth::gpu {

struct BlockF32 {
  static constexpr int kElems = 1;
  float value;
};
struct BlockF16 {
  static constexpr int kElems = 1;
  uint16_t value;
};
struct BlockBF16 {
  static constexpr int kElems = 1;
  uint16_t value;
};

GPU_FN float weight_of(const BlockF32& b) {
  return b.value;
}
GPU_FN float weight_of(const BlockF16& b) {
  return half_to_float(b.value);
}
GPU_FN float weight_of(const BlockBF16& b) {
  return bf16_bits_to_float(b.value);
}

// Calls f.template operator()<Block>() for the block type of a format.
template <class F>
void with_block(FormatId id, F&& f) {
  switch (id) {
    case FormatId::f32:
      return f.template operator()<BlockF32>();
    case FormatId::f16:
      return f.template operator()<BlockF16>();
    case FormatId::bf16:
      return f.template operator()<BlockBF16>();
    case FormatId::q8_0:
      return f.template operator()<BlockQ8_0>();
    case FormatId::q4_0:
      return f.template operator()<BlockQ4_0>();
    case FormatId::q4_1:
      return f.template operator()<BlockQ4_1>();
    case FormatId::q5_0:
      return f.template operator()<BlockQ5_0>();
    case FormatId::q5_1:
      return f.template operator()<BlockQ5_1>();
    case FormatId::q2_k:
      return f.template operator()<BlockQ2_K>();
    case FormatId::q3_k:
      return f.template operator()<BlockQ3_K>();
    case FormatId::q4_k:
      return f.template operator()<BlockQ4_K>();
    case FormatId::q5_k:
      return f.template operator()<BlockQ5_K>();
    case FormatId::q6_k:
      return f.template operator()<BlockQ6_K>();
    case FormatId::iq4_nl:
      return f.template operator()<BlockIQ4_NL>();
    case FormatId::iq4_xs:
      return f.template operator()<BlockIQ4_XS>();
    case FormatId::f8_e4m3:
      return f.template operator()<BlockF8_E4M3>();
    case FormatId::i4_g128:
      return f.template operator()<BlockI4_G128>();
  }
}

// ---- For the vector kernels: units, what a lane takes at a time

// n words that start at p, of which is known that its address is a multiple of kAlign (2, 4, 8 or 16). Where that is 2,
// up to 3 bytes before p and 4 bytes behind the words are read as well: memory that a kernel staged, not a file's.
template <int kAlign, int n>
GPU_FN void load_words(const std::byte* p, uint32_t (&words)[n]) {
  if constexpr (kAlign >= 16 && n % 4 == 0) {
    GPU_UNROLL
    for (int i = 0; i < n; i += 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(p + 4 * i);
      words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
    }
  } else if constexpr (kAlign >= 8 && n % 2 == 0) {
    GPU_UNROLL
    for (int i = 0; i < n; i += 2) {
      const uint2 v = *reinterpret_cast<const uint2*>(p + 4 * i);
      words[i] = v.x, words[i + 1] = v.y;
    }
  } else if constexpr (kAlign >= 4) {
    GPU_UNROLL
    for (int i = 0; i < n; ++i) words[i] = reinterpret_cast<const uint32_t*>(p)[i];
  } else {
    const size_t odd = reinterpret_cast<size_t>(p) & 2;
    const auto* aligned = reinterpret_cast<const uint32_t*>(p - odd);
    const uint32_t selector = odd ? 0x5432 : 0x3210;
    uint32_t low = aligned[0];
    GPU_UNROLL
    for (int i = 0; i < n; ++i) {
      const uint32_t high = aligned[i + 1];
      words[i] = byte_permute(low, high, selector);
      low = high;
    }
  }
}

GPU_FN float load_half(const std::byte* p) {
  return half_to_float(*reinterpret_cast<const uint16_t*>(p));
}
GPU_FN int load_byte(const std::byte* p) {
  return int(*reinterpret_cast<const uint8_t*>(p));
}

// 32 weights of an integer format, in two halves of 16 in which they are consecutive: weight 16 h + i of the unit is
//   scale[h] * q - min[h]   or, where the format has an offset instead,   scale[h] * (q - offset),
// q being byte i % 4 of q[4 h + i / 4], signed.
struct ByteUnit {
  uint32_t q[8];
  float scale[2], min[2];
};

// 8 consecutive weights of a float format: scale * w.
struct FloatUnit {
  float w[8];
  float scale;
};

// q of a nibble format: the low nibbles are the first half's.
GPU_FN void split_nibbles(const uint32_t (&words)[4], uint32_t (&q)[8]) {
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    q[i] = words[i] & 0x0f0f0f0fu;
    q[4 + i] = words[i] >> 4 & 0x0f0f0f0fu;
  }
}

// Bits 0 to 31 of `bits` become bit 4 of the 32 bytes.
GPU_FN void add_fifth_bits(uint32_t bits, uint32_t (&q)[8]) {
  GPU_UNROLL
  for (int i = 0; i < 8; ++i) q[i] |= (bits >> 4 * i & 15) * 0x02040810u & 0x10101010u;  // four products, side by side
}

// IQ4's level of each nibble, as signed bytes. A byte permutation looks up four nibbles among eight levels: once
// among the lower eight, once among the upper, and a third one chooses by the nibbles' top bits.
GPU_FN uint32_t iq4_of_four_nibbles(uint32_t nibbles) {
  // kIq4Values of quant/decode.h: -127 -104 -83 -65 | -49 -35 -22 -10 | 1 13 25 38 | 53 69 89 113
  const uint32_t low = byte_permute(0xbfad9881u, 0xf6eaddcfu, nibbles & 0x7777);
  const uint32_t high = byte_permute(0x26190d01u, 0x71594535u, nibbles & 0x7777);
  return byte_permute(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
}
GPU_FN void look_up_iq4(const uint32_t (&words)[4], uint32_t (&q)[8]) {
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t a = iq4_of_four_nibbles(words[i]), b = iq4_of_four_nibbles(words[i] >> 16);
    q[i] = byte_permute(a, b, 0x6420);
    q[4 + i] = byte_permute(a, b, 0x7531);
  }
}

// Scales and minima of groups 2 p and 2 p + 1 of Q4_K and Q5_K, the block's first 16 bytes being header.
GPU_FN void unpack_scales_mins(const uint32_t (&header)[4], unsigned p, ByteUnit& unit) {
  const unsigned shift = 16 * (p & 1);
  const uint32_t a = header[1] >> shift, b = header[2] >> shift, c = header[3] >> shift;
  const uint32_t scales = p < 2 ? a & 0x3f3f : (c & 0x0f0f) | (a >> 2 & 0x3030);
  const uint32_t mins = p < 2 ? b & 0x3f3f : (c >> 4 & 0x0f0f) | (b >> 2 & 0x3030);
  const float d = half_to_float(uint16_t(header[0])), dmin = half_to_float(uint16_t(header[0] >> 16));
  unit.scale[0] = d * float(scales & 63);
  unit.scale[1] = d * float(scales >> 8 & 63);
  unit.min[0] = dmin * float(mins & 63);
  unit.min[1] = dmin * float(mins >> 8 & 63);
}

// Unit<Block>: how a block divides into units. first(u) and first(u) + kDistance: where the halves of unit u start;
// load(block, u, unit): the unit, from a block as aligned as its format lets it be.
template <class Block>
struct Unit;

enum class Zero { none, offset, min };  // what is subtracted from q

struct ByteUnits {
  static constexpr int kWeights = 32, kOffset = 0, kDistance = 16;
  static constexpr Zero kZero = Zero::none;
  GPU_FN static unsigned first(unsigned u) { return 32 * u; }
  GPU_FN static void set_scale(ByteUnit& unit, float scale) { unit.scale[0] = unit.scale[1] = scale; }
  GPU_FN static void set_min(ByteUnit& unit, float min) { unit.min[0] = unit.min[1] = min; }
};

template <>
struct Unit<BlockQ8_0> : ByteUnits {
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    load_words<2>(block + 2, unit.q);
    set_scale(unit, load_half(block));
  }
};

template <>
struct Unit<BlockQ4_0> : ByteUnits {
  static constexpr Zero kZero = Zero::offset;
  static constexpr int kOffset = 8;
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    uint32_t words[4];
    load_words<2>(block + 2, words);
    split_nibbles(words, unit.q);
    set_scale(unit, load_half(block));
  }
};

template <>
struct Unit<BlockQ4_1> : ByteUnits {
  static constexpr Zero kZero = Zero::min;
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    uint32_t words[4];
    load_words<4>(block + 4, words);
    split_nibbles(words, unit.q);
    set_scale(unit, load_half(block));
    set_min(unit, -load_half(block + 2));
  }
};

template <>
struct Unit<BlockQ5_0> : ByteUnits {
  static constexpr Zero kZero = Zero::offset;
  static constexpr int kOffset = 16;
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    uint32_t all[5], words[4];
    load_words<2>(block + 2, all);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) words[i] = all[1 + i];
    split_nibbles(words, unit.q);
    add_fifth_bits(all[0], unit.q);
    set_scale(unit, load_half(block));
  }
};

template <>
struct Unit<BlockQ5_1> : ByteUnits {
  static constexpr Zero kZero = Zero::min;
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    uint32_t header[2], words[4];
    load_words<8>(block, header);
    load_words<8>(block + 8, words);
    split_nibbles(words, unit.q);
    add_fifth_bits(header[1], unit.q);
    set_scale(unit, half_to_float(uint16_t(header[0])));
    set_min(unit, -half_to_float(uint16_t(header[0] >> 16)));
  }
};

template <>
struct Unit<BlockIQ4_NL> : ByteUnits {
  GPU_FN static void load(const std::byte* block, unsigned, ByteUnit& unit) {
    uint32_t words[4];
    load_words<2>(block + 2, words);
    look_up_iq4(words, unit.q);
    set_scale(unit, load_half(block));
  }
};

template <>
struct Unit<BlockI4_G128> : ByteUnits {
  static constexpr Zero kZero = Zero::offset;
  static constexpr int kOffset = 8, kDistance = 64;
  GPU_FN static unsigned first(unsigned u) { return 16 * u; }
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    uint32_t words[4];
    load_words<2>(block + 2 + 16 * u, words);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) words[i] ^= 0x88888888u;  // two's complement, plus 8
    split_nibbles(words, unit.q);
    set_scale(unit, load_half(block));
  }
};

// The 256-blocks have 8 units. Those of the two-bit planes: u = 4 n + 2 p + s is, of half n of the block, quarters 2 p
// and 2 p + 1, there the first or last 16 weights (s).
struct TwoBitUnits : ByteUnits {
  static constexpr int kDistance = 32;
  GPU_FN static unsigned first(unsigned u) { return 128 * (u / 4) + 64 * (u / 2 % 2) + 16 * (u % 2); }
};

template <>
struct Unit<BlockQ2_K> : TwoBitUnits {
  static constexpr Zero kZero = Zero::min;
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    const unsigned n = u / 4, p = u / 2 % 2, s = u % 2;
    uint32_t words[4];
    load_words<4>(block + 16 + 32 * n + 16 * s, words);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      unit.q[i] = words[i] >> 4 * p & 0x03030303u;
      unit.q[4 + i] = words[i] >> (4 * p + 2) & 0x03030303u;
    }
    const float d = load_half(block + 80), dmin = load_half(block + 82);
    GPU_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int scale_min = load_byte(block + 8 * n + 4 * p + 2 * h + s);
      unit.scale[h] = d * float(scale_min & 15);
      unit.min[h] = dmin * float(scale_min >> 4);
    }
  }
};

template <>
struct Unit<BlockQ3_K> : TwoBitUnits {
  static constexpr Zero kZero = Zero::offset;
  static constexpr int kOffset = 4;
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    const unsigned n = u / 4, p = u / 2 % 2, s = u % 2;
    uint32_t words[4], masks[4];
    load_words<2>(block + 32 + 32 * n + 16 * s, words);
    load_words<2>(block + 16 * s, masks);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t planes = masks[i] >> (4 * n + 2 * p);
      unit.q[i] = (words[i] >> 4 * p & 0x03030303u) | (planes & 0x01010101u) << 2;
      unit.q[4 + i] = (words[i] >> (4 * p + 2) & 0x03030303u) | (planes & 0x02020202u) << 1;
    }
    const std::byte* scales = block + 96;
    const float d = load_half(block + 108);
    GPU_UNROLL
    for (int h = 0; h < 2; ++h) {  // group k = 8 n + 4 p + 2 h + s
      const int low = load_byte(scales + 4 * p + 2 * h + s) >> 4 * n & 15;
      const int high = load_byte(scales + 8 + 2 * h + s) >> (4 * n + 2 * p) & 3;
      unit.scale[h] = d * float((low | high << 4) - 32);
    }
  }
};

// u = 2 p + s: groups 2 p and 2 p + 1, which share bytes, there the first or last 16 weights.
struct PairUnits : ByteUnits {
  static constexpr Zero kZero = Zero::min;
  static constexpr int kDistance = 32;
  GPU_FN static unsigned first(unsigned u) { return 64 * (u / 2) + 16 * (u % 2); }
};

template <>
struct Unit<BlockQ4_K> : PairUnits {
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    uint32_t header[4], words[4];
    load_words<16>(block, header);
    load_words<16>(block + 16 + 16 * u, words);
    split_nibbles(words, unit.q);
    unpack_scales_mins(header, u / 2, unit);
  }
};

template <>
struct Unit<BlockQ5_K> : PairUnits {
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    uint32_t header[4], high[4], words[4];
    load_words<16>(block, header);
    load_words<16>(block + 16 + 16 * (u % 2), high);
    load_words<16>(block + 48 + 16 * u, words);
    split_nibbles(words, unit.q);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t planes = high[i] >> 2 * (u / 2);
      unit.q[i] |= (planes & 0x01010101u) << 4;
      unit.q[4 + i] |= (planes & 0x02020202u) << 3;
    }
    unpack_scales_mins(header, u / 2, unit);
  }
};

// u = 4 n + 2 j + s: of half n, quarters j and j + 2, there the first or last 16 weights.
template <>
struct Unit<BlockQ6_K> : ByteUnits {
  static constexpr Zero kZero = Zero::offset;
  static constexpr int kOffset = 32, kDistance = 64;
  GPU_FN static unsigned first(unsigned u) { return 128 * (u / 4) + 16 * (u % 4); }
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    const unsigned n = u / 4, j = u / 2 % 2, s = u % 2;
    uint32_t words[4], high[4];
    load_words<2>(block + 16 * u, words);
    load_words<2>(block + 128 + 32 * n + 16 * s, high);
    split_nibbles(words, unit.q);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t planes = high[i] >> 2 * j;
      unit.q[i] |= (planes & 0x03030303u) << 4;
      unit.q[4 + i] |= planes & 0x30303030u;
    }
    const float d = load_half(block + 208);
    unit.scale[0] = d * float(int8_t(load_byte(block + 192 + 8 * n + 2 * j + s)));
    unit.scale[1] = d * float(int8_t(load_byte(block + 196 + 8 * n + 2 * j + s)));
  }
};

template <>
struct Unit<BlockIQ4_XS> : ByteUnits {
  GPU_FN static void load(const std::byte* block, unsigned u, ByteUnit& unit) {
    uint32_t header[2], words[4];
    load_words<8>(block, header);
    load_words<8>(block + 8 + 16 * u, words);
    look_up_iq4(words, unit.q);
    const int low = int(header[1] >> 4 * u & 15), high = int(header[0] >> (16 + 2 * u) & 3);
    set_scale(unit, half_to_float(uint16_t(header[0])) * float((low | high << 4) - 32));
  }
};

// e4m3 is fp16 without its lowest bits and with a bias that is 8 less: shifted into fp16's places it is the number
// times 2^-8, subnormals included. Only NaN, which is all ones in e4m3, has to be looked for.
template <>
struct Unit<BlockF8_E4M3> {
  static constexpr int kWeights = 8;
  GPU_FN static unsigned first(unsigned u) { return 8 * u; }
  GPU_FN static void load(const std::byte* block, unsigned u, FloatUnit& unit, int) {
    uint32_t words[2];
    load_words<4>(block + 4 + 8 * u, words);
    uint32_t nan = 0;
    GPU_UNROLL
    for (int i = 0; i < 2; ++i) {
      const uint32_t even = (words[i] << 8 & 0x80008000u) | (words[i] << 7 & 0x3f803f80u);
      const uint32_t odd = (words[i] & 0x80008000u) | (words[i] >> 1 & 0x3f803f80u);
      unit.w[4 * i] = half_to_float(uint16_t(even));
      unit.w[4 * i + 1] = half_to_float(uint16_t(odd));
      unit.w[4 * i + 2] = half_to_float(uint16_t(even >> 16));
      unit.w[4 * i + 3] = half_to_float(uint16_t(odd >> 16));
      nan |= (words[i] & 0x7f7f7f7fu) + 0x01010101u;
    }
    unit.scale = *reinterpret_cast<const float*>(block) * 256;
    if (nan & 0x80808080u) unit.scale = float_from_bits(0x7fc00000u);
  }
};

// The plain formats: a "block" is one weight, so a unit begins `8 u` of them on; weights from `valid` on are zeros.
struct PlainUnits {
  static constexpr int kWeights = 8;
  GPU_FN static unsigned first(unsigned u) { return 8 * u; }
  GPU_FN static void load_16_bits(const std::byte* at, uint32_t (&words)[4]) {
    if (reinterpret_cast<size_t>(at) % 16 == 0) {
      load_words<16>(at, words);
    } else {
      load_words<2>(at, words);
    }
  }
  GPU_FN static void cut(FloatUnit& unit, int valid) {
    if (valid < 8) {
      GPU_UNROLL
      for (int i = 0; i < 8; ++i) unit.w[i] = i < valid ? unit.w[i] : 0.0f;
    }
  }
};

template <>
struct Unit<BlockF32> : PlainUnits {
  GPU_FN static void load(const std::byte* row, unsigned u, FloatUnit& unit, int valid) {
    uint32_t words[8];
    if (reinterpret_cast<size_t>(row) % 16 == 0) {
      load_words<16>(row + 32 * u, words);
    } else {
      load_words<4>(row + 32 * u, words);
    }
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) unit.w[i] = float_from_bits(words[i]);
    unit.scale = 1;
    cut(unit, valid);
  }
};

template <>
struct Unit<BlockF16> : PlainUnits {
  GPU_FN static void load(const std::byte* row, unsigned u, FloatUnit& unit, int valid) {
    uint32_t words[4];
    load_16_bits(row + 16 * u, words);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      unit.w[2 * i] = half_to_float(uint16_t(words[i]));
      unit.w[2 * i + 1] = half_to_float(uint16_t(words[i] >> 16));
    }
    unit.scale = 1;
    cut(unit, valid);
  }
};

template <>
struct Unit<BlockBF16> : PlainUnits {
  GPU_FN static void load(const std::byte* row, unsigned u, FloatUnit& unit, int valid) {
    uint32_t words[4];
    load_16_bits(row + 16 * u, words);
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      unit.w[2 * i] = float_from_bits(words[i] << 16);
      unit.w[2 * i + 1] = float_from_bits(words[i] & 0xffff0000u);
    }
    unit.scale = 1;
    cut(unit, valid);
  }
};

}  // namespace hearth::gpu
