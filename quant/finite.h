// Is every weight of a row a finite number? Weights are integers times scales, so it is enough to look at the
// scales; only the codes of F8_E4M3 can be NaN themselves, or overflow when scaled. All loops run to the end: bad
// blocks are rare, and a loop that never stops early can be vectorised.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/fp.h"

namespace hearth {

// Infinities and NaNs are the numbers whose exponent is all ones.
template <class T>
bool finite_bits(const void* numbers, int64_t n, T exponent) {
  const auto* in = static_cast<const T*>(numbers);
  T bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= (in[i] & exponent) == exponent;
  return bad == 0;
}

inline bool finite_f32(const void* numbers, int64_t n) {
  return finite_bits<uint32_t>(numbers, n, 0x7f800000);
}
inline bool finite_f16(const void* numbers, int64_t n) {
  return finite_bits<uint16_t>(numbers, n, 0x7c00);
}
inline bool finite_bf16(const void* numbers, int64_t n) {
  return finite_bits<uint16_t>(numbers, n, 0x7f80);
}

inline bool finite_half(uint16_t h) {
  return (h & 0x7c00) != 0x7c00;
}

inline bool finite_block(const BlockIQ1_M& b) {
  return finite_half(half_d(b));
}

template <class Block>
bool finite_block(const Block& b) {
  bool finite = finite_half(b.d);
  if constexpr (requires { b.m; }) finite &= finite_half(b.m);
  if constexpr (requires { b.dmin; }) finite &= finite_half(b.dmin);
  return finite;
}

// Codes of fp4 are in the order of their magnitudes, but for the sign.
inline bool finite_block(const BlockMXFP4& b) {
  int largest = 0;
  for (const uint8_t q : b.qs) largest = std::max(largest, std::max(q & 7, q >> 4 & 7));
  return std::isfinite(half_of_e8m0(b.e) * float(level_tables::at<level_tables::E2m1>(largest)));
}
inline bool finite_block(const BlockNVFP4&) {
  return true;
}

// Formats of blocks_iqk.h with a header, the unit of scales and levels of at most 128 each; what is beyond their range
// depends on both.
template <class Block>
requires requires {
  typename Block::Levels;
}
bool finite_block(const typename Block::Header& header, const Block& b) {
  const float d = unit_of(header);
  if (std::isfinite(d * 128 * 128) || !std::isfinite(d)) return std::isfinite(d);
  bool finite = true;
  for (int i = 0; i < Block::kElems; ++i) finite &= std::isfinite(decode(header, b, i));
  return finite;
}

inline bool finite_block(const BlockF8_E4M3& b) {
  uint8_t largest = 0;  // magnitudes of codes are in the order of their bits, NaN last
  for (const uint8_t q : b.qs) largest = std::max(largest, uint8_t(q & 0x7f));
  return std::isfinite(b.d) && std::isfinite(b.d * e4m3_to_float(largest));
}

// Format::finite. Formats with a header have finite_block(header, block).
template <class Block>
bool finite_row(const void* row, int64_t n) {
  const Block* blocks = blocks_of<Block>(row);
  bool finite = true;
  for (int64_t i = 0; i < n / Block::kElems; ++i) {
    if constexpr (kHeaderBytes<Block> != 0) {
      finite &= finite_block(header_of<Block>(row), blocks[i]);
    } else {
      finite &= finite_block(blocks[i]);
    }
  }
  return finite;
}

}  // namespace hearth
