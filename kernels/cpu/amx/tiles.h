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

// A thread calls this before its first tile instruction, and _tile_release after its last.
HEARTH_INLINE void load_tile_config() {
  static constexpr TileConfig config;
  _tile_loadconfig(&config);
}
// The same with fewer rows in tiles 0 to 5: the unit takes a cycle for each row.
HEARTH_INLINE void load_tile_config(int rows) {
  TileConfig config;
  for (int i = 0; i < 6; ++i) config.rows[i] = uint8_t(rows);
  _tile_loadconfig(&config);
}

}  // namespace
}  // namespace hearth
