// Sequences in a paged cache, for tests of attention and benchmarks: pages lie in disorder, so that nothing may rely on
// rows that follow one another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/ops.h"

namespace hearth::test {

// One sequence's pages, of a pool that has one page more.
struct PageTable {
  explicit PageTable(int64_t n_positions, int bits = kPageBits, uint32_t seed = 1)
      : bits(bits), pages(size_t((n_positions + (int64_t(1) << bits) - 1) >> bits) + 1) {
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(seed));
  }
  int64_t n_rows() const { return int64_t(pages.size()) << bits; }
  int64_t row(int64_t position) const {
    return (int64_t(pages[size_t(position >> bits)]) << bits) + (position & ((int64_t(1) << bits) - 1));
  }

  int bits;
  std::vector<int32_t> pages;
};

// Where T consecutive tokens from pos0 on stand, in the host's memory.
struct Standing {
  Standing(const PageTable& table, int64_t pos0, int64_t T) : ids(size_t(T)), sequences(size_t(T)) {
    std::iota(ids.begin(), ids.end(), int32_t(pos0));
    at = {ids.data(), sequences.data(), table.pages.data(), int64_t(table.pages.size()), table.bits, true, pos0 + T};
  }
  Standing(const Standing&) = delete;

  std::vector<int32_t> ids, sequences;
  Positions at;
};

}  // namespace hearth::test
