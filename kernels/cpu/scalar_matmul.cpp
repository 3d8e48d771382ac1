// y = x W^T and what is built from it, one weight row at a time: decode the row to floats by the table of formats,
// then one dot product per token. Decoding is shared by the tokens of a call; nothing else is clever here.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "kernels/rounding.h"
#include "kernels/scratch.h"

namespace hearth::scalar {
namespace {

constexpr int64_t kRowsPerPiece = 16;

// Two decoded weight rows for each thread, and the hidden values of an FFN.
struct Layout {
  float* rows;
  float* hidden;
  float* token;  // one, rounded
  int64_t width;

  Layout(Scratch& scratch, int n_threads, int64_t width, int64_t n_hidden) : width(width) {
    rows = scratch.take<float>(2 * n_threads * width);
    hidden = scratch.take<float>(n_hidden);
    token = scratch.take<float>(width);
  }
  float* row(int thread, int which) const { return rows + (2 * thread + which) * width; }
};

void decode_row(const Weight& w, int64_t matrix, int64_t i, float* out) {
  w.format->decode(w.row(matrix, i), out, w.k);
}

float silu(double x) {
  return float(x / (1.0 + std::exp(-x)));
}

// h = silu(gate x) * up x for one matrix: x [T,d] -> h [T,n].
void gated(const Exec& exec, const Layout& layout, const FfnWeights& w, int64_t matrix, Mat<const float> x,
           Mat<float> h) {
  parallel_for(exec.n_threads, w.gate.n, kRowsPerPiece, [&](int64_t begin, int64_t end, int thread) {
    float* gate = layout.row(thread, 0);
    float* up = layout.row(thread, 1);
    for (int64_t i = begin; i < end; ++i) {
      decode_row(w.gate, matrix, i, gate);
      decode_row(w.up, matrix, i, up);
      for (int64_t t = 0; t < x.rows; ++t) {
        h.row(t)[i] = float(silu(dot(gate, x.row(t), x.cols)) * dot(up, x.row(t), x.cols));
      }
    }
  });
}

}  // namespace

size_t matmul_scratch(const ScratchLimits& l) {
  const int64_t inter = std::max({l.inter_dim, l.moe_inter_dim, l.shared_inter_dim});
  Scratch measure;
  Layout(measure, l.n_threads, l.max_width, l.max_tokens * inter);
  return measure.used();
}

void embed(const Exec&, const Weight& table, const int32_t* tokens, Mat<float> x) {
  assert(x.cols == table.k);
  for (int64_t t = 0; t < x.rows; ++t) {
    assert(tokens[t] >= 0 && tokens[t] < table.n);
    decode_row(table, 0, tokens[t], x.row(t));
  }
}

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.k && y.cols == w.n && x.rows == y.rows);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, w.k, 0);
  parallel_for(exec.n_threads, w.n, kRowsPerPiece, [&](int64_t begin, int64_t end, int thread) {
    float* row = layout.row(thread, 0);
    for (int64_t i = begin; i < end; ++i) {
      decode_row(w, 0, i, row);
      for (int64_t t = 0; t < x.rows; ++t) y.row(t)[i] = float(dot(row, x.row(t), w.k));
    }
  });
}

void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b) {
  matmul(exec, a, x, y_a);
  matmul(exec, b, x, y_b);
}

void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.width == w.k && y.width == w.n && x.n_heads == w.count && y.n_heads == w.count && x.n_tokens == y.n_tokens);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, w.k, 0);
  parallel_for(exec.n_threads, w.count * w.n, kRowsPerPiece, [&](int64_t begin, int64_t end, int thread) {
    float* row = layout.row(thread, 0);
    for (int64_t hi = begin; hi < end; ++hi) {
      const int64_t h = hi / w.n, i = hi % w.n;
      decode_row(w, h, i, row);
      for (int64_t t = 0; t < x.n_tokens; ++t) y.at(t, h)[i] = float(dot(row, x.at(t, h), w.k));
    }
  });
}

void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.gate.k && w.up.n == w.gate.n && w.down.k == w.gate.n && y.cols == w.down.n);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, std::max(w.gate.k, w.gate.n), x.rows * w.gate.n);
  const Mat<float> h(layout.hidden, x.rows, w.gate.n);
  gated(exec, layout, w, 0, x, h);
  parallel_for(exec.n_threads, w.down.n, kRowsPerPiece, [&](int64_t begin, int64_t end, int thread) {
    float* row = layout.row(thread, 0);
    for (int64_t i = begin; i < end; ++i) {
      decode_row(w.down, 0, i, row);
      for (int64_t t = 0; t < x.rows; ++t) y.row(t)[i] = float(dot(row, h.row(t), h.cols));
    }
  });
}

// Token by token and expert by expert, as the sum is written; no grouping, so that the fast tables' grouping is
// checked against something that has none.
void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  if (shared.gate) {
    ffn(exec, shared, x, y);
  } else {
    for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t), y.cols, 0.0f);
  }
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, std::max(experts.gate.k, experts.gate.n), experts.gate.n);
  const Mat<float> h(layout.hidden, 1, experts.gate.n);
  const auto round = [&](const Weight& w, float* values) {
    if (exec.alike) round_activations(rounding_of(*w.format, x.rows), values, w.k);
  };
  for (int64_t t = 0; t < x.rows; ++t) {
    std::copy_n(x.row(t), x.cols, layout.token);
    round(experts.gate, layout.token);
    for (int64_t j = 0; j < n_activated; ++j) {
      const int64_t id = ids[t * n_activated + j], e = experts.slots ? experts.slots[id] : id;
      const float weight = weights[t * n_activated + j];
      assert(id >= 0 && id < experts.n_experts() && e < experts.gate.count);
      if (e < 0) continue;
      gated(exec, layout, experts, e, Mat<const float>(layout.token, 1, x.cols), h);
      round(experts.down, h.data);
      parallel_for(exec.n_threads, experts.down.n, kRowsPerPiece, [&](int64_t begin, int64_t end, int thread) {
        float* row = layout.row(thread, 0);
        for (int64_t i = begin; i < end; ++i) {
          decode_row(experts.down, e, i, row);
          y.row(t)[i] += float(weight * dot(row, h.data, h.cols));
        }
      });
    }
  }
}

}  // namespace hearth::scalar
