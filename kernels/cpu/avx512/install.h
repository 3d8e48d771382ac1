// The doors to the AVX-512 tables: with VNNI's byte products, and without. Nothing else of this folder is visible
// outside it, except to amx/, which builds upon it.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth {

// Overwrite, in the AVX2 table, the operations that AVX-512 (F, BW, DQ, VL) does better. Call them only on a processor
// that has these.
namespace avx512 {
void install(Ops& ops);
const Engine& engine();  // for tests/bench
}  // namespace avx512
namespace avx512_vnni {
void install(Ops& ops);
const Engine& engine();  // for tests/bench
// Attention over a bfloat16 cache with integer weights, naive and absorbed, and where that is done.
void install_integer_attention(Ops& ops);
bool attends_in_integers(const Weight& k_b, const Weight& v_b, FormatId cache);
}  // namespace avx512_vnni

// Overwrites, in the table with VNNI, what BF16 and VBMI do better.
namespace avx512_bf16 {
void install(Ops& ops);
}

}  // namespace hearth
