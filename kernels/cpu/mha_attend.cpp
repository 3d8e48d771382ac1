// Naive (expanded) MLA, for prefill. The cache is taken in chunks of 288 positions; for each
//   1. its rows become floats, once for all heads;
//   2. every head expands its keys W^UK c_p (with k_rope beside them) and values W^UV c_p;
//   3. every head's queries, 32 at a time, attend over the chunk. Between chunks a query's unnormalised sum waits in
//      its output row and its softmax state in scratch.
// Expanding costs r (nope + v) FMAs per head and position, shared by all queries; attending costs nope + dr + v FMAs
// per query, head and position. Tiles lie at the same positions for every query, so an output has the same bits
// whatever other tokens the call has.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::attention {
namespace {

constexpr int64_t kChunk = 6 * kTilePositions;
constexpr int64_t kQueries = 32;  // queries of one unit of work; a multiple of every engine's lanes

struct Layout {
  int64_t latent_width, key_width, value_width, work_size, n_queries;
  float *latent, *keys, *values;  // [kChunk, latent_width], [H, kChunk, key_width], [H, kChunk, value_width]
  float *largest, *total;         // [H, n_queries]
  float *work, *rows, *q, *o, *scores, *keep;  // of each thread

  Layout(Scratch& scratch, int64_t lanes, int64_t n_threads, int64_t T, int64_t H, int64_t r, int64_t nope, int64_t dr,
         int64_t v)
      : latent_width(round_up(r + dr, lanes)),
        key_width(round_up(nope + dr, lanes)),
        value_width(round_up(v, lanes)),
        work_size(r * round_up(std::max(nope, v), lanes)),
        n_queries(round_up(T, kQueries)) {
    latent = scratch.take<float>(kChunk * latent_width);
    keys = scratch.take<float>(H * kChunk * key_width);
    values = scratch.take<float>(H * kChunk * value_width);
    largest = scratch.take<float>(H * n_queries);
    total = scratch.take<float>(H * n_queries);
    work = scratch.take<float>(n_threads * work_size);
    rows = scratch.take<float>(n_threads * kQueries * key_width);
    q = scratch.take<float>(n_threads * kQueries * key_width);
    o = scratch.take<float>(n_threads * kQueries * value_width);
    scores = scratch.take<float>(n_threads * kTilePositions * kQueries);
    keep = scratch.take<float>(n_threads * kQueries);
  }
  float* keys_at(int64_t h, int64_t p) const { return keys + (h * kChunk + p) * key_width; }
  float* values_at(int64_t h, int64_t p) const { return values + (h * kChunk + p) * value_width; }
};

struct Call {
  const AttentionEngine& engine;
  const Layout& layout;
  Heads<const float> q_nope, q_rope;
  const Weight &k_b, &v_b;
  Heads<float> o;
  int64_t pos0;
  float scale;
};

// Keys and values of head h for rows [p0, p0 + n) of the chunk.
void expand(const Call& call, int thread, int64_t h, int64_t p0, int64_t n) {
  const Layout& layout = call.layout;
  const int64_t r = call.v_b.k, nope = call.k_b.k, dr = call.q_rope.width;
  const float* latents = layout.latent + p0 * layout.latent_width;
  call.engine.expand({&call.k_b, &call.v_b, h, latents, layout.latent_width, n, layout.keys_at(h, p0), layout.key_width,
                      layout.values_at(h, p0), layout.value_width, layout.work + thread * layout.work_size});
  for (int64_t p = 0; p < n; ++p) {
    float* rope = layout.keys_at(h, p0 + p) + nope;
    std::memcpy(rope, latents + p * layout.latent_width + r, size_t(dr) * sizeof(float));
    std::fill(rope + dr, layout.keys_at(h, p0 + p + 1), 0.0f);
  }
}

void load_queries(const Call& call, int64_t h, int64_t t0, int64_t n, float* rows, const QueryBlock& block) {
  const int64_t nope = call.q_nope.width, dr = call.q_rope.width;
  for (int64_t i = 0; i < n; ++i) {
    const float *a = call.q_nope.at(t0 + i, h), *b = call.q_rope.at(t0 + i, h);
    float* row = rows + i * (nope + dr);
    for (int64_t j = 0; j < nope; ++j) row[j] = call.scale * a[j];
    for (int64_t j = 0; j < dr; ++j) row[nope + j] = call.scale * b[j];
  }
  call.engine.set_queries(rows, n, nope + dr, block);
}

// Queries [t0, t0 + n) of head h over the chunk's positions [first, end).
void attend_chunk(const Call& call, int thread, int64_t h, int64_t t0, int64_t n, int64_t first, int64_t end) {
  const Layout& layout = call.layout;
  const int64_t limit = call.pos0 + t0 + n;  // one past what the last of these queries sees
  if (limit <= first) return;
  const QueryBlock block = {round_up(n, call.engine.lanes),
                            layout.key_width,
                            layout.value_width,
                            layout.q + thread * kQueries * layout.key_width,
                            layout.o + thread * kQueries * layout.value_width,
                            layout.largest + h * layout.n_queries + t0,
                            layout.total + h * layout.n_queries + t0,
                            layout.scores + thread * kTilePositions * kQueries,
                            layout.keep + thread * kQueries};
  load_queries(call, h, t0, n, layout.rows + thread * kQueries * layout.key_width, block);
  if (first == 0) {
    begin_queries(block);
  } else {
    std::fill_n(block.o, block.n * block.value_width, 0.0f);
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(block.o + i * block.value_width, call.o.at(t0 + i, h), size_t(call.o.width) * sizeof(float));
    }
  }

  const int64_t stop = std::min(limit, end);
  for (int64_t p = first; p < stop; p += kTilePositions) {
    const int64_t n_rows = std::min(kTilePositions, stop - p);
    int32_t visible[kQueries];
    bool all = true;
    for (int64_t i = 0; i < block.n; ++i) {
      const int64_t sees = call.pos0 + t0 + std::min(i, n - 1) + 1 - p;
      visible[i] = int32_t(std::clamp<int64_t>(sees, 0, n_rows));
      all = all && visible[i] == n_rows;
    }
    call.engine.attend(block, {layout.keys_at(h, p - first), layout.key_width, layout.values_at(h, p - first),
                               layout.value_width, n_rows, all ? nullptr : visible});
  }

  const bool finished = limit <= end;
  for (int64_t i = 0; i < n; ++i) {
    const float factor = finished ? 1.0f / block.total[i] : 1.0f;
    const float* sum = block.o + i * block.value_width;
    float* o = call.o.at(t0 + i, h);
    for (int64_t j = 0; j < call.o.width; ++j) o[j] = factor * sum[j];
  }
}

}  // namespace

size_t scratch_bytes(const AttentionEngine& engine, const ScratchLimits& l) {
  Scratch measure;
  Layout(measure, engine.lanes, l.n_threads, l.max_tokens, l.n_heads, l.kv_lora_rank, l.qk_nope_head_dim,
         l.qk_rope_head_dim, l.v_head_dim);
  return measure.used();
}

void mha_attend(const AttentionEngine& engine, const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope,
                const Weight& k_b, const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                Heads<float> o) {
  const int64_t T = q_nope.n_tokens, H = q_nope.n_heads, r = cache.kv_lora_rank, dr = cache.rope_dim;
  assert(k_b.n == r && k_b.k == q_nope.width && v_b.n == o.width && v_b.k == r && q_rope.width == dr);
  const LatentRows rows = rows_of(cache, at, T - 1);  // those that the last token sees
  const int64_t pos0 = at.ids[0];
  assert(at.together && pos0 + T == rows.n);
  Scratch scratch(exec);
  const Layout layout(scratch, engine.lanes, exec.n_threads, T, H, r, k_b.k, dr, v_b.n);
  const Call call = {engine, layout, q_nope, q_rope, k_b, v_b, o, pos0, scale};

  // A head's weights are decoded once for a whole chunk, or for a third of it where there are too few heads to keep the
  // threads busy.
  const int64_t expanded = H >= 4 * exec.n_threads ? kChunk : kChunk / 3;
  const int64_t query_blocks = (T + kQueries - 1) / kQueries;
  for (int64_t first = 0; first < pos0 + T; first += kChunk) {
    const int64_t n = std::min(kChunk, pos0 + T - first);
    parallel_for(exec.n_threads, n, 32, [&](int64_t begin, int64_t end, int) {
      engine.read_rows(rows, first + begin, end - begin, layout.latent + begin * layout.latent_width,
                       layout.latent_width);
    });
    const int64_t parts = (n + expanded - 1) / expanded;
    parallel_for(exec.n_threads, H * parts, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t p0 = unit % parts * expanded;
      expand(call, thread, unit / parts, p0, std::min(expanded, n - p0));
    });
    parallel_for(exec.n_threads, H * query_blocks, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t h = unit / query_blocks, t0 = unit % query_blocks * kQueries;
      attend_chunk(call, thread, h, t0, std::min(kQueries, T - t0), first, first + n);
    });
  }
}

}  // namespace hearth::attention
