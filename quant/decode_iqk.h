// decode(block, i) of the blocks of blocks_iqk.h, as decode.h does those of blocks.h, which includes this file. The
// product is rounded twice, (d * scale) * level, in that order: in _KS formats with a float header it is not exact.
#pragma once

#include "quant/blocks_iqk.h"
#include "quant/fp.h"

namespace hearth {

HEARTH_HD inline int nibble_at(const uint8_t* nibbles, int i) {
  return nibbles[i / 2] >> 4 * (i % 2) & 15;
}

// ---- The integer scale of group g, and whether its levels are moved

HEARTH_HD inline int group_scale(const BlockIQ2_K& b, int k) {
  return nibble_at(b.scales, k) - 8;
}
HEARTH_HD inline int group_scale(const BlockIQ3_K& b, int k) {
  const int magnitude = 2 * nibble_at(b.scales_l, k) + 1;
  return b.scales_h >> k & 1 ? -magnitude : magnitude;
}
template <class Block>
HEARTH_HD inline int scale_of_six_bits(const Block& b, int k) {
  return (nibble_at(b.scales_l, k) | (b.scales_h[k / 4] >> 2 * (k % 4) & 3) << 4) - 32;
}
HEARTH_HD inline int group_scale(const BlockIQ4_K& b, int k) {
  return scale_of_six_bits(b, k);
}
HEARTH_HD inline int group_scale(const BlockIQ5_K& b, int k) {
  return scale_of_six_bits(b, k);
}
HEARTH_HD inline int group_scale(const BlockIQ6_K& b, int k) {
  return b.scales[k];
}
HEARTH_HD inline int group_scale(const BlockIQ2_KS& b, int g) {
  return (nibble_at(b.scales, g) | (b.extra >> (8 + g) & 1) << 4) - 16;
}
HEARTH_HD inline int group_scale(const BlockIQ3_KS& b, int g) {
  return ((b.scales[g % 4] >> 4 * (g / 4) & 15) | (b.extra >> g & 1) << 4) - 16;
}
HEARTH_HD inline int group_scale(const BlockIQ4_KS& b, int g) {
  return (b.scales[g] & 254) - 127;
}
HEARTH_HD inline int group_scale(const BlockIQ5_KS& b, int g) {
  return (b.scales[g] & 254) - 127;
}

template <class Block>
HEARTH_HD inline bool moved(const Block& b, int g) {
  return b.extra >> g & 1;
}
HEARTH_HD inline bool moved(const BlockIQ3_KS& b, int g) {
  return b.extra >> (8 + g) & 1;
}
HEARTH_HD inline bool moved(const BlockIQ4_KS& b, int g) {
  return b.scales[g] & 1;
}
HEARTH_HD inline bool moved(const BlockIQ5_KS& b, int g) {
  return b.scales[g] & 1;
}

// ---- The number of weight i's level: by how many bits it has

template <class Block>
HEARTH_HD inline int level_number(const Block& b, int i) {
  constexpr int kBits = Block::Levels::kBits;
  if constexpr (kBits <= 3) {
    const int low = b.qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
    if constexpr (kBits == 3) return low | (b.qh[i % 32] >> i / 32 & 1) << 2;
    return low;
  } else if constexpr (kBits == 4) {
    return b.qs[i / 32 * 16 + i % 16] >> 4 * (i % 32 / 16) & 15;
  } else {
    const int low = b.qs[i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15;
    if constexpr (kBits == 5) return low | (b.qh[i % 32] >> i / 32 & 1) << 4;
    return low | (b.qh[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3) << 4;
  }
}

template <class Block>
HEARTH_HD inline int level_from_table(const Block& b, int i) {
  using Levels = typename Block::Levels;
  return level_tables::at<Levels>(level_number(b, i)) + (moved(b, i / Block::kGroup) ? Levels::kMove : 0);
}

// ---- Weights

HEARTH_HD inline float unit_of(const HalfHeader& header) {
  return fp16_to_float(header.d);
}
HEARTH_HD inline float unit_of(const FloatHeader& header) {
  return header.d;
}

// d is the block's or, for blocks with a header, the row's.
template <class Block>
HEARTH_HD inline float decode_in_units(float d, const Block& b, int i) {
  return d * float(group_scale(b, i / Block::kGroup)) * float(level_from_table(b, i));
}
template <class Block>
HEARTH_HD inline void decode_block_in_units(float d, const Block& b, float* out) {
  for (int g = 0; g < Block::kElems / Block::kGroup; ++g) {
    const float step = d * float(group_scale(b, g));
    for (int i = g * Block::kGroup; i < (g + 1) * Block::kGroup; ++i) out[i] = step * float(level_from_table(b, i));
  }
}

template <class Block>
requires requires {
  typename Block::Levels;
}
HEARTH_HD inline float decode(const Block& b, int i) {
  return decode_in_units(fp16_to_float(b.d), b, i);
}
template <class Block>
requires requires {
  typename Block::Levels;
}
HEARTH_HD inline float decode(const typename Block::Header& header, const Block& b, int i) {
  return decode_in_units(unit_of(header), b, i);
}

}  // namespace hearth
