// Naive (expanded) MLA, for prefill. The cache is taken in chunks of 288 positions; for each
//   1. its rows become floats, once for all heads;
//   2. every head expands its keys W^UK c_p (with k_rope beside them) and values W^UV c_p, 96 positions at a time;
//   3. every head's queries, 32 at a time, attend over the chunk. Between chunks a query's unnormalised sum waits in
//      its output row and its softmax state in scratch.
// Expanding costs r (nope + v) FMAs per head and position, which many queries share; attending nope + dr + v each.
// Tiles lie at the same positions for every query, so an output has the same bits whatever tokens come with it.
#include <cassert>

#include "kernels/cpu/avx2/attend.h"
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace hearth::avx2 {
namespace {

constexpr int64_t kChunk = 288;   // positions: 6 tiles
constexpr int64_t kExpand = 96;   // positions expanded by one unit of work; at most kPanelTokens, a multiple of 4
constexpr int64_t kQueries = 32;  // of one unit of work

struct Layout {
  int64_t latent_width, nope_width, key_width, value_width, n_tokens8;
  float *latent, *keys, *values;  // [kChunk, latent_width], [H, kChunk, key_width], [H, kChunk, value_width]
  float *largest, *total;         // [H, n_tokens8]
  float *w_k, *ones, *q, *o, *scores, *keep;  // one of each per thread; w_k [r, nope_width]
  int64_t r;

  Layout(Scratch& scratch, int64_t n_threads, int64_t T, int64_t H, int64_t r, int64_t nope, int64_t dr, int64_t v)
      : latent_width(round_up(r + dr, 8)),
        nope_width(round_up(nope, 8)),
        key_width(round_up(nope + dr, 8)),
        value_width(round_up(v, 8)),
        n_tokens8(round_up(T, kQueries)),
        r(r) {
    latent = scratch.take<float>(kChunk * latent_width);
    keys = scratch.take<float>(H * kChunk * key_width);
    values = scratch.take<float>(H * kChunk * value_width);
    largest = scratch.take<float>(H * n_tokens8);
    total = scratch.take<float>(H * n_tokens8);
    w_k = scratch.take<float>(n_threads * r * nope_width);
    q = scratch.take<float>(n_threads * kQueries * key_width);
    o = scratch.take<float>(n_threads * kQueries * value_width);
    scores = scratch.take<float>(n_threads * kPositions * kQueries);
    keep = scratch.take<float>(n_threads * kQueries);
    ones = scratch.take<float>(kExpand);
  }
  float* keys_of(int64_t h) const { return keys + h * kChunk * key_width; }
  float* values_of(int64_t h) const { return values + h * kChunk * value_width; }
};

// Keys of head h for rows [p0, p0 + n) of the chunk: k[p][i] = sum_c c_p[c] W[c][i], then the rope part.
void expand_keys(const Layout& layout, int thread, const Weight& k_b, int64_t h, int64_t p0, int64_t n, int64_t dr) {
  const DecodeRow decode = float_decoder(*k_b.format);
  float* w = layout.w_k + thread * layout.r * layout.nope_width;
  for (int64_t c = 0; c < layout.r; ++c) {
    float* row = w + c * layout.nope_width;
    for (int64_t i = 0; i < k_b.k; i += 512) {
      decode(*k_b.format,
             reinterpret_cast<const uint8_t*>(k_b.data) + size_t(h) * k_b.matrix_stride + size_t(c) * k_b.row_bytes, i,
             k_b.k - i < 512 ? k_b.k - i : 512, row + i);
    }
  }
  const float* latent = layout.latent + p0 * layout.latent_width;
  float* keys = layout.keys_of(h) + p0 * layout.key_width;
  memset(keys, 0, size_t(round_up(n, 4) * layout.key_width) * sizeof(float));
  accumulate_rows({latent, layout.latent_width, 1}, round_up(n, 4), w, layout.nope_width, layout.r, layout.nope_width,
                  layout.ones, keys, layout.key_width);
  for (int64_t p = 0; p < n; ++p) {
    memcpy(keys + p * layout.key_width + k_b.k, latent + p * layout.latent_width + layout.r,
           size_t(dr) * sizeof(float));
  }
}

// Values of head h: v[p][j] = W[j] . c_p.
void expand_values(const Layout& layout, const Weight& v_b, int64_t h, int64_t p0, int64_t n) {
  float* values = layout.values_of(h) + p0 * layout.value_width;
  memset(values, 0, size_t(n * layout.value_width) * sizeof(float));
  const void* latents[kExpand];
  for (int64_t p = 0; p < n; ++p) latents[p] = layout.latent + (p0 + p) * layout.latent_width;
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(v_b.data) + size_t(h) * v_b.matrix_stride;
  multiply_floats(*v_b.format, {rows, v_b.row_bytes, v_b.n, v_b.k, latents, n, values, layout.value_width});
}

struct Call {
  Heads<const float> q_nope, q_rope;
  Heads<float> o;
  int64_t pos0;
  float scale;
};

void load_queries(const Call& call, int64_t h, int64_t t0, int64_t n, const QueryBlock& block) {
  const int64_t nope = call.q_nope.width, dr = call.q_rope.width;
  for (int64_t i = 0; i < block.n8; ++i) {
    const int64_t t = t0 + (i < n ? i : n - 1);
    const float* a = call.q_nope.data + t * call.q_nope.token_stride + h * call.q_nope.head_stride;
    const float* b = call.q_rope.data + t * call.q_rope.token_stride + h * call.q_rope.head_stride;
    float* q = block.q + i * block.width;
    for (int64_t j = 0; j < block.width; ++j) {
      q[j] = j < nope ? call.scale * a[j] : j < nope + dr ? call.scale * b[j - nope] : 0.0f;
    }
  }
}

// Queries [t0, t0 + n) of head h over the chunk's positions [first, end).
void attend_chunk(const Call& call, const Layout& layout, int thread, int64_t h, int64_t t0, int64_t n, int64_t first,
                  int64_t end) {
  const int64_t limit = call.pos0 + t0 + n;  // one past what the last of these queries sees
  if (limit <= first) return;
  const QueryBlock block = {round_up(n, 8),
                            layout.key_width,
                            layout.value_width,
                            layout.q + thread * kQueries * layout.key_width,
                            layout.o + thread * kQueries * layout.value_width,
                            layout.largest + h * layout.n_tokens8 + t0,
                            layout.total + h * layout.n_tokens8 + t0,
                            layout.scores + thread * kPositions * kQueries,
                            layout.keep + thread * kQueries};
  const auto output = [&](int64_t i) { return call.o.data + (t0 + i) * call.o.token_stride + h * call.o.head_stride; };
  const size_t output_bytes = size_t(call.o.width) * sizeof(float);
  load_queries(call, h, t0, n, block);
  if (first == 0) {
    begin_queries(block);
  } else {
    memset(block.o, 0, size_t(block.n8 * block.value_width) * sizeof(float));
    for (int64_t i = 0; i < n; ++i) memcpy(block.o + i * block.value_width, output(i), output_bytes);
  }

  const int64_t stop = limit < end ? limit : end;
  for (int64_t p = first; p < stop; p += kPositions) {
    const int64_t n_rows = stop - p < kPositions ? stop - p : kPositions;
    int32_t visible[kQueries];
    bool all = true;
    for (int64_t i = 0; i < block.n8; ++i) {
      const int64_t sees = call.pos0 + t0 + (i < n ? i : n - 1) + 1 - p;
      visible[i] = int32_t(sees < 0 ? 0 : sees < n_rows ? sees : n_rows);
      all = all && visible[i] == n_rows;
    }
    attend_tile(block, layout.keys_of(h) + (p - first) * layout.key_width, layout.key_width,
                layout.values_of(h) + (p - first) * layout.value_width, layout.value_width, n_rows,
                all ? nullptr : visible);
  }

  const bool finished = limit <= end;
  for (int64_t i = 0; i < n; ++i) {
    const float factor = finished ? 1.0f / block.total[i] : 1.0f;
    for (int64_t j = 0; j < call.o.width; ++j) output(i)[j] = factor * block.o[i * block.value_width + j];
  }
}

}  // namespace

size_t mha_scratch(const ScratchLimits& l) {
  Scratch measure;
  Layout(measure, l.n_threads, l.max_tokens, l.n_heads, l.kv_lora_rank, l.qk_nope_head_dim, l.qk_rope_head_dim,
         l.v_head_dim);
  return measure.used();
}

void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, int64_t pos0, float scale, Heads<float> o) {
  const int64_t T = q_nope.n_tokens, H = q_nope.n_heads, r = cache.kv_lora_rank, dr = cache.rope_dim;
  assert(k_b.n == r && k_b.k == q_nope.width && v_b.n == o.width && v_b.k == r && q_rope.width == dr);
  assert(pos0 + T <= cache.n_ctx);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, T, H, r, k_b.k, dr, v_b.n);
  const Call call = {q_nope, q_rope, o, pos0, scale};
  for (int64_t i = 0; i < kExpand; ++i) layout.ones[i] = 1.0f;

  const int64_t query_blocks = (T + kQueries - 1) / kQueries;
  for (int64_t first = 0; first < pos0 + T; first += kChunk) {
    const int64_t n = pos0 + T - first < kChunk ? pos0 + T - first : kChunk;
    parallel_for(exec.n_threads, n, 32, [&](int64_t begin, int64_t end, int) {
      read_cache_rows(cache, first + begin, end - begin, layout.latent + begin * layout.latent_width,
                      layout.latent_width);
    });
    const int64_t parts = (n + kExpand - 1) / kExpand;
    parallel_for(exec.n_threads, H * parts, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t h = unit / parts, p0 = unit % parts * kExpand, rows = n - p0 < kExpand ? n - p0 : kExpand;
      expand_keys(layout, thread, k_b, h, p0, rows, dr);
      expand_values(layout, v_b, h, p0, rows);
    });
    parallel_for(exec.n_threads, H * query_blocks, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t h = unit / query_blocks, t0 = unit % query_blocks * kQueries;
      attend_chunk(call, layout, thread, h, t0, T - t0 < kQueries ? T - t0 : kQueries, first, first + n);
    });
  }
}

}  // namespace hearth::avx2
