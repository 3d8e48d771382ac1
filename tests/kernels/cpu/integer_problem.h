// What the tests of attention in integers share: a problem whose weights, cache and queries can be changed.
#pragma once

#include "tests/kernels/cpu/attention.h"

namespace hearth::test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

// T tokens from position pos0 on of one sequence, over a bfloat16 cache, with scores of a few units.
struct IntegerProblem {
  Shapes s;
  int64_t pos0, T;
  float scale;
  TestWeight k_b, v_b;
  Cache cache;
  Rows q;  // of each head [nope | dr]

  IntegerProblem(Rng rng, const Shapes& s, int64_t pos0, int64_t T, FormatId id, int page_bits = kPageBits)
      : s(s),
        pos0(pos0),
        T(T),
        scale(2.0f / std::sqrt(float(s.nope + s.dr))),
        k_b(TestWeight::gaussian(rng, format_of(id), s.H, s.r, s.nope, 1 / std::sqrt(float(s.r)))),
        v_b(TestWeight::gaussian(rng, format_of(id), s.H, s.v, s.r, 1 / std::sqrt(float(s.r)))),
        cache(rng, FormatId::bf16, pos0 + T, pos0 + T + 2, s.r, s.dr, page_bits),
        q(Rows::random(rng, T, s.H * (s.nope + s.dr))) {}

  // Changes row p of the cache.
  void set_row(int64_t p, const std::vector<float>& values) {
    std::byte* stored = cache.memory.data() + size_t(cache.table.row(p)) * cache.view.row_bytes();
    format_of(FormatId::bf16).encode(values.data(), nullptr, stored, cache.view.width());
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t inf = std::signbit(values[i]) ? 0xff80 : 0x7f80;  // which the encoder makes a finite number
      if (std::isinf(values[i])) std::memcpy(stored + 2 * i, &inf, sizeof inf);
    }
    format_of(FormatId::bf16).decode(stored, cache.floats.data() + p * cache.view.width(), cache.view.width());
  }
  std::vector<float> row(int64_t p) const { return {cache.row(p), cache.row(p) + cache.view.width()}; }
  float* query(int64_t t, int64_t h) { return q.view().row(t) + h * (s.nope + s.dr); }
};

// Of a head's part of a row, `width` long.
inline bool is_nan(const Rows& o, int64_t width, int64_t t, int64_t h) {
  return std::all_of(o[t] + h * width, o[t] + (h + 1) * width, [](float x) { return std::isnan(x); });
}
inline bool same(const Rows& a, const Rows& b, int64_t width, int64_t t, int64_t h) {
  return std::memcmp(a[t] + h * width, b[t] + h * width, size_t(width) * sizeof(float)) == 0;
}

}  // namespace hearth::test
