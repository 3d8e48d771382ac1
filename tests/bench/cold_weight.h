// Weights for benchmarks: many matrices that look real, made quickly.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/ops.h"
#include "tests/support/random_rows.h"

namespace hearth::bench {

// `count` matrices of n x k: the first 64 rows are Gaussian weights, encoded, or random blocks where a format has no
// encoder; the others repeat them.
struct ColdWeight {
  Weight view;
  std::vector<std::byte> bytes;

  ColdWeight(FormatId id, int64_t count, int64_t n, int64_t k) {
    const Format& format = format_of(id);
    const size_t row_bytes = format.bytes(k), first = std::min<size_t>(64, size_t(count * n)) * row_bytes;
    bytes.resize(row_bytes * size_t(count * n));
    std::mt19937 rng(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> row(static_cast<size_t>(k));
    for (size_t at = 0; at < first; at += row_bytes) {
      if (!format.encode) {
        test::random_row(rng, format, 0.02f, bytes.data() + at, k);
        continue;
      }
      for (float& x : row) x = normal(rng);
      format.encode(row.data(), nullptr, bytes.data() + at, k);
    }
    for (size_t at = first; at < bytes.size(); at += first) {
      std::memcpy(bytes.data() + at, bytes.data(), std::min(first, bytes.size() - at));
    }
    view = {&format, bytes.data(), count, n, k, row_bytes, row_bytes * size_t(n)};
  }
};

inline std::vector<float> random_floats(size_t n) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

}  // namespace hearth::bench
