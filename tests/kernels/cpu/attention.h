// What the tests of attention share: a cache, the formulas in double, and calls of a table's operations.
#pragma once

#include "tests/kernels/fixture.h"
#include "tests/kernels/limits.h"
#include "tests/kernels/pages.h"

namespace hearth::test {

using Shapes = AttentionShapes;

// One layer's cache with n_kv random rows of a sequence; all others are NaN and must not matter.
struct Cache {
  Cache(Rng& rng, FormatId id, int64_t n_kv, int64_t n_ctx, int64_t r, int64_t dr, int page_bits = kPageBits)
      : table(n_ctx, page_bits),
        view{nullptr, id, table.n_rows(), r, dr},
        floats(n_kv * (r + dr)),
        memory(view.row_bytes() * view.n_rows, std::byte(0xFF)) {
    view.data = memory.data();
    for (float& x : floats) x = normal(rng);
    for (int64_t p = 0; p < n_kv; ++p) {
      float* row = floats.data() + p * view.width();
      std::byte* stored = memory.data() + size_t(table.row(p)) * view.row_bytes();
      format_of(id).encode(row, nullptr, stored, view.width());
      format_of(id).decode(stored, row, view.width());
    }
  }
  const float* row(int64_t p) const { return floats.data() + p * view.width(); }

  PageTable table;
  LatentCache view;
  std::vector<float> floats;
  std::vector<std::byte> memory;
};

// q rows hold H heads of [first part | rope part].
inline std::vector<double> absorbed(const Rows& q, int64_t t, int64_t h, const Cache& cache, int64_t n_kv,
                                    double scale) {
  const int64_t width = cache.view.width();
  std::vector<double> p(n_kv), out(cache.view.kv_lora_rank);
  for (int64_t i = 0; i < n_kv; ++i) p[i] = scale * dot(q[t] + h * width, cache.row(i), width).value;
  softmax(p);
  for (int64_t i = 0; i < n_kv; ++i) {
    for (size_t c = 0; c < out.size(); ++c) out[c] += p[i] * cache.row(i)[c];
  }
  return out;
}

// A head's keys [n_kv, nope] and values [n_kv, v].
struct Expanded {
  std::vector<double> keys, values;

  Expanded(const Shapes& s, int64_t h, const TestWeight& k_b, const TestWeight& v_b, const Cache& cache, int64_t n_kv)
      : keys(n_kv * s.nope), values(n_kv * s.v) {
    for (int64_t i = 0; i < n_kv; ++i) {
      const float* c_kv = cache.row(i);
      for (int64_t c = 0; c < s.r; ++c) {
        const float* row = k_b.row(h, c);
        for (int64_t j = 0; j < s.nope; ++j) keys[i * s.nope + j] += double(row[j]) * c_kv[c];
      }
      for (int64_t j = 0; j < s.v; ++j) values[i * s.v + j] = dot(v_b.row(h, j), c_kv, s.r).value;
    }
  }
};

inline std::vector<double> naive(const Rows& q, int64_t t, int64_t h, const Shapes& s, const Expanded& head,
                                 const Cache& cache, int64_t n_kv, double scale) {
  std::vector<double> p(n_kv), out(s.v);
  const float* query = q[t] + h * (s.nope + s.dr);
  for (int64_t i = 0; i < n_kv; ++i) {
    double score = dot(query + s.nope, cache.row(i) + s.r, s.dr).value;
    for (int64_t j = 0; j < s.nope; ++j) score += query[j] * head.keys[i * s.nope + j];
    p[i] = score * scale;
  }
  softmax(p);
  for (int64_t i = 0; i < n_kv; ++i) {
    for (int64_t j = 0; j < s.v; ++j) out[j] += p[i] * head.values[i * s.v + j];
  }
  return out;
}

// Runs over random queries; q rows hold [q_c | q_rope] per head.
inline Rows run_mla(const Ops& ops, const Shapes& s, Rows& q, const Cache& cache, int64_t pos0, float scale,
                    int n_threads) {
  const int64_t T = q.view().rows;
  Rows o(T, s.H * s.r);
  Bed bed(ops, attention_limits(s, T, cache.table.n_rows()), n_threads);
  ops.mla_attend(bed.exec(), q.heads(s.H, s.r, 0, s.r + s.dr), q.heads(s.H, s.dr, s.r, s.r + s.dr), cache.view,
                 Standing(cache.table, pos0, T).at, scale, o.heads(s.H, s.r));
  CHECK(o.clean());
  CHECK(bed.scratch_kept());
  return o;
}

inline Rows run_mha(const Ops& ops, const Shapes& s, Rows& q, const TestWeight& k_b, const TestWeight& v_b,
                    const Cache& cache, int64_t pos0, float scale, int n_threads) {
  const int64_t T = q.view().rows;
  Rows o(T, s.H * s.v);
  Bed bed(ops, attention_limits(s, T, cache.table.n_rows()), n_threads);
  ops.mha_attend(bed.exec(), q.heads(s.H, s.nope, 0, s.nope + s.dr), q.heads(s.H, s.dr, s.nope, s.nope + s.dr),
                 k_b.view, v_b.view, cache.view, Standing(cache.table, pos0, T).at, scale, o.heads(s.H, s.v));
  CHECK(o.clean());
  CHECK(bed.scratch_kept());
  return o;
}

}  // namespace hearth::test
