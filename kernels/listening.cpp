#include "kernels/listening.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/watch.h"

namespace hearth {
namespace {

thread_local Listening* listening = nullptr;

Mat<float> matrix_in(std::vector<float>& memory, int64_t rows, int64_t cols) {
  if (memory.size() < size_t(rows * cols)) memory.resize(size_t(rows * cols));
  return {memory.data(), rows, cols};
}

// One of the stack.
Weight single(Weight w, int64_t i) {
  w.data += size_t(i) * w.matrix_stride;
  w.count = 1;
  return w;
}

// gate = silu(gate) * up
void gate_by(Mat<const float> up, Mat<float> gate) {
  for (int64_t t = 0; t < gate.rows; ++t) {
    float* const g = gate.row(t);
    const float* const u = up.row(t);
    for (int64_t i = 0; i < gate.cols; ++i) g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
  }
}

}  // namespace

struct Listening::Operations {
  static Listening& here() {
    assert(listening != nullptr);
    return *listening;
  }

  static void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
    here().tell(w, 0, x);
    here().ops_.matmul(exec, w, x, y);
  }

  static void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                          Mat<float> y_b) {
    here().tell(a, 0, x);
    here().tell(b, 0, x);
    here().ops_.matmul_pair(exec, a, b, x, y_a, y_b);
  }

  static void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
    here().tell_heads(w, x);
    here().ops_.matmul_heads(exec, w, x, y);
  }

  static void absorbed_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                              const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                              Heads<float> q_c, Heads<float> o_c, Heads<float> o) {
    matmul_heads(exec, k_b, q_nope, q_c);
    here().ops_.mla_attend(exec, q_c, q_rope, cache, at, scale, o_c);
    matmul_heads(exec, v_b, o_c, o);
  }

  static void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps,
                           const RopeTable& table, const LatentCache& cache, const Positions& at) {
    Listening& self = here();
    const Mat<float> c_kv = matrix_in(self.rows_, kv_a.rows, cache.kv_lora_rank);
    self.ops_.rms_norm(exec, kv_a.columns(0, cache.kv_lora_rank), norm, eps, c_kv);
    if (!watch_stopped()) self.listener_.hear_latent(norm, c_kv);
    self.ops_.store_latent(exec, kv_a, norm, eps, table, cache, at);
  }

  static void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
    here().gated(exec, w, 0, x, y);
  }

  // Expert by expert, each with the tokens that chose it.
  static void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
                      const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
    Listening& self = here();
    assert(!experts.slots);
    if (shared.gate) {
      self.gated(exec, shared, 0, x, y);
    } else {
      for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t), y.cols, 0.0f);
    }
    if (watch_stopped()) return;  // what the router chose is not to be used
    std::vector<int64_t>& chosen = self.chosen_;
    chosen.resize(size_t(x.rows * n_activated));
    for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = int64_t(i);
    std::ranges::stable_sort(chosen, {}, [&](int64_t i) { return ids[i]; });
    for (size_t first = 0, n; first < chosen.size(); first += n) {
      const int32_t expert = ids[chosen[first]];
      for (n = 1; first + n < chosen.size() && ids[chosen[first + n]] == expert;) ++n;
      const Mat<float> rows = matrix_in(self.rows_, int64_t(n), x.cols),
                       sums = matrix_in(self.sums_, int64_t(n), y.cols);
      for (size_t i = 0; i < n; ++i) {
        std::copy_n(x.row(chosen[first + i] / n_activated), x.cols, rows.row(int64_t(i)));
      }
      self.gated(exec, experts, expert, rows, sums);
      for (size_t i = 0; i < n; ++i) {
        const float weight = weights[chosen[first + i]];
        const float* const from = sums.row(int64_t(i));
        float* const to = y.row(chosen[first + i] / n_activated);
        for (int64_t c = 0; c < y.cols; ++c) to[c] += weight * from[c];
      }
    }
  }
};

Listening::Listening(const Ops& ops, InputListener& listener) : ops_(ops), listener_(listener), table_(ops) {
  table_.matmul = Operations::matmul;
  table_.matmul_pair = Operations::matmul_pair;
  table_.matmul_heads = Operations::matmul_heads;
  table_.absorbed_attend = Operations::absorbed_attend;
  table_.store_latent = Operations::store_latent;
  table_.ffn = Operations::ffn;
  table_.moe_ffn = Operations::moe_ffn;
}

Listening::Scope::Scope(Listening* scoped) : before_(listening) {
  if (scoped) listening = scoped;
}
Listening::Scope::~Scope() {
  listening = before_;
}

void Listening::tell(const Weight& w, int64_t matrix, Mat<const float> x) {
  if (!watch_stopped()) listener_.hear(w, matrix, x);
}

void Listening::tell_heads(const Weight& w, Heads<const float> x) {
  for (int64_t head = 0; head < x.n_heads; ++head) {
    tell(w, head, {x.at(0, head), x.n_tokens, x.width, x.token_stride});
  }
}

void Listening::gated(const Exec& exec, const FfnWeights& w, int64_t i, Mat<const float> x, Mat<float> y) {
  const Mat<float> gate = matrix_in(gate_, x.rows, w.gate.n), up = matrix_in(up_, x.rows, w.up.n);
  tell(w.gate, i, x);
  tell(w.up, i, x);
  ops_.matmul_pair(exec, single(w.gate, i), single(w.up, i), x, gate, up);
  gate_by(up, gate);
  tell(w.down, i, gate);
  ops_.matmul(exec, single(w.down, i), gate, y);
}

}  // namespace hearth
