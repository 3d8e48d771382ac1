// How experts round activations where every backend is to round them alike (Exec::alike): as the GPU's kernels do,
// which keep 16 bits. What is left over between two backends is the order of float32 sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "quant/format.h"
#include "quant/fp.h"

namespace hearth {

// Levels of a group of 16 activations: the largest is 127 * 256 + 127, two signed bytes.
inline constexpr int kGroupValues = 16, kMostLevel = 127 * 256 + 127;

enum class Rounding : uint8_t {
  none,
  groups,  // 16 neighbours: multiples of their largest magnitude / kMostLevel
  halves,  // each the sum of two bfloat16: the rounded value, and the rounded remainder
};

// For the products of n_tokens, together, with weights of a format.
inline Rounding rounding_of(const Format& weights, int64_t n_tokens) {
  if (weights.id == FormatId::f32) return Rounding::none;
  if (n_tokens > 1) return Rounding::halves;
  return weights.block_elems == 1 || weights.id == FormatId::f8_e4m3 ? Rounding::none : Rounding::groups;
}

// In place: n neighbours, from the beginning of a group on.
inline void round_activations(Rounding how, float* x, int64_t n) {
  if (how == Rounding::halves) {
    for (int64_t i = 0; i < n; ++i) {
      const float high = bf16_to_float(float_to_bf16(x[i]));
      x[i] = high + bf16_to_float(float_to_bf16(x[i] - high));
    }
  } else if (how == Rounding::groups) {
    for (int64_t first = 0; first < n; first += kGroupValues) {
      float* const group = x + first;
      const int64_t here = std::min<int64_t>(kGroupValues, n - first);
      float largest = 0;
      for (int64_t i = 0; i < here; ++i) largest = std::max(largest, std::abs(group[i]));
      const float inverse = largest > 0 ? float(kMostLevel) / largest : 0.0f, scale = largest / float(kMostLevel);
      constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits behind the point
      for (int64_t i = 0; i < here; ++i) group[i] = scale * (group[i] * inverse + kToInteger - kToInteger);
    }
  }
}

}  // namespace hearth
