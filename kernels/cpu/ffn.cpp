// The gated FFN, alone and of the chosen experts: two steps over a list of jobs, of which each is one FFN and the
// tokens that go through it.
//
//   h = silu(gate x) * up x     pieces of 256 hidden values, which end as one X8 of the next step's input
//   y = sum of weight * down h  strips of output rows; a thread adds all jobs' parts to the outputs that it owns
//
// The sum over experts is in the order of the jobs: the shared expert first, then by expert number.
#include <algorithm>
#include <cassert>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/products.h"
#include "kernels/scratch.h"

namespace hearth::product {
namespace {

constexpr int64_t kMaxStrip = 256;  // output rows of a piece, at most

// Tokens multiplied at once, of n.
int64_t panel_tokens(int64_t n) {
  return std::min<int64_t>(n, kPanelTokens);
}
// A thread's gate and up, or its outputs.
int64_t work_floats(int64_t n_tokens) {
  return panel_tokens(n_tokens) * std::max(2 * kChunk, kMaxStrip);
}

struct Job {
  const FfnWeights* w;
  int64_t matrix;
  const int32_t* tokens;  // rows of x; null: all, in order
  const float* weights;   // of each token; null: 1
  int64_t n_tokens;
  std::byte* h;         // hidden values of its tokens, in the form that `down` reads
  int64_t first_piece;  // number of its first piece among the pieces of all jobs
};

struct Call {
  const Engine& engine;
  const Exec& exec;
  const Job* jobs;
  int64_t n_jobs, n_tokens;  // tokens of all jobs
  float* work;               // of each thread: work_floats(n_tokens)
  Stored x[kInputs];

  float* work_of(int thread) const { return work + thread * work_floats(n_tokens); }
  const FormatEngine& of(const Weight& w) const { return row_of(engine, w.format->id, exec.alike); }
  bool few_for(const Weight& w, const Job& job) const { return few(of(w), job.n_tokens, exec.alike); }
  // gate and up both go by rows or both by panels, whatever their formats.
  bool few_in(const Job& job) const { return few_for(job.w->gate, job) && few_for(job.w->up, job); }
  Form form(const Weight& w, bool is_few) const {
    const Rounding rounding = exec.alike ? rounding_of(*w.format, n_tokens) : Rounding::none;
    return {input_of(of(w), is_few), rounding, exec.alike};
  }
  Form hidden_form(const Job& job) const { return form(job.w->down, few_for(job.w->down, job)); }
  Stored hidden(const Job& job) const {
    const Form h = hidden_form(job);
    return {job.h, input_bytes(h.input, job.w->down.k), h.parts()};
  }
};

// gate, up [n][kChunk] -> hidden values first .. first + width - 1 of the job's tokens t0 .. t0 + n - 1.
void finish_hidden(const Call& call, const Job& job, int64_t t0, int64_t n, int64_t first, int64_t width, float* gate,
                   const float* up) {
  const Stored h = call.hidden(job);
  const Form form = call.hidden_form(job);
  for (int64_t t = 0; t < n; ++t) {
    call.engine.silu_product(gate + t * kChunk, up + t * kChunk, width);
    store_token(call.engine, form, gate + t * kChunk, first, width, h.stride,
                job.h + size_t((t0 + t) * h.parts) * h.stride);
  }
}

// Piece p of a job: up to 256 hidden values of all its tokens.
void hidden_piece(const Call& call, const Job& job, int64_t p, float* work, const uint8_t* next) {
  float *const gate = work, *const up = work + panel_tokens(call.n_tokens) * kChunk;
  const Weight &w_gate = job.w->gate, &w_up = job.w->up;
  const FormatEngine &f_gate = call.of(w_gate), &f_up = call.of(w_up);
  const int64_t first = p * kChunk, end = std::min(w_gate.n, first + kChunk), width = end - first;
  const bool is_few = call.few_in(job);
  const Tokens x_gate = {&call.x[int(input_of(f_gate, is_few))], job.tokens, job.n_tokens};
  const Tokens x_up = {&call.x[int(input_of(f_up, is_few))], job.tokens, job.n_tokens};
  if (is_few) {
    multiply_rows(f_gate, w_gate, job.matrix, first, end, x_gate, gate, kChunk, row_of(w_up, job.matrix, first));
    multiply_rows(f_up, w_up, job.matrix, first, end, x_up, up, kChunk, next);
    finish_hidden(call, job, 0, job.n_tokens, first, width, gate, up);
    return;
  }
  for (int64_t t0 = 0; t0 < job.n_tokens; t0 += kPanelTokens) {
    const int64_t n = panel_tokens(job.n_tokens - t0);
    const uint8_t* after_gate = t0 == 0 ? row_of(w_up, job.matrix, first) : nullptr;
    const uint8_t* after_up = t0 + n == job.n_tokens ? next : nullptr;
    multiply_panels(f_gate, w_gate, job.matrix, first, end, x_gate.slice(t0, n), gate, kChunk, after_gate);
    multiply_panels(f_up, w_up, job.matrix, first, end, x_up.slice(t0, n), up, kChunk, after_up);
    finish_hidden(call, job, t0, n, first, width, gate, up);
  }
}

// Rows [begin, end) of y: zero, then every job's part.
void output_strip(const Call& call, int64_t begin, int64_t end, Mat<float> y, float* out, const uint8_t* next) {
  const int64_t width = end - begin;
  assert(width <= kMaxStrip);
  for (int64_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t) + begin, width, 0.0f);
  for (int64_t j = 0; j < call.n_jobs; ++j) {
    const Job& job = call.jobs[j];
    const Weight& w = job.w->down;
    const FormatEngine& f = call.of(w);
    const Stored h = call.hidden(job);
    const Tokens tokens = {&h, nullptr, job.n_tokens};
    const auto add = [&](int64_t t, const float* part) {
      float* to = y.row(job.tokens ? job.tokens[t] : t) + begin;
      const float weight = job.weights ? job.weights[t] : 1.0f;
      for (int64_t r = 0; r < width; ++r) to[r] += weight * part[r];
    };
    const bool last = j + 1 == call.n_jobs;
    const uint8_t* after = last ? next : row_of(call.jobs[j + 1].w->down, call.jobs[j + 1].matrix, begin);
    if (call.few_for(w, job)) {
      multiply_rows(f, w, job.matrix, begin, end, tokens, out, kMaxStrip, after);
      for (int64_t t = 0; t < job.n_tokens; ++t) add(t, out + t * kMaxStrip);
      continue;
    }
    for (int64_t t0 = 0; t0 < job.n_tokens; t0 += kPanelTokens) {
      const int64_t n = panel_tokens(job.n_tokens - t0);
      multiply_panels(f, w, job.matrix, begin, end, tokens.slice(t0, n), out, kMaxStrip,
                      t0 + n == job.n_tokens ? after : nullptr);
      for (int64_t t = 0; t < n; ++t) add(t0 + t, out + t * kMaxStrip);
    }
  }
}

// Stores x in every form that a job's gate or up reads. (Of two formats that want floats, the first says how they are
// rounded.)
void store_inputs(Call& call, Mat<const float> x, std::byte* memory) {
  for (int64_t j = 0; j < call.n_jobs; ++j) {
    const Job& job = call.jobs[j];
    for (const Weight* w : {&job.w->gate, &job.w->up}) {
      const Form form = call.form(*w, call.few_in(job));
      Stored& to = call.x[int(form.input)];
      if (to.data) continue;
      to = store(call.engine, call.exec, form, x.data, x.stride, x.cols, x.rows, memory);
      if (!form.in_place()) memory += size_t(x.rows) * form.token_bytes(x.cols);
    }
  }
}

// The jobs, the stored inputs, the threads' work, and the tokens and weights of the routed ones, sorted by expert.
struct FfnLayout {
  Job* jobs;
  float* work;
  std::byte *x, *h;
  int32_t* tokens;
  float* weights;
  int64_t* next;  // per expert: where its next token goes

  FfnLayout(Scratch& scratch, int n_threads, int64_t T, int64_t dim, size_t h_bytes, int64_t n_experts,
            int64_t n_routed, bool alike) {
    jobs = scratch.take<Job>(n_experts + 1);
    work = scratch.take<float>(n_threads * work_floats(T));
    const size_t second = input_bytes(alike ? Input::f32 : Input::bf16, dim);
    x = scratch.take<std::byte>(T * int64_t(Form{Input::x8, {}, alike}.token_bytes(dim) + second));
    h = scratch.take<std::byte>(int64_t(h_bytes));
    tokens = scratch.take<int32_t>(n_routed);
    weights = scratch.take<float>(n_routed);
    next = scratch.take<int64_t>(n_experts + 1);
  }
};

void run_jobs(const Engine& engine, const Exec& exec, const FfnLayout& layout, int64_t n_jobs, Mat<const float> x,
              Mat<float> y) {
  assert(n_jobs > 0);
  Job* const jobs = layout.jobs;
  Call call = {engine, exec, jobs, n_jobs, x.rows, layout.work, {}};
  store_inputs(call, x, layout.x);
  int64_t n_pieces = 0;
  for (int64_t j = 0; j < n_jobs; ++j) {
    jobs[j].first_piece = n_pieces;
    n_pieces += chunks_of(jobs[j].w->gate.n);
  }
  const auto job_of = [&](int64_t piece) -> const Job& {
    int64_t j = 0;
    while (j + 1 < n_jobs && jobs[j + 1].first_piece <= piece) ++j;
    return jobs[j];
  };
  const int64_t strip = std::clamp(y.cols / (4 * exec.n_threads) / kStrip * kStrip, kStrip, kMaxStrip);
  const auto first_down = [&](int64_t row) { return row_of(jobs[0].w->down, jobs[0].matrix, row); };
  parallel_parts(exec.n_threads, n_pieces, 1, [&](const Part& part) {
    const uint8_t* next;
    if (part.next >= 0) {
      const Job& job = job_of(part.next);
      next = row_of(job.w->gate, job.matrix, (part.next - job.first_piece) * kChunk);
    } else {
      next = first_down(first_part(exec.n_threads, y.cols, strip, part.thread));
    }
    const Job& job = job_of(part.begin);
    hidden_piece(call, job, part.begin - job.first_piece, call.work_of(part.thread), next);
  });
  parallel_parts(exec.n_threads, y.cols, strip, [&](const Part& part) {
    output_strip(call, part.begin, part.end, y, call.work_of(part.thread),
                 part.next < 0 ? nullptr : first_down(part.next));
  });
}

// Bytes of one token's hidden values in the largest of their forms (bfloat16 takes half of float32).
size_t hidden_bytes(int64_t n, bool alike) {
  return std::max(input_bytes(Input::f32, n), Form{Input::x8, {}, alike}.token_bytes(n));
}

void check(const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.gate.k && x.cols == w.up.k && w.up.n == w.gate.n && w.down.k == w.gate.n && y.cols == w.down.n);
  assert(x.rows == y.rows);
  (void)w, (void)x, (void)y;
}

}  // namespace

void ffn(const Engine& engine, const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  check(w, x, y);
  if (x.rows == 0) return;
  Scratch scratch(exec);
  const FfnLayout layout(scratch, exec.n_threads, x.rows, x.cols, size_t(x.rows) * hidden_bytes(w.gate.n, exec.alike),
                         0, 0, exec.alike);
  layout.jobs[0] = {&w, 0, nullptr, nullptr, x.rows, layout.h, 0};
  run_jobs(engine, exec, layout, 1, x, y);
}

void moe_ffn(const Engine& engine, const Exec& exec, const FfnWeights& experts, const FfnWeights& shared,
             const int32_t* ids, const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  check(experts, x, y);
  if (x.rows == 0) return;
  const int64_t E = experts.n_experts(), T = x.rows, K = n_activated;
  const size_t routed_bytes = hidden_bytes(experts.gate.n, exec.alike),
               shared_bytes = shared.gate ? hidden_bytes(shared.gate.n, exec.alike) : 0;
  Scratch scratch(exec);
  const FfnLayout layout(scratch, exec.n_threads, T, x.cols, size_t(T * K) * routed_bytes + size_t(T) * shared_bytes, E,
                         T * K, exec.alike);
  int64_t n_jobs = 0;
  if (shared.gate) {
    check(shared, x, y);
    layout.jobs[n_jobs++] = {&shared, 0, nullptr, nullptr, T, layout.h + size_t(T * K) * routed_bytes, 0};
  }

  // Sort the assignments by expert: count, place.
  for (int64_t e = 0; e <= E; ++e) layout.next[e] = 0;
  for (int64_t i = 0; i < T * K; ++i) {
    assert(ids[i] >= 0 && ids[i] < E);
    ++layout.next[ids[i] + 1];
  }
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = layout.next[e], count = layout.next[e + 1];
    const int64_t matrix = experts.slots ? experts.slots[e] : e;
    if (count > 0 && matrix >= 0) {
      layout.jobs[n_jobs++] = {&experts,
                               matrix,
                               layout.tokens + first,
                               layout.weights + first,
                               count,
                               layout.h + size_t(first) * routed_bytes,
                               0};
    }
    layout.next[e + 1] = first + count;
  }
  for (int64_t i = 0; i < T * K; ++i) {
    const int64_t at = layout.next[ids[i]]++;
    layout.tokens[at] = int32_t(i / K);
    layout.weights[at] = weights[i];
  }
  if (n_jobs == 0) {  // none of the chosen experts is here, and there is no shared one
    for (int64_t t = 0; t < T; ++t) std::fill_n(y.row(t), y.cols, 0.0f);
    return;
  }
  run_jobs(engine, exec, layout, n_jobs, x, y);
}

size_t ffn_scratch_bytes(const ScratchLimits& l) {
  const int64_t T = l.max_tokens, n_routed = T * l.n_activated;
  const auto hidden = [&](int64_t n_rows, int64_t width) { return size_t(n_rows) * hidden_bytes(width, l.alike); };
  const size_t moe = hidden(n_routed, l.moe_inter_dim) + hidden(T, l.shared_inter_dim);
  const size_t dense = hidden(T, l.inter_dim);
  Scratch scratch;
  FfnLayout(scratch, l.n_threads, T, l.dim, std::max(moe, dense), l.n_experts, n_routed, l.alike);
  return scratch.used();
}

}  // namespace hearth::product
