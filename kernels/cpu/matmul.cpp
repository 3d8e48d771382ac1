// The matrix products, cut into pieces that an Engine's kernels compute.
//
// Activations are stored once per operation in the form that the kernels want, for all matrices that read them. Then
// pieces of rows are handed to the threads. A piece is whole rows for all its tokens, so an output's bits depend
// neither on the number of threads nor on which thread computes it. The gated FFN is two such steps over a list of
// jobs; a job is one FFN and the tokens that go through it:
//
//   h = silu(gate x) * up x     pieces of 256 hidden values, which end as one X8 of the next step's input
//   y = sum of weight * down h  strips of output rows; a thread adds all jobs' parts to the outputs that it owns
//
// The sum over experts is in the order of the jobs: the shared expert first, then by expert number.
//
// Where all backends are to round alike (Exec::alike), activations have 16 bits, and those of 256 neighbours different
// scales: more than an X8 can hold. So a token is stored as three of them, each holding what those before left over,
// exact to a float32's bits. To kernels these are three tokens, whose products are added up: no format and no
// instruction set needs a kernel of its own, and weights are read and unpacked once for the three.
#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/cpu/parallel.h"
#include "kernels/rounding.h"
#include "kernels/scratch.h"
#include "quant/error.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

const FormatEngine* find_row(const Engine& engine, FormatId id, bool exact) {
  for (const FormatRows& rows : engine.formats) {
    for (int i = 0; i < rows.n; ++i) {
      const FormatEngine& row = rows.first[i];
      const bool rounds = row.rows_input == Input::bf16 || row.panels_input == Input::bf16;
      if (row.id == id && !(exact && rounds)) return &row;
    }
  }
  return nullptr;
}

}  // namespace

const FormatEngine& row_of(const Engine& engine, FormatId id, bool exact) {
  const FormatEngine* const row = find_row(engine, id, exact);
  if (!row) std::abort();  // see require_all_formats
  return *row;
}

void require_all_formats(const Engine& engine) {
  for (const Format& format : all_formats()) {
    require(find_row(engine, format.id, true) != nullptr, ErrorKind::resource,
            "this build has no CPU kernels for the format {}", format.name);
  }
}

namespace product {
namespace {

constexpr int64_t kHiddenTokens = 128;  // tokens at once in a hidden_piece: gate and up take 256 KB, for L2
constexpr int64_t kStrip = 64;          // rows multiplied with every group of tokens before the next rows are read
constexpr int64_t kMaxStrip = 256;      // output rows of a piece, at most

int64_t chunks_of(int64_t k) {
  return (k + kChunk - 1) / kChunk;
}
// X8s of a token: an odd number, since tokens 4096 bytes apart would push one another out of L1.
int64_t x8s_of(int64_t k) {
  return chunks_of(k) | 1;
}
size_t input_bytes(Input input, int64_t k) {
  const size_t k64 = size_t(round_up(k, 64));
  return input == Input::x8 ? size_t(x8s_of(k)) * sizeof(X8) : k64 * (input == Input::bf16 ? 2 : sizeof(float));
}

// Values [at, at + n) of a row, n <= kChunk, into a stored row.
void store_part(const Engine& engine, Input input, const float* x, int64_t at, int64_t n, std::byte* row) {
  if (input == Input::x8) {
    engine.quantize(x, n, reinterpret_cast<X8*>(row) + at / kChunk);
  } else if (input == Input::bf16) {
    engine.round(x, n, reinterpret_cast<uint16_t*>(row) + at);
  } else {
    memcpy(row + size_t(at) * sizeof(float), x, size_t(n) * sizeof(float));
  }
}

Input input_of(const FormatEngine& f, bool is_few) {
  return is_few ? f.rows_input : f.panels_input;
}

constexpr int kParts = 3;      // X8s of a token where it is to be exact
constexpr int kFewTokens = 4;  // tokens in that many parts that are multiplied by rows, at most

// The form of a product's activations: as kernels want it, and how they are rounded before.
struct Form {
  Input input = Input::f32;
  Rounding rounding = Rounding::none;
  bool alike = false;

  int parts() const { return alike && input == Input::x8 ? kParts : 1; }
  // Where they are and as they are.
  bool in_place() const { return input == Input::f32 && rounding == Rounding::none; }
  size_t token_bytes(int64_t k) const { return size_t(parts()) * input_bytes(input, k); }
};

// Values [at, at + n) of a token, n <= kChunk, into its rows, `stride` bytes apart.
void store_token(const Engine& engine, const Form& form, const float* x, int64_t at, int64_t n, size_t stride,
                 std::byte* rows) {
  if (!form.alike) return store_part(engine, form.input, x, at, n, rows);
  alignas(64) float left[kChunk];
  memcpy(left, x, size_t(n) * sizeof(float));
  round_activations(form.rounding, left, n);
  store_part(engine, form.input, left, at, n, rows);
  for (int part = 1; part < form.parts(); ++part) {
    const X8& before = reinterpret_cast<const X8*>(rows)[at / kChunk];
    for (int64_t i = 0; i < n; ++i) left[i] -= before.scale * float(before.q[i]);
    rows += stride;
    store_part(engine, form.input, left, at, n, rows);
  }
}

// Rows of activations in one form: those of token t, `parts` of them, from data + t * parts * stride on.
struct Stored {
  const std::byte* data = nullptr;
  size_t stride = 0;
  int parts = 1;
  const void* row(int64_t t, int part) const { return data + size_t(t * parts + part) * stride; }
};

bool few(const FormatEngine& f, int64_t n_tokens, bool alike = false) {
  if (!alike || f.rows_input != Input::x8) return n_tokens < f.panels_from;
  return n_tokens <= kFewTokens && n_tokens * kParts < f.panels_from;
}

// x in a form. Floats that are not rounded stay where they are; the others go to `memory`.
Stored store(const Engine& engine, const Exec& exec, const Form& form, const float* x, int64_t x_stride, int64_t k,
             int64_t n_tokens, std::byte* memory) {
  if (form.in_place()) return {reinterpret_cast<const std::byte*>(x), size_t(x_stride) * sizeof(float)};
  const size_t stride = input_bytes(form.input, k);
  const int64_t n_chunks = chunks_of(k);
  parallel_for(exec.n_threads, n_tokens * n_chunks, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i / n_chunks, at = i % n_chunks * kChunk;
      store_token(engine, form, x + t * x_stride + at, at, std::min(kChunk, k - at), stride,
                  memory + size_t(t * form.parts()) * stride);
    }
  });
  return {memory, stride, form.parts()};
}

// Which rows of a Stored are a product's tokens: index[t], or t where there is no index.
struct Tokens {
  const Stored* x;
  const int32_t* index;
  int64_t n;
  int64_t first_row = 0;
  int64_t whole = n;  // tokens of the product, if these are a slice: all of them are multiplied in the same way

  // All rows of tokens [first, first + count).
  void pointers(int64_t first, int64_t count, const void** out) const {
    for (int64_t t = first; t < first + count; ++t) {
      for (int part = 0; part < x->parts; ++part) *out++ = x->row(first_row + (index ? index[t] : t), part);
    }
  }
  Tokens slice(int64_t first, int64_t count) const {
    if (index) return {x, index + first, count, first_row, whole};
    return {x, nullptr, count, first_row + first, whole};
  }
};

const uint8_t* row_of(const Weight& w, int64_t matrix, int64_t i) {
  return reinterpret_cast<const uint8_t*>(w.row(matrix, i));
}

// sums [n kParts][stride]: y[t] = the sum of the rows of token t, the smallest first.
void add_parts(const float* sums, int64_t stride, int64_t n, int64_t width, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n; ++t, sums += kParts * stride) {
    for (int64_t i = 0; i < width; ++i) y[t * y_stride + i] = sums[i] + (sums[stride + i] + sums[2 * stride + i]);
  }
}

// One to four rows of activations at a time.
void multiply_strip(const FormatEngine& f, RowsCall call, int64_t n_rows) {
  for (int64_t t = 0; t < n_rows;) {
    const int which = n_rows - t >= 4 ? 2 : n_rows - t >= 2 ? 1 : 0;
    f.rows[which](call);
    const int64_t done = int64_t(1) << which;
    call.x += done;
    call.y += done * call.y_stride;
    t += done;
  }
}

// Few tokens: rows [begin, end) to y[t * y_stride + i - begin].
void multiply_rows(const FormatEngine& f, const Weight& w, int64_t matrix, int64_t begin, int64_t end,
                   const Tokens& tokens, float* y, int64_t y_stride, const uint8_t* next) {
  constexpr int64_t kAtOnce = kFewTokens * kParts;
  const void* x[kAtOnce];
  alignas(64) float sums[kAtOnce * kStrip];
  const int64_t parts = tokens.x->parts, most = kAtOnce / parts;
  for (int64_t i = begin; i < end; i += kStrip) {  // the second group of tokens finds a strip in the cache
    const int64_t stop = std::min(end, i + kStrip);
    for (int64_t t = 0; t < tokens.n; t += most) {
      const int64_t n = std::min(most, tokens.n - t);
      float* const to = y + t * y_stride + (i - begin);
      tokens.pointers(t, n, x);
      multiply_strip(f,
                     {row_of(w, matrix, i), w.row_bytes, stop - i, w.k, x, parts == 1 ? to : sums,
                      parts == 1 ? y_stride : kStrip, stop < end ? row_of(w, matrix, stop) : next},
                     n * parts);
      if (parts > 1) add_parts(sums, kStrip, n, stop - i, to, y_stride);
    }
  }
}

void multiply_exactly(const FormatEngine& f, const PanelCall& call) {
  if (f.tiles.exact && call.n_tokens >= f.tiles.exact_from) {
    f.tiles.exact(call, f.tiles);
  } else {
    f.panels(call);
  }
}

// Many tokens, kPanelTokens rows of them at a time so that their activations stay in L1. Rows [begin, end) of weights
// go to y[t * y_stride + i - begin].
void multiply_panels(const FormatEngine& f, const Weight& w, int64_t matrix, int64_t begin, int64_t end,
                     const Tokens& tokens, float* y, int64_t y_stride, const uint8_t* next) {
  const void* x[kPanelTokens];
  const int64_t parts = tokens.x->parts, most = kPanelTokens / parts;
  for (int64_t t = 0; t < tokens.n; t += most) {
    const int64_t n = std::min(most, tokens.n - t);
    const uint8_t* const after = t + n < tokens.n ? nullptr : next;
    tokens.pointers(t, n, x);
    if (parts == 1) {
      const PanelCall call = {row_of(w, matrix, begin), w.row_bytes, end - begin, w.k, x, n,
                              y + t * y_stride,         y_stride,    after};
      if (f.tiles.rounded && tokens.whole >= f.tiles.rounded_from) {
        f.tiles.rounded(call, f.tiles);
      } else {
        multiply_exactly(f, call);
      }
      continue;
    }
    alignas(64) float sums[kPanelTokens * kPanelRows];
    for (int64_t i = begin; i < end; i += kPanelRows) {
      const int64_t stop = std::min<int64_t>(end, i + kPanelRows);
      multiply_exactly(f, {row_of(w, matrix, i), w.row_bytes, stop - i, w.k, x, n * parts, sums, kPanelRows,
                           stop < end ? row_of(w, matrix, stop) : after});
      add_parts(sums, kPanelRows, n, stop - i, y + t * y_stride + (i - begin), y_stride);
    }
  }
}

// Rows [begin, end) of one matrix for all tokens, by rows or by panels.
void multiply(const FormatEngine& f, const Weight& w, int64_t matrix, int64_t begin, int64_t end, const Tokens& tokens,
              float* y, int64_t y_stride, const uint8_t* next) {
  if (few(f, tokens.n)) {
    multiply_rows(f, w, matrix, begin, end, tokens, y + begin, y_stride, next);
  } else {
    multiply_panels(f, w, matrix, begin, end, tokens, y + begin, y_stride, next);
  }
}

// Rows per piece: a multiple of a panel, a few pieces for each thread.
int64_t piece_of_rows(const Exec& exec, int64_t n_rows, int64_t k, int64_t n_tokens) {
  const int64_t n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
  return kPanelRows * fair_piece(exec.n_threads, n_panels, kPanelRows * k * n_tokens / 8, 32);
}

// An input of a call in its stored form.
struct MatmulLayout {
  std::byte* x;
  MatmulLayout(Scratch& scratch, int64_t n_rows, int64_t k) {
    x = scratch.take<std::byte>(n_rows * int64_t(input_bytes(Input::x8, k)));
  }
};

}  // namespace

namespace {

// One matrix of a call, and where its product goes.
struct Output {
  const Weight* w;
  Mat<float> y;
};

// Products of any number of matrices with one input, as one loop.
void multiply_all(const Engine& engine, const Exec& exec, std::span<const Output> outputs, Mat<const float> x) {
  Scratch scratch(exec);
  Stored stored[kInputs];
  int64_t n_rows = 0;
  for (const Output& out : outputs) {
    assert(x.cols == out.w->k && out.y.cols == out.w->n && x.rows == out.y.rows);
    n_rows += out.w->n;
    const FormatEngine& f = row_of(engine, out.w->format->id);
    const Input input = input_of(f, few(f, x.rows));
    if (stored[int(input)].data) continue;
    const MatmulLayout layout(scratch, input == Input::f32 ? 0 : x.rows, x.cols);
    stored[int(input)] = store(engine, exec, {input}, x.data, x.stride, x.cols, x.rows, layout.x);
  }
  const int64_t piece = piece_of_rows(exec, n_rows, x.cols, x.rows);
  const auto pieces_of = [&](const Output& out) { return (out.w->n + piece - 1) / piece; };
  const auto first_row = [&](int64_t p) {  // of piece p
    const Output* out = outputs.data();
    for (; p >= pieces_of(*out); ++out) p -= pieces_of(*out);
    return std::pair(out, p * piece);
  };
  int64_t n_pieces = 0;
  for (const Output& out : outputs) n_pieces += pieces_of(out);
  parallel_parts(exec.n_threads, n_pieces, 1, [&](const Part& part) {
    const auto [out, begin] = first_row(part.begin);
    const Weight& w = *out->w;
    const FormatEngine& f = row_of(engine, w.format->id);
    const Tokens tokens = {&stored[int(input_of(f, few(f, x.rows)))], nullptr, x.rows};
    const uint8_t* next = nullptr;
    if (part.next >= 0) {
      const auto [next_out, row] = first_row(part.next);
      next = row_of(*next_out->w, 0, row);
    }
    multiply(f, w, 0, begin, std::min(w.n, begin + piece), tokens, out->y.data, out->y.stride, next);
  });
}

}  // namespace

void matmul(const Engine& engine, const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  const Output outputs[] = {{&w, y}};
  multiply_all(engine, exec, outputs, x);
}

void matmul_pair(const Engine& engine, const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x,
                 Mat<float> y_a, Mat<float> y_b) {
  const Output outputs[] = {{&a, y_a}, {&b, y_b}};
  multiply_all(engine, exec, outputs, x);
}

size_t stored_bytes(int64_t k) {
  return input_bytes(Input::x8, k);
}

void multiply_head(const Engine& engine, const Weight& w, int64_t h, Heads<const float> x, std::byte* stored,
                   Heads<float> y, const uint8_t* next) {
  const FormatEngine& f = row_of(engine, w.format->id);
  const Stored rows = store(engine, {1, {}, nullptr}, {input_of(f, few(f, x.n_tokens))}, x.at(0, h), x.token_stride,
                            w.k, x.n_tokens, stored);
  multiply(f, w, h, 0, w.n, {&rows, nullptr, x.n_tokens}, y.at(0, h), y.token_stride, next);
}

void matmul_heads(const Engine& engine, const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.width == w.k && y.width == w.n && x.n_heads == w.count && y.n_heads == w.count && x.n_tokens == y.n_tokens);
  Scratch scratch(exec);
  const MatmulLayout layout(scratch, x.n_tokens * x.n_heads, w.k);
  const int64_t per_head = x.n_tokens * int64_t(stored_bytes(w.k));
  const int64_t piece = fair_piece(exec.n_threads, w.count, w.n * w.k * x.n_tokens / 8, 1);
  parallel_parts(exec.n_threads, w.count, piece, [&](const Part& part) {
    for (int64_t h = part.begin; h < part.end; ++h) {
      const int64_t next = h + 1 < part.end ? h + 1 : part.next;
      multiply_head(engine, w, h, x, layout.x + h * per_head, y, next < 0 ? nullptr : row_of(w, next, 0));
    }
  });
}

// ---- the gated FFN

namespace {

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
  Stored x[kInputs];

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
void hidden_piece(const Call& call, const Job& job, int64_t p, const uint8_t* next) {
  alignas(64) float gate[kHiddenTokens * kChunk], up[kHiddenTokens * kChunk];
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
  for (int64_t t0 = 0; t0 < job.n_tokens; t0 += kHiddenTokens) {
    const int64_t n = std::min(kHiddenTokens, job.n_tokens - t0);
    const uint8_t* after_gate = t0 == 0 ? row_of(w_up, job.matrix, first) : nullptr;
    const uint8_t* after_up = t0 + n == job.n_tokens ? next : nullptr;
    multiply_panels(f_gate, w_gate, job.matrix, first, end, x_gate.slice(t0, n), gate, kChunk, after_gate);
    multiply_panels(f_up, w_up, job.matrix, first, end, x_up.slice(t0, n), up, kChunk, after_up);
    finish_hidden(call, job, t0, n, first, width, gate, up);
  }
}

// Rows [begin, end) of y: zero, then every job's part.
void output_strip(const Call& call, int64_t begin, int64_t end, Mat<float> y, const uint8_t* next) {
  alignas(64) float out[kMaxStrip * kPanelTokens];
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
      const int64_t n = std::min<int64_t>(kPanelTokens, job.n_tokens - t0);
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

void run_jobs(const Engine& engine, const Exec& exec, Job* jobs, int64_t n_jobs, std::byte* stored_x,
              Mat<const float> x, Mat<float> y) {
  assert(n_jobs > 0);
  Call call = {engine, exec, jobs, n_jobs, x.rows, {}};
  store_inputs(call, x, stored_x);
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
    hidden_piece(call, job, part.begin - job.first_piece, next);
  });
  parallel_parts(exec.n_threads, y.cols, strip, [&](const Part& part) {
    output_strip(call, part.begin, part.end, y, part.next < 0 ? nullptr : first_down(part.next));
  });
}

// The jobs, the stored inputs, and the tokens and weights of the routed ones, sorted by expert.
struct FfnLayout {
  Job* jobs;
  std::byte *x, *h;
  int32_t* tokens;
  float* weights;
  int64_t* next;  // per expert: where its next token goes

  FfnLayout(Scratch& scratch, int64_t T, int64_t dim, size_t h_bytes, int64_t n_experts, int64_t n_routed, bool alike) {
    jobs = scratch.take<Job>(n_experts + 1);
    const size_t second = input_bytes(alike ? Input::f32 : Input::bf16, dim);
    x = scratch.take<std::byte>(T * int64_t(Form{Input::x8, {}, alike}.token_bytes(dim) + second));
    h = scratch.take<std::byte>(int64_t(h_bytes));
    tokens = scratch.take<int32_t>(n_routed);
    weights = scratch.take<float>(n_routed);
    next = scratch.take<int64_t>(n_experts + 1);
  }
};

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
  const FfnLayout layout(scratch, x.rows, x.cols, size_t(x.rows) * hidden_bytes(w.gate.n, exec.alike), 0, 0,
                         exec.alike);
  layout.jobs[0] = {&w, 0, nullptr, nullptr, x.rows, layout.h, 0};
  run_jobs(engine, exec, layout.jobs, 1, layout.x, x, y);
}

void moe_ffn(const Engine& engine, const Exec& exec, const FfnWeights& experts, const FfnWeights& shared,
             const int32_t* ids, const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  check(experts, x, y);
  if (x.rows == 0) return;
  const int64_t E = experts.n_experts(), T = x.rows, K = n_activated;
  const size_t routed_bytes = hidden_bytes(experts.gate.n, exec.alike),
               shared_bytes = shared.gate ? hidden_bytes(shared.gate.n, exec.alike) : 0;
  Scratch scratch(exec);
  const FfnLayout layout(scratch, T, x.cols, size_t(T * K) * routed_bytes + size_t(T) * shared_bytes, E, T * K,
                         exec.alike);
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
  run_jobs(engine, exec, layout.jobs, n_jobs, layout.x, x, y);
}

size_t scratch_bytes(const ScratchLimits& l) {
  const int64_t T = l.max_tokens, n_routed = T * l.n_activated;
  const auto hidden = [&](int64_t n_rows, int64_t width) { return size_t(n_rows) * hidden_bytes(width, l.alike); };
  const size_t moe = hidden(n_routed, l.moe_inter_dim) + hidden(T, l.shared_inter_dim);
  const size_t dense = hidden(T, l.inter_dim);
  Scratch in_ffn, in_matmul, in_heads;
  FfnLayout(in_ffn, T, l.dim, std::max(moe, dense), l.n_experts, n_routed, l.alike);
  MatmulLayout(in_matmul, T, l.max_width);
  MatmulLayout(in_matmul, T, l.max_width);  // matrices of two formats may want two forms
  const int64_t head_width = std::max({l.kv_lora_rank, l.qk_nope_head_dim, l.v_head_dim});
  MatmulLayout(in_heads, T * l.n_heads, head_width);
  return std::max({in_ffn.used(), in_matmul.used(), in_heads.used()});
}

}  // namespace product
}  // namespace hearth
