// decode(block, i): weight i of a block, the definition of each format. decode_block(block, out): all of it at once,
// with the group scales unpacked once; the same bits. Formats with a header before the blocks of a row have
// decode(header, block, i) instead. decode_row and weight_of_row take rows of either kind. Host and device.
//
// The products are exact in float32 (fp16 d: 11 bits, times a scale of at most 8, times a level of at most 7, signs
// apart: 24 bits), so only the last subtraction rounds, and a compiler that contracts it to an FMA changes nothing.
// (Where the header of a row is a float, both products round: decode_iqk.h. Nothing is subtracted there.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/blocks.h"
#include "quant/decode_iqk.h"
#include "quant/fp.h"

namespace hearth {

// IQ4's 16 levels. A function, since device code cannot read a host array; nor should it copy one to each thread's
// memory, so there they are the bytes of two words.
HEARTH_HD constexpr float iq4_value(int q) {
#ifdef __CUDA_ARCH__
  return float(int8_t((q < 8 ? 0xf6eaddcfbfad9881u : 0x7159453526190d01u) >> 8 * (q & 7)));
#else
  constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return float(kIq4Values[q]);
#endif
}

// ---- 32 weights

// q of weight i from nibbles in halves of `half` bytes.
HEARTH_HD inline int nibble(const uint8_t* qs, int i, int half) {
  return i < half ? qs[i] & 15 : qs[i - half] >> 4;
}
HEARTH_HD inline int bit(const uint8_t* bytes, int i) {
  return bytes[i / 8] >> (i % 8) & 1;
}

HEARTH_HD inline float decode(const BlockQ4_0& b, int i) {
  return fp16_to_float(b.d) * float(nibble(b.qs, i, 16) - 8);
}
HEARTH_HD inline float decode(const BlockQ4_1& b, int i) {
  return fp16_to_float(b.d) * float(nibble(b.qs, i, 16)) + fp16_to_float(b.m);
}
HEARTH_HD inline float decode(const BlockQ5_0& b, int i) {
  return fp16_to_float(b.d) * float((nibble(b.qs, i, 16) | bit(b.qh, i) << 4) - 16);
}
HEARTH_HD inline float decode(const BlockQ5_1& b, int i) {
  return fp16_to_float(b.d) * float(nibble(b.qs, i, 16) | bit(b.qh, i) << 4) + fp16_to_float(b.m);
}
HEARTH_HD inline float decode(const BlockQ8_0& b, int i) {
  return fp16_to_float(b.d) * float(b.qs[i]);
}
HEARTH_HD inline float decode(const BlockIQ4_NL& b, int i) {
  return fp16_to_float(b.d) * iq4_value(nibble(b.qs, i, 16));
}
// Half of e8m0's 2^(e - 127): below the smallest normal number, 2^-126, a subnormal one.
HEARTH_HD inline float half_of_e8m0(uint8_t e) {
  return float_from_bits(e < 2 ? 0x00200000u << e : uint32_t(e - 1) << 23);
}
HEARTH_HD inline float decode(const BlockMXFP4& b, int i) {
  return half_of_e8m0(b.e) * float(level_tables::at<level_tables::E2m1>(nibble(b.qs, i, 16)));
}

// ---- 64 weights

// Half of a scale of NVFP4.
HEARTH_HD inline float half_of_ue4m3(uint8_t code) {
  if (code == 0x7f) return 0;
  const uint32_t body = code & 0x7f;
  return body < 8 ? float(body) * 0x1p-10f : float_from_bits((body << 20) + (uint32_t(127 - 8) << 23));
}
HEARTH_HD inline float decode(const BlockNVFP4& b, int i) {
  return half_of_ue4m3(b.d[i / 16]) * float(level_tables::at<level_tables::E2m1>(nibble(b.qs + i / 16 * 8, i % 16, 8)));
}

// ---- 128 weights

HEARTH_HD inline float decode(const BlockF8_E4M3& b, int i) {
  return b.d * e4m3_to_float(b.qs[i]);
}
HEARTH_HD inline float decode(const BlockI4_G128& b, int i) {
  return fp16_to_float(b.d) * float((nibble(b.qs, i, 64) ^ 8) - 8);  // two's complement: 8..15 are -8..-1
}

// ---- 256 weights: first the group's scale and min, and q, then the value

struct ScaleMin {
  int scale, min;
};

// Group g = i / 32 of Q4_K and Q5_K.
HEARTH_HD inline ScaleMin group_scale_min(const uint8_t* scales, int g) {
  if (g < 4) return {scales[g] & 63, scales[g + 4] & 63};
  return {(scales[g + 4] & 15) | scales[g - 4] >> 6 << 4, scales[g + 4] >> 4 | scales[g] >> 6 << 4};
}

// Group k = i / 16 of Q3_K.
HEARTH_HD inline int group_scale(const BlockQ3_K& b, int k) {
  const int low = k < 8 ? b.scales[k] & 15 : b.scales[k - 8] >> 4;
  const int high = b.scales[8 + k % 4] >> 2 * (k / 4) & 3;
  return (low | high << 4) - 32;
}

// Group g = i / 32 of IQ4_XS.
HEARTH_HD inline int group_scale(const BlockIQ4_XS& b, int g) {
  return ((b.scales_l[g / 2] >> 4 * (g % 2) & 15) | (b.scales_h >> 2 * g & 3) << 4) - 32;
}

HEARTH_HD inline int level(const BlockQ2_K& b, int i) {
  return b.qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
}
HEARTH_HD inline int level(const BlockTQ1_0& b, int i) {
  const int at = i < 160 ? i % 32 : i < 240 ? 32 + i % 16 : 48 + i % 4;  // qs and qh are neighbours
  const int digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
  const int power = digit == 0 ? 1 : digit == 1 ? 3 : digit == 2 ? 9 : digit == 3 ? 27 : 81;
  const int byte = at < 48 ? b.qs[at] : b.qh[at - 48];
  return ((byte * power & 255) * 3 >> 8) - 1;
}
HEARTH_HD inline int level(const BlockTQ2_0& b, int i) {
  return (b.qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3) - 1;
}
HEARTH_HD inline int level(const BlockQ3_K& b, int i) {
  return (b.qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3) - (b.hmask[i % 32] >> i / 32 & 1 ? 0 : 4);
}
HEARTH_HD inline int level(const BlockQ4_K& b, int i) {
  return b.qs[i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15;
}
HEARTH_HD inline int level(const BlockQ5_K& b, int i) {
  return (b.qs[i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15) | (b.qh[i % 32] >> i / 32 & 1) << 4;
}
HEARTH_HD inline int level(const BlockQ6_K& b, int i) {
  const int low = b.ql[i / 128 * 64 + i % 64] >> 4 * (i % 128 / 64) & 15;
  const int high = b.qh[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
  return (low | high << 4) - 32;
}
HEARTH_HD inline int level(const BlockIQ4_XS& b, int i) {
  return nibble(b.qs + i / 32 * 16, i % 32, 16);
}

HEARTH_HD inline float decode(const BlockQ2_K& b, int i) {
  const int sc = b.scales[i / 16];
  return fp16_to_float(b.d) * float(sc & 15) * float(level(b, i)) - fp16_to_float(b.dmin) * float(sc >> 4);
}
HEARTH_HD inline float decode(const BlockTQ1_0& b, int i) {
  return fp16_to_float(b.d) * float(level(b, i));
}
HEARTH_HD inline float decode(const BlockTQ2_0& b, int i) {
  return fp16_to_float(b.d) * float(level(b, i));
}
HEARTH_HD inline float decode(const BlockQ3_K& b, int i) {
  return fp16_to_float(b.d) * float(group_scale(b, i / 16)) * float(level(b, i));
}
HEARTH_HD inline float decode(const BlockQ4_K& b, int i) {
  const ScaleMin s = group_scale_min(b.scales, i / 32);
  return fp16_to_float(b.d) * float(s.scale) * float(level(b, i)) - fp16_to_float(b.dmin) * float(s.min);
}
HEARTH_HD inline float decode(const BlockQ5_K& b, int i) {
  const ScaleMin s = group_scale_min(b.scales, i / 32);
  return fp16_to_float(b.d) * float(s.scale) * float(level(b, i)) - fp16_to_float(b.dmin) * float(s.min);
}
HEARTH_HD inline float decode(const BlockQ6_K& b, int i) {
  return fp16_to_float(b.d) * float(b.scales[i / 16]) * float(level(b, i));
}
HEARTH_HD inline float decode(const BlockIQ4_XS& b, int i) {
  return fp16_to_float(b.d) * float(group_scale(b, i / 32)) * iq4_value(level(b, i));
}

// ---- 256 weights from codebooks: of the m-th eight weights (or four, in IQ3: `four`) the index; the signs, a bit
// each; the integer scale

HEARTH_HD inline uint32_t word_at(const uint8_t* bytes) {
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | uint32_t(bytes[3]) << 24;
}
// Eight signs of which seven are stored.
HEARTH_HD inline uint32_t eight_signs(uint32_t seven) {
  uint32_t parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  return seven | ((parity ^ parity >> 1) & 1) << 7;
}
// The words of IQ2_XXS and IQ3_XXS.
HEARTH_HD inline uint32_t signs_of_word(uint32_t word, int m) {
  return eight_signs(word >> 7 * (m % 4) & 127);
}
HEARTH_HD inline int scale_of_word(uint32_t word) {
  return 2 * int(word >> 28) + 1;
}
HEARTH_HD inline int odd_scale(const uint8_t* nibbles, int k) {
  return 2 * (nibbles[k / 2] >> 4 * (k % 2) & 15) + 1;
}

HEARTH_HD inline int index_at(const BlockIQ2_XXS& b, int m) {
  return b.qs[m / 4 * 8 + m % 4];
}
HEARTH_HD inline uint32_t signs_at(const BlockIQ2_XXS& b, int m) {
  return signs_of_word(word_at(b.qs + m / 4 * 8 + 4), m);
}
HEARTH_HD inline int scale_at(const BlockIQ2_XXS& b, int m) {
  return scale_of_word(word_at(b.qs + m / 4 * 8 + 4));
}
HEARTH_HD inline int index_at(const BlockIQ2_XS& b, int m) {
  return b.qs[m] & 511;
}
HEARTH_HD inline uint32_t signs_at(const BlockIQ2_XS& b, int m) {
  return eight_signs(b.qs[m] >> 9);
}
HEARTH_HD inline int scale_at(const BlockIQ2_XS& b, int m) {
  return odd_scale(b.scales, m / 2);
}
HEARTH_HD inline int index_at(const BlockIQ2_S& b, int m) {
  return b.qs[m] | (b.qh[m / 4] >> 2 * (m % 4) & 3) << 8;
}
HEARTH_HD inline uint32_t signs_at(const BlockIQ2_S& b, int m) {
  return b.signs[m];
}
HEARTH_HD inline int scale_at(const BlockIQ2_S& b, int m) {
  return odd_scale(b.scales, m / 2);
}
HEARTH_HD inline int index_at(const BlockIQ3_XXS& b, int four) {
  return b.qs[four];
}
HEARTH_HD inline uint32_t signs_at(const BlockIQ3_XXS& b, int m) {
  return signs_of_word(word_at(b.words + m / 4 * 4), m);
}
HEARTH_HD inline int scale_at(const BlockIQ3_XXS& b, int m) {
  return scale_of_word(word_at(b.words + m / 4 * 4));
}
HEARTH_HD inline int index_at(const BlockIQ3_S& b, int four) {
  return b.qs[four] | bit(b.qh, four) << 8;
}
HEARTH_HD inline uint32_t signs_at(const BlockIQ3_S& b, int m) {
  return b.signs[m];
}
HEARTH_HD inline int scale_at(const BlockIQ3_S& b, int m) {
  return odd_scale(b.scales, m / 4);
}
HEARTH_HD inline int index_at(const BlockIQ1_S& b, int m) {
  return b.qs[m] | (b.qh[m / 4] >> 3 * (m % 4) & 7) << 8;
}
HEARTH_HD inline int scale_at(const BlockIQ1_S& b, int m) {
  return 2 * (b.qh[m / 4] >> 12 & 7) + 1;
}
HEARTH_HD inline int shift_at(const BlockIQ1_S& b, int m) {  // in eighths, as the levels
  return b.qh[m / 4] >> 15 ? -1 : 1;
}
HEARTH_HD inline int index_at(const BlockIQ1_M& b, int m) {
  return b.qs[m] | (b.qh[m / 2] >> 4 * (m % 2) & 7) << 8;
}
HEARTH_HD inline int scale_at(const BlockIQ1_M& b, int m) {
  return 2 * (b.scales[m / 8] >> 3 * (m / 2 % 4) & 7) + 1;
}
HEARTH_HD inline int shift_at(const BlockIQ1_M& b, int m) {
  return b.qh[m / 2] >> 4 * (m % 2) & 8 ? -1 : 1;
}
HEARTH_HD inline uint16_t half_d(const BlockIQ1_M& b) {
  return uint16_t(b.scales[0] >> 12 | (b.scales[1] >> 8 & 0xf0) | (b.scales[2] >> 4 & 0xf00) | (b.scales[3] & 0xf000));
}

template <class Block>
HEARTH_HD inline uint16_t half_d(const Block& b) {
  return b.d;
}

// The level of weight i, with its sign or its shift.
template <class Block>
HEARTH_HD inline int level_from_codebook(const Block& b, int i) {
  using Book = typename Block::Book;
  const int level = codebook::coordinate<Book>(index_at(b, i / Book::kCoords), i % Book::kCoords);
  if constexpr (Book::kShifted) {
    return level + shift_at(b, i / 8);
  } else {
    return signs_at(b, i / 8) >> i % 8 & 1 ? -level : level;
  }
}

template <class Block>
requires requires {
  typename Block::Book;
}
HEARTH_HD inline float decode(const Block& b, int i) {
  return fp16_to_float(half_d(b)) * (1.0f / Block::kUnits) * float(scale_at(b, i / 8)) *
         float(level_from_codebook(b, i));
}

// ---- Whole blocks

template <class Block>
HEARTH_HD inline void decode_block(const Block& b, float* out) {
  for (int i = 0; i < Block::kElems; ++i) out[i] = decode(b, i);
}
template <class Block>
HEARTH_HD inline void decode_block(const typename Block::Header& header, const Block& b, float* out) {
  for (int i = 0; i < Block::kElems; ++i) out[i] = decode(header, b, i);
}

template <class Block>
requires requires {
  typename Block::Levels;
}
HEARTH_HD inline void decode_block(const Block& b, float* out) {
  decode_block_in_units(fp16_to_float(b.d), b, out);
}
template <class Block>
requires requires {
  typename Block::Levels;
}
HEARTH_HD inline void decode_block(const typename Block::Header& header, const Block& b, float* out) {
  decode_block_in_units(unit_of(header), b, out);
}

HEARTH_HD inline void decode_block(const BlockQ2_K& b, float* out) {
  const float d = fp16_to_float(b.d), dmin = fp16_to_float(b.dmin);
  for (int k = 0; k < 16; ++k) {
    const float scale = d * float(b.scales[k] & 15), min = dmin * float(b.scales[k] >> 4);
    const uint8_t* qs = b.qs + k / 8 * 32 + k % 2 * 16;
    const int shift = 2 * (k % 8 / 2);
    for (int l = 0; l < 16; ++l) out[16 * k + l] = scale * float(qs[l] >> shift & 3) - min;
  }
}

HEARTH_HD inline void decode_block(const BlockQ3_K& b, float* out) {
  const float d = fp16_to_float(b.d);
  for (int k = 0; k < 16; ++k) {
    const float step = d * float(group_scale(b, k));
    const uint8_t *qs = b.qs + k / 8 * 32 + k % 2 * 16, *hmask = b.hmask + k % 2 * 16;
    const int shift = 2 * (k % 8 / 2), plane = k / 2;
    for (int l = 0; l < 16; ++l) {
      out[16 * k + l] = step * float((qs[l] >> shift & 3) + 4 * (hmask[l] >> plane & 1) - 4);
    }
  }
}

HEARTH_HD inline void decode_block(const BlockQ4_K& b, float* out) {
  const float d = fp16_to_float(b.d), dmin = fp16_to_float(b.dmin);
  for (int g = 0; g < 8; ++g) {
    const ScaleMin s = group_scale_min(b.scales, g);
    const float scale = d * float(s.scale), min = dmin * float(s.min);
    const uint8_t* qs = b.qs + g / 2 * 32;
    const int shift = 4 * (g % 2);
    for (int l = 0; l < 32; ++l) out[32 * g + l] = scale * float(qs[l] >> shift & 15) - min;
  }
}

HEARTH_HD inline void decode_block(const BlockQ5_K& b, float* out) {
  const float d = fp16_to_float(b.d), dmin = fp16_to_float(b.dmin);
  for (int g = 0; g < 8; ++g) {
    const ScaleMin s = group_scale_min(b.scales, g);
    const float scale = d * float(s.scale), min = dmin * float(s.min);
    const uint8_t* qs = b.qs + g / 2 * 32;
    const int shift = 4 * (g % 2);
    for (int l = 0; l < 32; ++l) {
      out[32 * g + l] = scale * float((qs[l] >> shift & 15) | (b.qh[l] >> g & 1) << 4) - min;
    }
  }
}

HEARTH_HD inline void decode_block(const BlockQ6_K& b, float* out) {
  const float d = fp16_to_float(b.d);
  for (int k = 0; k < 16; ++k) {
    const float step = d * float(b.scales[k]);
    const uint8_t *ql = b.ql + k / 8 * 64 + k % 4 * 16, *qh = b.qh + k / 8 * 32 + k % 2 * 16;
    const int low_shift = 4 * (k % 8 / 4), high_shift = 2 * (k % 8 / 2);
    for (int l = 0; l < 16; ++l) {
      out[16 * k + l] = step * float((ql[l] >> low_shift & 15) + 16 * (qh[l] >> high_shift & 3) - 32);
    }
  }
}

HEARTH_HD inline void decode_block(const BlockIQ4_XS& b, float* out) {
  const float d = fp16_to_float(b.d);
  for (int g = 0; g < 8; ++g) {
    const float step = d * float(group_scale(b, g));
    const uint8_t* qs = b.qs + 16 * g;
    for (int l = 0; l < 16; ++l) {
      out[32 * g + l] = step * iq4_value(qs[l] & 15);
      out[32 * g + 16 + l] = step * iq4_value(qs[l] >> 4);
    }
  }
}

template <class Block>
requires requires {
  typename Block::Book;
}
HEARTH_HD inline void decode_block(const Block& b, float* out) {
  using Book = typename Block::Book;
  const float d = fp16_to_float(half_d(b)) * (1.0f / Block::kUnits);
  for (int m = 0; m < 32; ++m, out += 8) {
    const float step = d * float(scale_at(b, m));
    int levels[8];
    for (int i = 0; i < 8; i += Book::kCoords) {
      const uint32_t point = codebook::point<Book>(index_at(b, (8 * m + i) / Book::kCoords));
      for (int j = 0; j < Book::kCoords; ++j) levels[i + j] = Book::level(int(point >> 4 * j & 15));
    }
    if constexpr (Book::kShifted) {
      const int shift = shift_at(b, m);
      for (int i = 0; i < 8; ++i) out[i] = step * float(levels[i] + shift);
    } else {
      const uint32_t signs = signs_at(b, m);
      for (int i = 0; i < 8; ++i) out[i] = step * float(signs >> i & 1 ? -levels[i] : levels[i]);
    }
  }
}

// ---- Whole rows

template <class Block>
HEARTH_HD inline const typename Block::Header& header_of(const void* row) {
  return *static_cast<const typename Block::Header*>(row);
}
template <class Block>
HEARTH_HD inline const Block* blocks_of(const void* row) {
  return reinterpret_cast<const Block*>(static_cast<const std::byte*>(row) + kHeaderBytes<Block>);
}

// Weight i of a row.
template <class Block, class Index>
HEARTH_HD inline float weight_of_row(const void* row, Index i) {
  const Block& b = blocks_of<Block>(row)[i / Block::kElems];
  if constexpr (kHeaderBytes<Block> != 0) {
    return decode(header_of<Block>(row), b, int(i % Block::kElems));
  } else {
    return decode(b, int(i % Block::kElems));
  }
}

// Format::decode.
template <class Block>
void decode_row(const void* row, float* out, int64_t n) {
  const Block* blocks = blocks_of<Block>(row);
  for (int64_t i = 0; i < n / Block::kElems; ++i, out += Block::kElems) {
    if constexpr (kHeaderBytes<Block> != 0) {
      decode_block(header_of<Block>(row), blocks[i], out);
    } else {
      decode_block(blocks[i], out);
    }
  }
}

}  // namespace hearth
