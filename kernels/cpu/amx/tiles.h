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

// For 1 to 16 rows in tiles 0 to 5; the unit takes a cycle for each.
struct TileConfigs {
  TileConfig of[16];
  constexpr TileConfigs() : of() {
    for (int n = 1; n <= 16; ++n) {
      for (int tile = 0; tile < 6; ++tile) of[n - 1].rows[tile] = uint8_t(n);
    }
  }
};

// A thread calls this before its first tile instruction, and _tile_release after its last. (From constant memory: to
// GCC 12 the instruction reads no more than the first 8 bytes, and it leaves out what was written to the others.)
HEARTH_INLINE void load_tile_config(int64_t rows = 16) {
  static constexpr TileConfigs configs;
  _tile_loadconfig(&configs.of[rows - 1]);
}

// Call this between writing memory and loading tiles from it, which GCC 12 does not know to read memory either.
HEARTH_INLINE void finish_writes() {
  asm volatile("" ::: "memory");
}

}  // namespace
}  // namespace hearth
