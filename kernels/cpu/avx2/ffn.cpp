// The gated FFN, dense or of many experts, as one list of jobs: a job is one FFN with the tokens that go through it.
//
//   h = silu(gate x) * up x     jobs x panels of gate and up rows; SiLU while the panel is in L1
//   y = sum of weight * down h  panels of down rows; a thread adds all jobs' parts to the outputs that it owns
//
// Tokens are grouped by expert, so that an expert's weights are decoded once for all of them. The order of the sum over
// experts is that of the jobs: the shared one, then by expert number. So an output does not depend on threads or on the
// other tokens.
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace hearth::avx2 {
namespace {

constexpr int64_t kMaxPiece = 16;  // panels that a thread takes at once, at most

struct Job {
  const FfnWeights* w;
  int64_t matrix;
  const int32_t* tokens;  // null: all, in order
  const float* weights;   // of each token; null: 1
  int64_t n_tokens;
  float* h;             // [n_tokens, w->gate.n]
  int64_t first_panel;  // of its gate and up rows, among those of all jobs
};

int64_t panels_of(int64_t n) {
  return (n + kPanelRows - 1) / kPanelRows;
}

// Multiplies panel p of a job's matrix with tokens [t0, t0 + n_tokens) of x; gives the number of rows.
int64_t multiply(const Weight& w, int64_t matrix, int64_t p, const Activations& x, int64_t t0, int64_t n_tokens,
                 float* out) {
  const int64_t i0 = p * kPanelRows, n_rows = w.n - i0 < kPanelRows ? w.n - i0 : kPanelRows;
  const std::byte* rows = w.data + size_t(matrix) * w.matrix_stride + size_t(i0) * w.row_bytes;
  kernel_for(*w.format).multiply({w.format, rows, w.row_bytes, n_rows, w.k, x, t0, n_tokens}, out);
  return n_rows;
}

void hidden_panel(const Job& job, int64_t p, Mat<const float> x) {
  alignas(64) float gate[kPanelFloats], up[kPanelFloats];
  const int64_t width = job.w->gate.n;
  for (int64_t t0 = 0; t0 < job.n_tokens; t0 += kPanelTokens) {
    const int64_t T = job.n_tokens - t0 < kPanelTokens ? job.n_tokens - t0 : kPanelTokens, stride = round_up(T, 4);
    const Activations rows = {x.data, x.stride, job.tokens};
    const int64_t n_rows = multiply(job.w->gate, job.matrix, p, rows, t0, T, gate);
    multiply(job.w->up, job.matrix, p, rows, t0, T, up);
    for (int64_t i = 0; i < n_rows * stride; i += 8) {  // the last may be half outside: there is room
      _mm256_store_ps(gate + i, _mm256_mul_ps(silu8(_mm256_load_ps(gate + i)), _mm256_load_ps(up + i)));
    }
    for (int64_t t = 0; t < T; ++t) {
      float* to = job.h + (t0 + t) * width + p * kPanelRows;
      for (int64_t i = 0; i < n_rows; ++i) to[i] = gate[i * stride + t];
    }
  }
}

// Rows of panel p of y: zero, then every job's part.
void output_panel(const Job* jobs, int64_t n_jobs, int64_t p, Mat<float> y) {
  alignas(64) float out[kPanelFloats];
  const int64_t i0 = p * kPanelRows, n_rows = y.cols - i0 < kPanelRows ? y.cols - i0 : kPanelRows;
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t i = 0; i < n_rows; ++i) y.data[t * y.stride + i0 + i] = 0;
  }
  for (int64_t j = 0; j < n_jobs; ++j) {
    const Job& job = jobs[j];
    for (int64_t t0 = 0; t0 < job.n_tokens; t0 += kPanelTokens) {
      const int64_t T = job.n_tokens - t0 < kPanelTokens ? job.n_tokens - t0 : kPanelTokens, stride = round_up(T, 4);
      multiply(job.w->down, job.matrix, p, {job.h, job.w->gate.n, nullptr}, t0, T, out);
      for (int64_t t = 0; t < T; ++t) {
        float* to = y.data + (job.tokens ? job.tokens[t0 + t] : t0 + t) * y.stride + i0;
        const float weight = job.weights ? job.weights[t0 + t] : 1.0f;
        for (int64_t i = 0; i < n_rows; ++i) to[i] += weight * out[i * stride + t];
      }
    }
  }
}

void run_jobs(const Exec& exec, Job* jobs, int64_t n_jobs, Mat<const float> x, Mat<float> y) {
  assert(n_jobs > 0);
  int64_t n_panels = 0, n_in = 0, n_out = 0;  // multiplications for gate and up, and for down
  for (int64_t j = 0; j < n_jobs; ++j) {
    const int64_t n = jobs[j].n_tokens * x.cols * jobs[j].w->gate.n;
    jobs[j].first_panel = n_panels;
    n_panels += panels_of(jobs[j].w->gate.n);
    n_in += 2 * n;
    n_out += n;
  }
  parallel_for(exec.n_threads, n_panels, fair_piece(exec.n_threads, n_panels, n_in / n_panels, kMaxPiece),
               [&](int64_t begin, int64_t end, int) {
                 int64_t j = 0;
                 for (int64_t p = begin; p < end; ++p) {
                   while (j + 1 < n_jobs && jobs[j + 1].first_panel <= p) ++j;
                   hidden_panel(jobs[j], p - jobs[j].first_panel, x);
                 }
               });
  const int64_t out_panels = panels_of(y.cols);
  parallel_for(exec.n_threads, out_panels, fair_piece(exec.n_threads, out_panels, n_out / out_panels, kMaxPiece),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t p = begin; p < end; ++p) output_panel(jobs, n_jobs, p, y);
               });
}

// The jobs, the hidden values of all of them, and the tokens and weights of the routed ones, sorted by expert.
struct Layout {
  Job* jobs;
  float* hidden;
  int32_t* tokens;
  float* weights;
  int64_t* next;  // per expert: where its next token goes

  Layout(Scratch& scratch, int64_t n_hidden, int64_t n_experts, int64_t n_routed) {
    jobs = scratch.take<Job>(n_experts + 1);
    hidden = scratch.take<float>(n_hidden);
    tokens = scratch.take<int32_t>(n_routed);
    weights = scratch.take<float>(n_routed);
    next = scratch.take<int64_t>(n_experts + 1);
  }
};

void check(const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.gate.k && x.cols == w.up.k && w.up.n == w.gate.n && w.down.k == w.gate.n && y.cols == w.down.n);
  assert(x.rows == y.rows);
  (void)w, (void)x, (void)y;
}

}  // namespace

size_t ffn_scratch(const ScratchLimits& l) {
  const int64_t T = l.max_tokens, n_routed = T * l.n_activated;
  const int64_t moe = n_routed * l.moe_inter_dim + T * l.shared_inter_dim, dense = T * l.inter_dim;
  Scratch measure;
  Layout(measure, moe > dense ? moe : dense, l.n_experts, n_routed);
  return measure.used();
}

void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  check(w, x, y);
  if (x.rows == 0) return;
  Scratch scratch(exec);
  const Layout layout(scratch, x.rows * w.gate.n, 0, 0);
  layout.jobs[0] = {&w, 0, nullptr, nullptr, x.rows, layout.hidden, 0};
  run_jobs(exec, layout.jobs, 1, x, y);
}

void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  check(experts, x, y);
  if (x.rows == 0) return;
  const int64_t E = experts.gate.count, T = x.rows, K = n_activated, inter = experts.gate.n;
  const bool has_shared = shared.gate.data != nullptr;
  Scratch scratch(exec);
  const Layout layout(scratch, T * K * inter + (has_shared ? T * shared.gate.n : 0), E, T * K);
  int64_t n_jobs = 0;
  if (has_shared) {
    check(shared, x, y);
    layout.jobs[n_jobs++] = {&shared, 0, nullptr, nullptr, T, layout.hidden + T * K * inter, 0};
  }

  // Sort the assignments by expert: count, place.
  for (int64_t e = 0; e <= E; ++e) layout.next[e] = 0;
  for (int64_t i = 0; i < T * K; ++i) {
    assert(ids[i] >= 0 && ids[i] < E);
    ++layout.next[ids[i] + 1];
  }
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = layout.next[e], count = layout.next[e + 1];
    if (count > 0) {
      layout.jobs[n_jobs++] = {
          &experts, e, layout.tokens + first, layout.weights + first, count, layout.hidden + first * inter, 0};
    }
    layout.next[e + 1] = first + count;
  }
  for (int64_t i = 0; i < T * K; ++i) {
    const int64_t at = layout.next[ids[i]]++;
    layout.tokens[at] = int32_t(i / K);
    layout.weights[at] = weights[i];
  }
  run_jobs(exec, layout.jobs, n_jobs, x, y);
}

}  // namespace hearth::avx2
