// The matrix products, cut into pieces that an Engine's kernels compute.
//
// Activations are stored once per operation in the form that the kernels want, for all matrices that read them. Then
// pieces of rows are handed to the threads. A piece is whole rows for all its tokens, so an output's bits depend
// neither on the number of threads nor on which thread computes it. The same holds for the FFN (ffn.cpp).
#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <utility>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/products.h"
#include "kernels/scratch.h"
#include "quant/error.h"

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

size_t scratch_bytes(const ScratchLimits& l) {
  Scratch in_matmul, in_heads;
  MatmulLayout(in_matmul, l.max_tokens, l.max_width);
  MatmulLayout(in_matmul, l.max_tokens, l.max_width);  // matrices of two formats may want two forms
  const int64_t head_width = std::max({l.kv_lora_rank, l.qk_nope_head_dim, l.v_head_dim});
  MatmulLayout(in_heads, l.max_tokens * l.n_heads, head_width);
  return std::max({ffn_scratch_bytes(l), in_matmul.used(), in_heads.used()});
}

}  // namespace product
}  // namespace hearth
