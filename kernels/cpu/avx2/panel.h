// A panel of weight rows times a block of tokens: the one product that matmul, the FFNs and the value expansion are
// made of, behind one function per format.
//
// (Plain structs without member functions: an inline function compiled here must not be the copy that the linker keeps
// for files built without AVX2.)
#pragma once

#include "kernels/ops.h"

namespace hearth::avx2 {

constexpr int kPanelRows = 12;     // a multiple of 3 (many tokens) and of 4 (one token)
constexpr int kPanelTokens = 128;  // their activations (k floats each) stay in L2 while panels pass
constexpr int kPanelFloats = kPanelRows * kPanelTokens;

// Rows of activations: token t is row index[t], or row t where there is no index.
struct Activations {
  const float* data;
  int64_t stride;
  const int32_t* index;
};

struct Panel {
  const Format* format;
  const std::byte* w;  // the first row
  size_t row_bytes;
  int64_t n_rows, k;  // 1 <= n_rows <= kPanelRows
  Activations x;
  int64_t first_token, n_tokens;  // 1 <= n_tokens <= kPanelTokens
};

struct FormatKernel {
  FormatId id;
  // out[i * stride + t] = W row i . x row (first_token + t), with stride = n_tokens rounded up to 4; `out` has room for
  // kPanelFloats. What lies past n_rows and n_tokens is overwritten with numbers that mean nothing.
  void (*multiply)(const Panel& panel, float* out);
  // Weights [at, at + n) of a row as floats, zeros to the next multiple of 8, nothing beyond; `at` is a multiple of
  // 512.
  void (*decode)(const Format& format, const std::byte* row, int64_t at, int64_t n, float* out);
};

// The format's row, or the one that decodes by Format::decode.
const FormatKernel& kernel_for(const Format& format);

}  // namespace hearth::avx2
