// matmul, matmul_heads, route and rms_norm. Work is cut by panels of 12 rows, which are the same for any number of
// threads.
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "kernels/cpu/scratch.h"

namespace hearth::avx2 {
namespace {

constexpr int64_t kMaxPiece = 64;  // panels that a thread takes at once, at most

// Panels [begin, end) of one matrix for all tokens; tokens outside, so that a block of activations stays in L2.
//   y(t, i) is where output i of token t goes: y + t * y_stride + i
void multiply_panels(const Weight& w, int64_t matrix, int64_t begin, int64_t end, const Activations& x,
                     int64_t n_tokens, float* y, int64_t y_stride) {
  const FormatKernel& kernel = kernel_for(*w.format);
  alignas(64) float out[kPanelFloats];
  for (int64_t t0 = 0; t0 < n_tokens; t0 += kPanelTokens) {
    const int64_t T = n_tokens - t0 < kPanelTokens ? n_tokens - t0 : kPanelTokens;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t i0 = p * kPanelRows, n_rows = w.n - i0 < kPanelRows ? w.n - i0 : kPanelRows;
      const std::byte* rows = w.data + size_t(matrix) * w.matrix_stride + size_t(i0) * w.row_bytes;
      kernel.multiply({w.format, rows, w.row_bytes, n_rows, w.k, x, t0, T}, out);
      const int64_t stride = round_up(T, 4);
      for (int64_t t = 0; t < T; ++t) {
        float* to = y + (t0 + t) * y_stride + i0;
        for (int64_t i = 0; i < n_rows; ++i) to[i] = out[i * stride + t];
      }
    }
  }
}

int64_t panels_of(int64_t n) {
  return (n + kPanelRows - 1) / kPanelRows;
}

void multiply(const Exec& exec, const Weight& w, const float* x, int64_t x_stride, int64_t n_tokens, float* y,
              int64_t y_stride) {
  const int64_t n_panels = panels_of(w.n);
  parallel_for(exec.n_threads, n_panels, fair_piece(exec.n_threads, n_panels, kPanelRows * w.k * n_tokens, kMaxPiece),
               [&](int64_t begin, int64_t end, int) {
                 multiply_panels(w, 0, begin, end, {x, x_stride, nullptr}, n_tokens, y, y_stride);
               });
}

}  // namespace

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.k && y.cols == w.n && x.rows == y.rows);
  multiply(exec, w, x.data, x.stride, x.rows, y.data, y.stride);
}

void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.width == w.k && y.width == w.n && x.n_heads == w.count && y.n_heads == w.count && x.n_tokens == y.n_tokens);
  const int64_t per_head = panels_of(w.n), n_panels = w.count * per_head;
  parallel_for(exec.n_threads, n_panels, fair_piece(exec.n_threads, n_panels, kPanelRows * w.k * x.n_tokens, kMaxPiece),
               [&](int64_t begin, int64_t end, int) {
                 while (begin < end) {  // one head at a time
                   const int64_t h = begin / per_head, first = begin % per_head;
                   const int64_t last = per_head - first < end - begin ? per_head : first + end - begin;
                   multiply_panels(w, h, first, last, {x.data + h * x.head_stride, x.token_stride, nullptr}, x.n_tokens,
                                   y.data + h * y.head_stride, y.token_stride);
                   begin += last - first;
                 }
               });
}

// ---- the router: the product here, the choice shared with the scalar table

namespace {

struct RouteLayout {
  float *logits, *work;

  RouteLayout(Scratch& scratch, int64_t n_threads, int64_t n_tokens, int64_t n_experts) {
    logits = scratch.take<float>(n_tokens * n_experts);
    work = scratch.take<float>(n_threads * 3 * n_experts);
  }
};

}  // namespace

size_t route_scratch(const ScratchLimits& l) {
  Scratch measure;
  RouteLayout(measure, l.n_threads, l.max_tokens, l.n_experts);
  return measure.used();
}

void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights) {
  const int64_t E = rule.n_experts, K = rule.n_activated;
  assert(gate_inp.n == E && gate_inp.k == x.cols);
  Scratch scratch(exec);
  const RouteLayout layout(scratch, exec.n_threads, x.rows, E);
  multiply(exec, gate_inp, x.data, x.stride, x.rows, layout.logits, E);
  parallel_for(exec.n_threads, x.rows, 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t t = begin; t < end; ++t) {
      select_experts(rule, layout.logits + t * E, bias, layout.work + thread * 3 * E, ids + t * K, weights + t * K);
    }
  });
}

// ---- rms_norm

namespace {

void norm_row(const float* x, const float* w, int64_t n, float eps, float* y) {
  const int64_t whole = n / 8 * 8;
  const __m256i rest = first_lanes(n - whole);
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < whole; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    sum = _mm256_fmadd_ps(v, v, sum);
  }
  const __m256 v = _mm256_maskload_ps(x + whole, rest);
  sum = _mm256_fmadd_ps(v, v, sum);
  const float square = _mm_cvtss_f32(sum4(sum, sum, sum, sum));
  const __m256 factor = _mm256_set1_ps(float(1.0 / __builtin_sqrt(double(square) / double(n) + double(eps))));
  for (int64_t i = 0; i < whole; i += 8) {
    _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(w + i), _mm256_mul_ps(_mm256_loadu_ps(x + i), factor)));
  }
  const __m256 weight = _mm256_maskload_ps(w + whole, rest);
  _mm256_maskstore_ps(y + whole, rest, _mm256_mul_ps(weight, _mm256_mul_ps(v, factor)));
}

}  // namespace

void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y) {
  assert(x.rows == y.rows && x.cols == y.cols);
  parallel_for(exec.n_threads, x.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) norm_row(x.data + t * x.stride, w, x.cols, eps, y.data + t * y.stride);
  });
}

}  // namespace hearth::avx2
