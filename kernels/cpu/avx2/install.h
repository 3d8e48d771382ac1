// The door to the AVX2 table. Nothing else of this folder is visible outside it.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth {

// Overwrites the operations that AVX2, FMA and F16C do better. Call it only on a processor that has all three.
void install_avx2(Ops& ops);

namespace avx2 {
const Engine& engine();  // for tests/bench
}

}  // namespace hearth
