// Rows of which the largest are wanted, and what is right of each.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/fixture.h"

namespace hearth::test {

struct LargestCase {
  const char* what;
  int64_t T, n, k;
  std::vector<float> x;           // [T,n]
  std::vector<uint32_t> without;  // [ceil(n / 32)]

  LargestCase(const char* what, int64_t T, int64_t n, int64_t k, float value = 0)
      : what(what), T(T), n(n), k(k), x(size_t(T * n), value), without(size_t((n + 31) / 32)) {}
  LargestCase& random(uint32_t seed) {
    Rng rng(seed);
    for (float& v : x) v = normal(rng);
    return *this;
  }
  void leave_out(int64_t column) { without[size_t(column / 32)] |= uint32_t(1) << (column % 32); }
  Mat<const float> rows() const { return {x.data(), T, n}; }
};

inline std::vector<LargestCase> largest_cases() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<LargestCase> cases;
  cases.push_back(LargestCase("one column", 1, 1, 1).random(1));
  cases.push_back(LargestCase("all of a short row", 2, 33, 33).random(2));
  cases.push_back(LargestCase("the best of several rows", 5, 1500, 1).random(3));
  cases.push_back(LargestCase("forty of several rows", 3, 4099, 40).random(4));
  cases.push_back(LargestCase("as many as can be", 2, 5000, kMostLargest).random(5));
  cases.push_back(LargestCase("all the same", 1, 3000, 100, -2.5f));

  LargestCase& few_values = cases.emplace_back("few values, many of each", 2, 6000, 200);
  for (size_t i = 0; i < few_values.x.size(); ++i) few_values.x[i] = float(i * 7919 % 5) - 2;
  LargestCase& zeros = cases.emplace_back("zeros of both signs", 1, 300, 20);
  for (size_t i = 0; i < zeros.x.size(); i += 3) zeros.x[i] = -0.0f;

  // In every thousand-and-twenty-fourth column, as one thread of the GPU's block has them: more than it has room for.
  LargestCase crowd = LargestCase("the largest of all in the columns of few", 1, 60 * 1024, kMostLargest).random(6);
  for (int64_t c = 0; c < crowd.n; ++c)
    if (c % 1024 < 200) crowd.x[size_t(c)] += 100;
  cases.push_back(crowd);
  for (float& v : crowd.x) v = std::round(v);
  crowd.what = "the same, of few values";
  cases.push_back(crowd);
  // The GPU's groups, 1024 at most, have every so-many-th eight columns.
  LargestCase groups = LargestCase("the largest of all in few groups", 1, 60 * 1024, kMostLargest).random(9);
  for (int64_t c = 0; c < groups.n; ++c)
    if (c / 8 % 1024 < 40) groups.x[size_t(c)] += 100;
  cases.push_back(groups);
  for (float& v : groups.x) v = std::round(v);
  groups.what = "the same, of few values";
  cases.push_back(groups);
  for (const int64_t n : {255, 256, 257, 8191, 8192, 8193}) {  // columns of a block, and of all groups' first eight
    cases.push_back(LargestCase("one of about as many as blocks take", 1, n, 1).random(uint32_t(n)));
    cases.push_back(LargestCase("many of these", 1, n, std::min(n, kMostLargest)).random(uint32_t(n)));
  }
  cases.push_back(LargestCase("one of a long row", 1, 40000, 1).random(10));
  cases.push_back(LargestCase("as many as can be of a long row", 1, 40000, kMostLargest).random(11));
  cases.push_back(LargestCase("the first of a long row, all the same", 1, 40000, kMostLargest, 1.5f));
  cases.push_back(LargestCase("nothing but NaN", 1, 40000, kMostLargest, kNan));
  cases.push_back(LargestCase("one NaN of many", 1, 9000, 1, kNan));
  cases.push_back(LargestCase("more rows than the GPU takes at once", 35, 100, 3).random(12));

  LargestCase odd = LargestCase("NaN, infinities and columns that are left out", 1, 700, 64).random(7);
  odd.x[5] = kNan;
  odd.x[699] = -kNan;
  odd.x[77] = kInfinity;
  odd.x[78] = -kInfinity;
  for (const int64_t c : {0, 5, 31, 32, 640, 698}) {
    odd.x[size_t(c)] += 50;
    odd.leave_out(c);
  }
  cases.push_back(odd);
  LargestCase nothing = LargestCase("hardly anything that is not left out", 1, 100, 10).random(8);
  for (int64_t c = 0; c < nothing.n; ++c)
    if (c % 40 != 3) nothing.leave_out(c);
  cases.push_back(nothing);
  return cases;
}

// By sorting all of row t.
inline std::vector<Entry> sorted_largest(const LargestCase& c, int64_t t) {
  std::vector<Entry> entries;
  for (int64_t i = 0; i < c.n; ++i) {
    const bool left_out = c.without[size_t(i / 32)] >> (i % 32) & 1;
    entries.push_back({int32_t(i), left_out ? -std::numeric_limits<float>::infinity() : c.x[size_t(t * c.n + i)]});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::isnan(a.value) ? !std::isnan(b.value) : a.value > b.value;
  });
  entries.resize(size_t(c.k));
  return entries;
}

inline bool same(const Entry& a, const Entry& b) {
  return a.column == b.column && (a.value == b.value || (std::isnan(a.value) && std::isnan(b.value)));
}

}  // namespace hearth::test
