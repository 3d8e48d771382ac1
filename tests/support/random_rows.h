// Rows of formats that are not encoded: random bits, with a unit that makes them as large as wanted.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "quant/format.h"
#include "quant/fp.h"

namespace hearth::test {

// k weights whose root mean square is `size`, in a format whose rows begin with their unit, a half or a float, or whose
// blocks do, with a half.
inline void random_row(std::mt19937& rng, const Format& format, float size, void* row, int64_t k) {
  auto* bytes = static_cast<std::byte*>(row);
  for (size_t i = 0; i < format.bytes(k); ++i) bytes[i] = std::byte(rng());
  const auto put_unit = [&](std::byte* at, float unit) {
    const uint16_t half = float_to_fp16(unit);
    std::memcpy(at, format.row_header == sizeof unit ? static_cast<const void*>(&unit) : &half,
                format.row_header == sizeof unit ? sizeof unit : sizeof half);
  };
  const auto scaled = [&](std::byte* at, int64_t n) {
    std::vector<float> weights(static_cast<size_t>(n));
    put_unit(at, 1);
    format.decode(at, weights.data(), n);
    double squares = 0;
    for (const float w : weights) squares += double(w) * w;
    put_unit(at, float(size / std::sqrt(squares / double(n))));
  };
  if (format.row_header > 0) return scaled(bytes, k);
  for (size_t at = 0; at < format.bytes(k); at += format.block_bytes) scaled(bytes + at, format.block_elems);
}

}  // namespace hearth::test
