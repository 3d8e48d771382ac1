// Naive (expanded) MLA, for prefill. The cache is taken in chunks of some hundred positions; for each
//   1. its rows are read, once for all heads;
//   2. every head expands its keys W^UK c_p (with k_rope beside them) and values W^UV c_p;
//   3. every head's queries, 32 at a time, attend over the chunk. Between chunks a query's unnormalised sum waits in
//      its output row and its softmax state in scratch.
// Expanding costs r (nope + v) products per head and position, shared by all queries; attending costs nope + dr + v
// products per query, head and position. Tiles lie at the same positions for every query, so an output has the same
// bits whatever other tokens the call has.
//
// In which numbers this is done is said by a Form, of mha_attend.cpp or mha_attend_integers.cpp:
//
//   k_b, v_b               the call's weights, set after construction
//   kChunk, kTile          positions of a chunk and of a tile, of which a chunk has a multiple of six
//   row_width              nope + dr, rounded up as queries are
//   row(thread)            memory for kQueries rows of that width
//   largest, total         [H][queries, rounded up to kQueries]: softmax state
//   read(..)               rows of the cache -> the chunk's
//   expand(..)             the chunk's rows -> keys and values of a head
//   block(..)              a block of queries: n, value_width, o, largest, total as in QueryBlock (attend.h)
//   set_queries(..)        rows of floats -> a block
//   attend(..)             adds positions of the chunk to a block's results
#pragma once

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/latent_rows.h"
#include "kernels/cpu/parallel.h"
#include "kernels/scratch.h"

namespace hearth::attention {

constexpr int64_t kQueries = 32;  // queries of one unit of work; a multiple of every engine's lanes

namespace {

// rows [n][width]: the queries times the scale, then zeros.
[[maybe_unused]] void load_queries(const MhaCall& call, int64_t h, int64_t t0, int64_t n, float* rows, int64_t width) {
  const int64_t nope = call.q_nope.width, dr = call.q_rope.width;
  for (int64_t i = 0; i < n; ++i) {
    const float *a = call.q_nope.at(t0 + i, h), *b = call.q_rope.at(t0 + i, h);
    float* row = rows + i * width;
    for (int64_t j = 0; j < nope; ++j) row[j] = call.scale * a[j];
    for (int64_t j = 0; j < dr; ++j) row[nope + j] = call.scale * b[j];
    for (int64_t j = nope + dr; j < width; ++j) row[j] = 0;
  }
}

// Queries [t0, t0 + n) of head h over the chunk's positions [first, end).
template <class Form>
void attend_chunk(const Form& form, const MhaCall& call, int thread, int64_t h, int64_t t0, int64_t n, int64_t first,
                  int64_t end) {
  const int64_t pos0 = call.at.ids[0], limit = pos0 + t0 + n;  // one past what the last of these queries sees
  if (limit <= first) return;
  const auto block = form.block(thread, h, t0, n);
  load_queries(call, h, t0, n, form.row(thread), form.row_width);
  form.set_queries(thread, n, block);
  std::fill_n(block.o, block.n * block.value_width, 0.0f);
  if (first == 0) {
    std::fill_n(block.largest, block.n, -std::numeric_limits<float>::infinity());
    std::fill_n(block.total, block.n, 0.0f);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(block.o + i * block.value_width, call.o.at(t0 + i, h), size_t(call.o.width) * sizeof(float));
    }
  }

  const int64_t stop = std::min(limit, end);
  for (int64_t p = first; p < stop; p += Form::kTile) {
    const int64_t n_rows = std::min(Form::kTile, stop - p);
    int32_t visible[kQueries];
    bool all = true;
    for (int64_t i = 0; i < block.n; ++i) {
      const int64_t sees = pos0 + t0 + std::min(i, n - 1) + 1 - p;
      visible[i] = int32_t(std::clamp<int64_t>(sees, 0, n_rows));
      all = all && visible[i] == n_rows;
    }
    form.attend(h, p - first, n_rows, all ? nullptr : visible, block);
  }

  const bool finished = limit <= end;
  for (int64_t i = 0; i < n; ++i) {
    const float factor = finished ? 1.0f / block.total[i] : 1.0f;
    const float* sum = block.o + i * block.value_width;
    float* o = call.o.at(t0 + i, h);
    for (int64_t j = 0; j < call.o.width; ++j) o[j] = factor * sum[j];
  }
}

template <class Form>
void attend_naive(const Form& form, const MhaCall& call) {
  const int64_t T = call.q_nope.n_tokens, H = call.q_nope.n_heads;
  assert(call.k_b.n == call.cache.kv_lora_rank && call.k_b.k == call.q_nope.width && call.v_b.n == call.o.width);
  assert(call.v_b.k == call.cache.kv_lora_rank && call.q_rope.width == call.cache.rope_dim);
  const LatentRows rows = rows_of(call.cache, call.at, T - 1);  // those that the last token sees
  assert(call.at.together && call.at.ids[0] + T == rows.n);

  // A head's weights are decoded once for a whole chunk, or for a third of it where there are too few heads to keep the
  // threads busy.
  const int n_threads = call.exec.n_threads;
  const int64_t expanded = H >= 4 * n_threads ? Form::kChunk : Form::kChunk / 3;
  const int64_t query_blocks = (T + kQueries - 1) / kQueries;
  for (int64_t first = 0; first < rows.n; first += Form::kChunk) {
    const int64_t n = std::min(Form::kChunk, rows.n - first);
    parallel_for(n_threads, n, 32, [&](int64_t begin, int64_t end, int thread) {
      form.read(thread, rows, first + begin, end - begin, begin);
    });
    const int64_t parts = (n + expanded - 1) / expanded;
    parallel_for(n_threads, H * parts, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t p0 = unit % parts * expanded;
      form.expand(thread, unit / parts, p0, std::min(expanded, n - p0));
    });
    parallel_for(n_threads, H * query_blocks, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t h = unit / query_blocks, t0 = unit % query_blocks * kQueries;
      attend_chunk(form, call, thread, h, t0, std::min(kQueries, T - t0), first, first + n);
    });
  }
}

// The operation and the scratch that it needs, in the numbers of a Form.
template <class Form, class Engine>
void attend_naive(const Engine& engine, const MhaCall& call) {
  Scratch scratch(call.exec);
  Form form(engine, scratch, call.exec.n_threads, call.q_nope.n_tokens, call.q_nope.n_heads, call.cache.kv_lora_rank,
            call.q_nope.width, call.q_rope.width, call.o.width);
  form.k_b = &call.k_b;
  form.v_b = &call.v_b;
  attend_naive(form, call);
}
template <class Form, class Engine>
size_t naive_scratch(const Engine& engine, const ScratchLimits& l) {
  Scratch measure;
  Form(engine, measure, l.n_threads, l.max_tokens, l.n_heads, l.kv_lora_rank, l.qk_nope_head_dim, l.qk_rope_head_dim,
       l.v_head_dim);
  return measure.used();
}

}  // namespace
}  // namespace hearth::attention
