// The tile registers: all eight with up to 16 rows of 64 bytes.
#pragma once

#include "kernels/cpu/avx512/simd.h"

namespace hearth {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// For 1 to 16 rows in tiles 0 to 5, of which the unit takes one at a time, and products over `depth` bytes.
struct TileConfigs {
  TileConfig of[16];
  constexpr explicit TileConfigs(int depth) : of() {
    for (int n = 1; n <= 16; ++n) {
      TileConfig& config = of[n - 1];
      for (int tile = 0; tile < 6; ++tile) config.rows[tile] = uint8_t(n);
      for (int tile = 4; tile < 6; ++tile) config.bytes_per_row[tile] = uint16_t(depth);
      for (int tile = 6; tile < 8; ++tile) config.rows[tile] = uint8_t(depth / 4);
    }
  }
};

// A thread calls this before its first tile instruction, and _tile_release after its last. (From constant memory: to
// GCC 12 the instruction reads no more than the first 8 bytes, and it leaves out what was written to the others.)
HEARTH_INLINE void load_tile_config(int64_t rows = 16) {
  static constexpr TileConfigs configs(64);
  _tile_loadconfig(&configs.of[rows - 1]);
}
// The same for sums in tiles 0 to 3 of products of 4 and 5 with 6 and 7 over 16 or 32 bytes.
[[maybe_unused]] void load_group_config(int64_t rows, int depth) {
  static constexpr TileConfigs of_16(16), of_32(32);
  _tile_loadconfig(&(depth == 16 ? of_16 : of_32).of[rows - 1]);
}

// Call this between writing memory and loading tiles from it, which GCC 12 does not know to read memory either.
HEARTH_INLINE void finish_writes() {
  asm volatile("" ::: "memory");
}

}  // namespace
}  // namespace hearth
