// Rows that a norm has left as integers (kernels/cuda/matmul/rounded_row.h).
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "kernels/cuda/matmul/rounded_row.h"

namespace hearth::test {

// What a rounded row stands for, and whether its sums are those of its levels.
inline std::vector<float> rounded_values(const std::vector<std::byte>& rounded, int64_t d) {
  const gpu::RoundedRow row(d);
  std::vector<float> values;
  for (int64_t g = 0; g < row.n_groups; ++g) {
    const auto* levels = reinterpret_cast<const int8_t*>(rounded.data() + row.levels_at(g));
    gpu::GroupScale scale;
    std::memcpy(&scale, rounded.data() + row.scale_at(g), sizeof scale);
    int sum = 0;
    for (int64_t i = 0; i < kGroupValues; ++i) {
      const int q = 256 * levels[i] + levels[kGroupValues + i];
      sum += q;
      if (int64_t(values.size()) < d) {
        values.push_back(scale.scale * float(q));
      } else {
        CHECK(q == 0);
      }
    }
    CHECK(scale.sum == float(sum));
  }
  return values;
}

// What they should be.
inline std::vector<float> rounded_to_groups(const float* x, int64_t d) {
  std::vector<float> values(x, x + d);
  round_activations(Rounding::groups, values.data(), d);
  return values;
}

}  // namespace hearth::test
