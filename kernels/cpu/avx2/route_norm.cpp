// route and rms_norm.
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "kernels/scratch.h"

namespace hearth::avx2 {

// ---- the router: the product is here, with activations as they are; the choice of experts is the scalar table's

namespace {

// y[t, i] = W row i . x[t] for rows [begin, end) of W.
void multiply_rows(const Weight& w, int64_t begin, int64_t end, Mat<const float> x, float* y) {
  const void* tokens[kPanelTokens];
  for (int64_t t0 = 0; t0 < x.rows; t0 += kPanelTokens) {
    const int64_t n = x.rows - t0 < kPanelTokens ? x.rows - t0 : kPanelTokens;
    for (int64_t t = 0; t < n; ++t) tokens[t] = x.data + (t0 + t) * x.stride;
    const uint8_t* rows = reinterpret_cast<const uint8_t*>(w.data) + size_t(begin) * w.row_bytes;
    multiply_floats(*w.format, {rows, w.row_bytes, end - begin, w.k, tokens, n, y + t0 * w.n + begin, w.n});
  }
}

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
  constexpr int64_t kRows = 12;  // the rows of a tile of multiply_floats
  const int64_t piece = kRows * fair_piece(exec.n_threads, (E + kRows - 1) / kRows, kRows * x.cols * x.rows, 16);
  parallel_for(exec.n_threads, E, piece,
               [&](int64_t begin, int64_t end, int) { multiply_rows(gate_inp, begin, end, x, layout.logits); });
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

void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h) {
  scalar::add(exec, y, x);
  if (rest.data) scalar::add(exec, rest, x);
  rms_norm(exec, x, w, eps, h);
}

}  // namespace hearth::avx2
