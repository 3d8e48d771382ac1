// The two register tiles of float products that everything in AVX2 is made of. The 16 registers hold 12 accumulators,
// and the 7 loads of a step take less time than its 12 FMAs, so both tiles run near the FMA peak while their operands
// are in L1.
#pragma once

#include "kernels/cpu/avx2/simd.h"

namespace hearth {
namespace {

// acc[i][t] += sum over n of w[i] x[t], eight lanes apart. w is zero from n to the next multiple of 8; x may end at n.
template <int Tokens>
HEARTH_INLINE void dot_3_rows(const float* w, int64_t w_stride, const float* const* x, int64_t n,
                              __m256 (&acc)[3][Tokens]) {
  const float *w0 = w, *w1 = w + w_stride, *w2 = w + 2 * w_stride;
  const auto add = [&](int64_t at, const auto& load) HEARTH_INLINE_LAMBDA {
    const __m256 a0 = _mm256_loadu_ps(w0 + at), a1 = _mm256_loadu_ps(w1 + at), a2 = _mm256_loadu_ps(w2 + at);
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; ++t) {
      const __m256 b = load(x[t] + at);
      acc[0][t] = _mm256_fmadd_ps(a0, b, acc[0][t]);
      acc[1][t] = _mm256_fmadd_ps(a1, b, acc[1][t]);
      acc[2][t] = _mm256_fmadd_ps(a2, b, acc[2][t]);
    }
  };
  int64_t at = 0;
  for (; at + 8 <= n; at += 8) {
    add(at, [](const float* p) HEARTH_INLINE_LAMBDA { return _mm256_loadu_ps(p); });
  }
  if (at < n) {
    const __m256i lanes = first_lanes(n - at);
    add(at, [&](const float* p) HEARTH_INLINE_LAMBDA { return _mm256_maskload_ps(p, lanes); });
  }
}

// out[i][0..3] (+)= three rows times up to four tokens. The lanes past Tokens repeat the last token.
template <int Tokens>
void multiply_3_rows(const float* w, int64_t w_stride, const float* const* x, int64_t n, bool first, float* out,
                     int64_t out_stride) {
  __m256 acc[3][Tokens];
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  dot_3_rows<Tokens>(w, w_stride, x, n, acc);
  constexpr int last = Tokens - 1;
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    __m128 sum = sum4(acc[i][0], acc[i][last < 1 ? last : 1], acc[i][last < 2 ? last : 2], acc[i][last]);
    if (!first) sum = _mm_add_ps(sum, _mm_loadu_ps(out + i * out_stride));
    _mm_storeu_ps(out + i * out_stride, sum);
  }
}

// out[i][t] (+)= w[i] . x(t): dot products, both operands contiguous along n.
//   w [n_rows rounded up to 3][n], x(t) the row of token t, out [n_rows rounded up to 3][n_tokens rounded up to 4]
template <class TokenRow>
void multiply_rows(const float* w, int64_t w_stride, int64_t n_rows, const TokenRow& x, int64_t n_tokens, int64_t n,
                   bool first, float* out, int64_t out_stride) {
  for (int64_t t = 0; t < n_tokens; t += 4) {
    const int64_t here = n_tokens - t < 4 ? n_tokens - t : 4;
    const float* tokens[4];
    for (int64_t i = 0; i < 4; ++i) tokens[i] = x(t + (i < here ? i : here - 1));
    const auto tile = here == 4   ? multiply_3_rows<4>
                      : here == 3 ? multiply_3_rows<3>
                      : here == 2 ? multiply_3_rows<2>
                                  : multiply_3_rows<1>;
    for (int64_t i = 0; i < n_rows; i += 3) {
      tile(w + i * w_stride, w_stride, tokens, n, first, out + i * out_stride + t, out_stride);
    }
  }
}

// A matrix that is read one element at a time: element (i, k) is data[i * row + k * column].
struct Factors {
  const float* data;
  int64_t row, column;
};

// c[i][0 .. 8 Vectors) = c[i] * keep[i] + sum_k a(i, k) b[k][..]  for four rows i.
template <int Vectors>
void accumulate_4_rows(const Factors& a, const float* b, int64_t b_stride, int64_t n, const float* keep, float* c,
                       int64_t c_stride) {
  __m256 acc[4][Vectors];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) {
      acc[i][v] = _mm256_mul_ps(_mm256_broadcast_ss(keep + i), _mm256_loadu_ps(c + i * c_stride + 8 * v));
    }
  }
  const float* factor = a.data;
  for (int64_t k = 0; k < n; ++k, factor += a.column, b += b_stride) {
    __m256 row[Vectors];
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) row[v] = _mm256_loadu_ps(b + 8 * v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256 f = _mm256_broadcast_ss(factor + i * a.row);
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) acc[i][v] = _mm256_fmadd_ps(f, row[v], acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) _mm256_storeu_ps(c + i * c_stride + 8 * v, acc[i][v]);
  }
}

// c[i] = c[i] * keep[i] + sum_k a(i, k) b[k]: rows of b weighted by a.
//   i < n_rows (a multiple of 4), k < n, b [n][width], c [n_rows][width], width a multiple of 8
[[maybe_unused]] void accumulate_rows(const Factors& a, int64_t n_rows, const float* b, int64_t b_stride, int64_t n,
                                      int64_t width, const float* keep, float* c, int64_t c_stride) {
  // A strip of columns of kDepth rows of b stays in L1 for all rows of c, also where rows lie a power of two apart. Of
  // 32 columns halves take less time than 24 and 8.
  constexpr int64_t kDepth = 96;
  constexpr float kOnes[4] = {1, 1, 1, 1};
  for (int64_t j = 0; j < width;) {
    const int64_t left = width - j, strip = left == 32 || left == 16 ? 16 : left >= 24 ? 24 : 8;
    const auto tile = strip == 24 ? accumulate_4_rows<3> : strip == 16 ? accumulate_4_rows<2> : accumulate_4_rows<1>;
    for (int64_t k = 0; k == 0 || k < n; k += kDepth) {
      const int64_t depth = n - k < kDepth ? n - k : kDepth;
      for (int64_t i = 0; i < n_rows; i += 4) {
        tile({a.data + i * a.row + k * a.column, a.row, a.column}, b + k * b_stride + j, b_stride, depth,
             k == 0 ? keep + i : kOnes, c + i * c_stride + j, c_stride);
      }
    }
    j += strip;
  }
}

}  // namespace
}  // namespace hearth
