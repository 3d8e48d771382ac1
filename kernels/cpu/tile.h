// Chunks of weights as AVX-512 and the tile unit multiply them for many tokens. (Plain structs, for the reason given in
// engine.h.)
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth {

constexpr int64_t kChunk = 256;  // activations of an X8, and the weights of a row that an integer kernel takes at once
constexpr int kPanelRows = 32;

// A chunk of kPanelRows rows as bytes and scales: what a format says, moved to where it is needed.
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
// How weights are made of it: (byte - 2^offset) * scale, or byte * scale - minimum.
enum class Minimums : uint8_t { none, floats, integers };  // where they are in TileScales
struct TileForm {
  int group;  // weights that share a scale: 16 or 32
  Minimums minimums;
  int offset;     // without minimums; -1: none
  float largest;  // magnitude of byte - 2^offset, or a little more; or, with minimums, byte
};
// Decodes n weights, zeros after them, of rows first_row .. first_row + 15, whose blocks are `at` bytes after their
// headers.
using DecodeTile = void(const uint8_t* const* rows, size_t at, int64_t n, int first_row, Tile& tile);

// The same chunk in 8 bits: a weight is (q - offset) * scale, with an offset of 128, or of 0 and signed q. Products of
// such tiles are the same for all formats, and nothing but products: no scales of groups, no minimums. What is lost is
// up to half a step of 1/127 of the row's largest weight in the chunk. That is little beside what a format of few bits
// has lost itself.
struct alignas(64) Int8Tile {
  uint8_t q[kChunk / 4][kPanelRows][4];
  float scale[kPanelRows];
};

}  // namespace hearth
