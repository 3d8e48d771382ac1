// The rows of the latent cache that one token sees, by their positions.
//
// (Local to each file, and without member functions, for the reason given in engine.h.)
#pragma once

#include "kernels/ops.h"

namespace hearth {

struct LatentRows {
  const LatentCache* cache;
  const int32_t* pages;  // of the token's sequence
  int page_bits;
  int64_t n;  // positions that the token sees
};

namespace {

[[maybe_unused]] LatentRows rows_of(const LatentCache& cache, const Positions& at, int64_t token) {
  return {&cache, at.pages + at.sequences[token] * at.page_stride, at.page_bits, int64_t(at.ids[token]) + 1};
}

// The number of a position's row.
[[maybe_unused]] int64_t row_number(const LatentRows& rows, int64_t position) {
  const int64_t in_page = position & ((int64_t(1) << rows.page_bits) - 1);
  return (int64_t(rows.pages[position >> rows.page_bits]) << rows.page_bits) + in_page;
}

[[maybe_unused]] const std::byte* row_at(const LatentRows& rows, int64_t position) {
  const LatentCache& cache = *rows.cache;
  const int64_t value_bytes = cache.format == FormatId::f32 ? 4 : 2;
  return cache.data + row_number(rows, position) * (cache.kv_lora_rank + cache.rope_dim) * value_bytes;
}

}  // namespace
}  // namespace hearth
