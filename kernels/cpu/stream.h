// The prefetch stream: memory is requested in the order of the file, however many rows a kernel reads side by side, and
// across the boundaries between pieces of work. This is the largest single gain on cold weights. (Local to each file
// for the reason given in parallel.h.)
#pragma once

#include <immintrin.h>

#include "kernels/cpu/engine.h"

namespace hearth {
namespace {

// ---- few tokens: four rows side by side

constexpr int64_t kRowsAhead = 16;  // four groups of four

// What a group of rows that begins at row i prefetches; row i itself, which is in the cache already, when nothing
// follows.
[[maybe_unused]] const uint8_t* ahead_of(const RowsCall& c, int64_t i) {
  const int64_t later = i + kRowsAhead;
  if (later < c.n_rows) return c.w + size_t(later) * c.row_bytes;
  return c.next ? c.next + size_t(later - c.n_rows) * c.row_bytes : c.w + size_t(i) * c.row_bytes;
}

// Into the second-level cache: more lines can be on their way to it than to the first.
template <int Bytes>
[[gnu::always_inline]] inline void prefetch_slice(const uint8_t*& p) {
  for (int i = 0; i < Bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T1);
  p += Bytes;
}

// The rows of a group; those past the end repeat the last one.
struct FourRows {
  const uint8_t* p[4];
};
[[maybe_unused]] FourRows four_rows(const RowsCall& c, int64_t i) {
  FourRows rows;
  for (int64_t r = 0; r < 4; ++r) rows.p[r] = c.w + size_t(i + r < c.n_rows ? i + r : c.n_rows - 1) * c.row_bytes;
  return rows;
}

// ---- many tokens: while a block of rows is multiplied, the next block is prefetched, one part at each ask()

struct BlockStream {
  const uint8_t *at, *end;
  size_t part;

  // Prefetches what follows the n_rows rows from row `first` on, spread over n_turns calls of ask().
  BlockStream(const PanelCall& c, int64_t first, int64_t n_rows, int64_t n_turns) : at(nullptr), end(nullptr) {
    const int64_t later = first + n_rows, left = c.n_rows - later;
    if (left > 0) {
      at = c.w + size_t(later) * c.row_bytes;
      end = at + size_t(left < n_rows ? left : n_rows) * c.row_bytes;
    } else if (c.next) {
      at = c.next;
      end = at + size_t(n_rows) * c.row_bytes;
    }
    part = (size_t(end - at) / size_t(n_turns) / 64 + 1) * 64;
  }
  [[gnu::always_inline]] void ask() {
    const uint8_t* stop = size_t(end - at) > part ? at + part : end;
    for (; at < stop; at += 64) _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
  }
};

}  // namespace
}  // namespace hearth
