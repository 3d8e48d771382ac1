// A chunk of 32 rows as bytes and scales, the form that integer formats are decoded to for many tokens.
#pragma once

#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/engine.h"

namespace hearth::HEARTH_AVX512 {

struct alignas(64) TileScales {
  float scale[16][kPanelRows];
  float min[8][kPanelRows];  // of blocks of 32
  // Of blocks of 256: two groups' integer minimums in 16 bits each, and their factor.
  int32_t min_pairs[8][kPanelRows];
  float dmin[kPanelRows];
};
struct alignas(64) Tile : TileScales {
  uint8_t q[kChunk / 4][kPanelRows][4];
};

// How a format's weights are made of a tile: (byte - 2^offset) * scale, or byte * scale - minimum.
enum class Minimums : uint8_t { none, floats, integers };  // where they are in TileScales
struct TileForm {
  int group;  // weights that share a scale: 16 or 32
  Minimums minimums;
  int offset;   // without minimums
  int largest;  // magnitude of byte - 2^offset, or, with minimums, byte
};

// Rounds a tile's weights to 8 bits.
void round_to_int8(const Tile& tile, const TileForm& form, Int8Tile& out);

}  // namespace hearth::HEARTH_AVX512
