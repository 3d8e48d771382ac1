// Attention over the latent cache, absorbed and naive (DeepSeek-V2 2.1.2, App. C), for one (token, head) or one head
// at a time. Softmax in double.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/latent_rows.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "kernels/scratch.h"
#include "quant/fp.h"

namespace hearth::scalar {
namespace {

void read_cache(const LatentRows& rows, int64_t position, float* out) {
  const LatentCache& cache = *rows.cache;
  const std::byte* row = row_at(rows, position);
  if (cache.format == FormatId::f32) {
    std::memcpy(out, row, cache.row_bytes());
    return;
  }
  for (int64_t i = 0; i < cache.width(); ++i) {
    uint16_t half;
    std::memcpy(&half, row + i * 2, 2);
    out[i] = bf16_to_float(half);
  }
}

// Absorbed: one cache row, one output row and all scores of a query, for each thread.
struct MlaLayout {
  float* rows;
  double* sums;
  double* scores;

  MlaLayout(Scratch& scratch, int64_t n_threads, int64_t width, int64_t n_kv) {
    rows = scratch.take<float>(n_threads * width);
    sums = scratch.take<double>(n_threads * width);
    scores = scratch.take<double>(n_threads * n_kv);
  }
};

// Naive: one head's decoded k_b and v_b, one cache row, its key and value, and the running softmax of every query
// (maximum, sum, weighted values), for each thread.
struct MhaLayout {
  float *k_b, *v_b, *row, *key, *value;
  double* running;

  MhaLayout(Scratch& scratch, int64_t n_threads, int64_t n_tokens, int64_t r, int64_t nope, int64_t rope, int64_t v) {
    k_b = scratch.take<float>(n_threads * r * nope);
    v_b = scratch.take<float>(n_threads * v * r);
    row = scratch.take<float>(n_threads * (r + rope));
    key = scratch.take<float>(n_threads * nope);
    value = scratch.take<float>(n_threads * v);
    running = scratch.take<double>(n_threads * n_tokens * (v + 2));
  }
};

}  // namespace

size_t mla_scratch(const ScratchLimits& l) {
  Scratch measure;
  MlaLayout(measure, l.n_threads, l.kv_lora_rank + l.qk_rope_head_dim, l.n_ctx);
  return measure.used();
}

size_t mha_scratch(const ScratchLimits& l) {
  Scratch measure;
  MhaLayout(measure, l.n_threads, l.max_tokens, l.kv_lora_rank, l.qk_nope_head_dim, l.qk_rope_head_dim, l.v_head_dim);
  return measure.used();
}

// score_p = (q_c . c_p + q_rope . k_rope_p) scale;  o_c = sum_p softmax(score)_p c_p
void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                const Positions& at, float scale, Heads<float> o_c) {
  const int64_t r = cache.kv_lora_rank, dr = cache.rope_dim, width = cache.width(), H = q_c.n_heads;
  const int64_t most = *std::max_element(at.ids, at.ids + q_c.n_tokens) + 1;
  assert(q_c.width == r && q_rope.width == dr && o_c.width == r);
  Scratch scratch(exec);
  const MlaLayout layout(scratch, exec.n_threads, width, most);
  parallel_for(exec.n_threads, q_c.n_tokens * H, 1, [&](int64_t task, int64_t, int thread) {
    const int64_t t = task / H, h = task % H;
    const LatentRows rows = rows_of(cache, at, t);
    float* row = layout.rows + thread * width;
    double* sum = layout.sums + thread * width;
    double* score = layout.scores + thread * most;

    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t p = 0; p < rows.n; ++p) {
      read_cache(rows, p, row);
      score[p] = scale * (dot(q_c.at(t, h), row, r) + dot(q_rope.at(t, h), row + r, dr));
      largest = std::max(largest, score[p]);
    }
    double total = 0;
    std::fill_n(sum, r, 0.0);
    for (int64_t p = 0; p < rows.n; ++p) {
      read_cache(rows, p, row);
      const double weight = std::exp(score[p] - largest);
      total += weight;
      for (int64_t c = 0; c < r; ++c) sum[c] += weight * row[c];
    }
    for (int64_t c = 0; c < r; ++c) o_c.at(t, h)[c] = float(sum[c] / total);
  });
}

void absorbed_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                     const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> q_c,
                     Heads<float> o_c, Heads<float> o) {
  matmul_heads(exec, k_b, q_nope, q_c);
  mla_attend(exec, q_c, q_rope, cache, at, scale, o_c);
  matmul_heads(exec, v_b, o_c, o);
}

// k_p = W^UK c_p, v_p = W^UV c_p;  score_p = (q_nope . k_p + q_rope . k_rope_p) scale;  o = sum_p softmax(score)_p v_p
void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
  const LatentRows rows = rows_of(cache, at, q_nope.n_tokens - 1);  // those that the last token sees
  const int64_t pos0 = at.ids[0];
  const int64_t r = cache.kv_lora_rank, dr = cache.rope_dim, nope = q_nope.width, v = o.width, T = q_nope.n_tokens;
  assert(k_b.n == r && k_b.k == nope && v_b.n == v && v_b.k == r && q_rope.width == dr && at.together &&
         pos0 + T == rows.n);
  Scratch scratch(exec);
  const MhaLayout layout(scratch, exec.n_threads, T, r, nope, dr, v);
  parallel_for(exec.n_threads, q_nope.n_heads, 1, [&](int64_t h, int64_t, int thread) {
    float* w_k = layout.k_b + thread * r * nope;
    float* w_v = layout.v_b + thread * v * r;
    float* row = layout.row + thread * (r + dr);
    float* key = layout.key + thread * nope;
    float* value = layout.value + thread * v;
    double* running = layout.running + thread * T * (v + 2);

    for (int64_t c = 0; c < r; ++c) k_b.format->decode(k_b.row(h, c), w_k + c * nope, nope);
    for (int64_t j = 0; j < v; ++j) v_b.format->decode(v_b.row(h, j), w_v + j * r, r);
    for (int64_t t = 0; t < T; ++t) {
      running[t * (v + 2)] = -std::numeric_limits<double>::infinity();
      std::fill_n(running + t * (v + 2) + 1, v + 1, 0.0);
    }
    for (int64_t p = 0; p < rows.n; ++p) {
      read_cache(rows, p, row);
      for (int64_t i = 0; i < nope; ++i) {  // k_b is stored transposed: its rows run over the latent
        double sum = 0;
        for (int64_t c = 0; c < r; ++c) sum += double(w_k[c * nope + i]) * row[c];
        key[i] = float(sum);
      }
      for (int64_t j = 0; j < v; ++j) value[j] = float(dot(w_v + j * r, row, r));

      // Every query that may see this position takes it into its running softmax.
      for (int64_t t = std::max<int64_t>(0, p - pos0); t < T; ++t) {
        double& largest = running[t * (v + 2)];
        double& total = running[t * (v + 2) + 1];
        double* sum = running + t * (v + 2) + 2;
        const double score = scale * (dot(q_nope.at(t, h), key, nope) + dot(q_rope.at(t, h), row + r, dr));
        if (score > largest) {
          const double shrink = std::exp(largest - score);
          total *= shrink;
          for (int64_t j = 0; j < v; ++j) sum[j] *= shrink;
          largest = score;
        }
        const double weight = std::exp(score - largest);
        total += weight;
        for (int64_t j = 0; j < v; ++j) sum[j] += weight * value[j];
      }
    }
    for (int64_t t = 0; t < T; ++t) {
      const double total = running[t * (v + 2) + 1];
      for (int64_t j = 0; j < v; ++j) o.at(t, h)[j] = float(running[t * (v + 2) + 2 + j] / total);
    }
  });
}

}  // namespace hearth::scalar
