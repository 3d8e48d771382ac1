// What matmul.cpp and ffn.cpp are made of: activations in the form that kernels want, and products of some rows of
// weights with them.
//
// Where all backends are to round alike (Exec::alike), activations have 16 bits, and those of 256 neighbours different
// scales: more than an X8 can hold. So a token is stored as three of them, each holding what those before left over,
// exact to a float32's bits. To kernels these are three tokens, whose products are added up: no format and no
// instruction set needs a kernel of its own, and weights are read and unpacked once for the three.
#pragma once

#include "kernels/cpu/engine.h"
#include "kernels/rounding.h"

namespace hearth::product {

// Rows multiplied with every group of tokens before the next rows are read.
constexpr int64_t kStrip = 64;
constexpr int kParts = 3;  // X8s of a token where it is to be exact

int64_t chunks_of(int64_t k);
// Bytes of a stored row of k activations.
size_t input_bytes(Input input, int64_t k);
Input input_of(const FormatEngine& f, bool is_few);

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

// Rows of activations in one form: those of token t, `parts` of them, from data + t * parts * stride on.
struct Stored {
  const std::byte* data = nullptr;
  size_t stride = 0;
  int parts = 1;
  const void* row(int64_t t, int part) const { return data + size_t(t * parts + part) * stride; }
};

// Values [at, at + n) of a token, n <= kChunk, into its rows, `stride` bytes apart.
void store_token(const Engine& engine, const Form& form, const float* x, int64_t at, int64_t n, size_t stride,
                 std::byte* rows);
// x in a form. Floats that are not rounded stay where they are; the others go to `memory`.
Stored store(const Engine& engine, const Exec& exec, const Form& form, const float* x, int64_t x_stride, int64_t k,
             int64_t n_tokens, std::byte* memory);

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

inline const uint8_t* row_of(const Weight& w, int64_t matrix, int64_t i) {
  return reinterpret_cast<const uint8_t*>(w.row(matrix, i));
}

// Are so many tokens multiplied by rows, and not by panels?
bool few(const FormatEngine& f, int64_t n_tokens, bool alike = false);
// Rows [begin, end) of one matrix for all tokens, to y[t * y_stride + i - begin]; `next` as in RowsCall.
void multiply_rows(const FormatEngine& f, const Weight& w, int64_t matrix, int64_t begin, int64_t end,
                   const Tokens& tokens, float* y, int64_t y_stride, const uint8_t* next);
void multiply_panels(const FormatEngine& f, const Weight& w, int64_t matrix, int64_t begin, int64_t end,
                     const Tokens& tokens, float* y, int64_t y_stride, const uint8_t* next);

// Bytes of scratch that ffn and moe_ffn need.
size_t ffn_scratch_bytes(const ScratchLimits& limits);

}  // namespace hearth::product
