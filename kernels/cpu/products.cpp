#include "kernels/cpu/products.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "quant/round_up.h"

namespace hearth::product {

int64_t chunks_of(int64_t k) {
  return (k + kChunk - 1) / kChunk;
}

namespace {

constexpr int kFewTokens = 4;  // tokens in kParts parts that are multiplied by rows, at most

// X8s of a token: an odd number, since tokens 4096 bytes apart would push one another out of L1.
int64_t x8s_of(int64_t k) {
  return chunks_of(k) | 1;
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

void multiply_exactly(const FormatEngine& f, const PanelCall& call) {
  if (f.tiles.exact && call.n_tokens >= f.tiles.exact_from) {
    f.tiles.exact(call, f.tiles);
  } else {
    f.panels(call);
  }
}

}  // namespace

size_t input_bytes(Input input, int64_t k) {
  const size_t k64 = size_t(round_up(k, 64));
  return input == Input::x8 ? size_t(x8s_of(k)) * sizeof(X8) : k64 * (input == Input::bf16 ? 2 : sizeof(float));
}

Input input_of(const FormatEngine& f, bool is_few) {
  return is_few ? f.rows_input : f.panels_input;
}

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

bool few(const FormatEngine& f, int64_t n_tokens, bool alike) {
  if (!alike || f.rows_input != Input::x8) return n_tokens < f.panels_from;
  return n_tokens <= kFewTokens && n_tokens * kParts < f.panels_from;
}

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

// Many tokens, kPanelTokens rows of them at a time. Rows [begin, end) of weights
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

}  // namespace hearth::product
