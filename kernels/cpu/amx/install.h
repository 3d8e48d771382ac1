// The door to the AMX table. Nothing else of this folder is visible outside it.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth::amx {

// Asks the operating system for the tile registers; false when it refuses.
bool request_tiles();

// Overwrites, in the AVX-512 table, the products of many tokens and absorbed attention. Call it only on a processor
// with AMX (TILE, INT8, BF16), AVX512-VNNI, AVX512-BF16 and VBMI, after request_tiles.
void install(Ops& ops);

const Engine& engine();  // for tests/bench

}  // namespace hearth::amx
