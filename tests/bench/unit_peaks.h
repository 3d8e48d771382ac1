// What this processor's units multiply and add at most, measured in loops that touch nothing but registers: what the
// speed of a kernel is a share of.
#pragma once

#include <string_view>

namespace hearth::bench {

enum class Unit {
  int8_tiles,      // AMX: tdpbssd
  bf16_tiles,      // AMX: tdpbf16ps
  vnni,            // AVX-512: vpdpbusd
  byte_pairs_512,  // AVX-512 without VNNI: vpmaddubsw and vpaddw
  byte_pairs_256,  // AVX2: the same
  word_pairs,      // AVX-512: vpdpwssd
  bf16_pairs,      // AVX-512: vdpbf16ps
  f32_512,         // AVX-512: vfmadd231ps
  f32_256,         // AVX2: the same
};
inline constexpr int kUnits = 9;

// "VNNI"
std::string_view unit_name(Unit unit);

// Multiply-adds per second of n_threads threads that work side by side, for each the best of about 20 ms; 0: this
// processor has no such unit, or the system does not allow its use.
double unit_peak(Unit unit, int n_threads);

}  // namespace hearth::bench
