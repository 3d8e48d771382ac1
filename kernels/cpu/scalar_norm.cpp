// Operations on each token's row alone: RMSNorm, rotary positions, the cache's new rows, the residual sum.
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/cpu/latent_rows.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "quant/fp.h"

namespace hearth::scalar {
namespace {

// 1 / sqrt(mean(x^2) + eps)
double inverse_rms(const float* x, int64_t n, float eps) {
  return 1.0 / std::sqrt(dot(x, x, n) / double(n) + eps);
}

// (a, b) -> (a cos - b sin, a sin + b cos) for each adjacent pair; y may be x.
void rotate(const float* cos_sin, int64_t width, const float* x, float* y) {
  for (int64_t i = 0; i < width; i += 2) {
    const float cos = cos_sin[i], sin = cos_sin[i + 1], a = x[i], b = x[i + 1];
    y[i] = a * cos - b * sin;
    y[i + 1] = a * sin + b * cos;
  }
}

void write_cache(const LatentCache& cache, int64_t position, int64_t column, float value) {
  std::byte* row = cache.data + size_t(position) * cache.row_bytes();
  if (cache.format == FormatId::f32) {
    std::memcpy(row + column * 4, &value, 4);
  } else {
    const uint16_t half = float_to_bf16(value);
    std::memcpy(row + column * 2, &half, 2);
  }
}

}  // namespace

void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y) {
  assert(x.rows == y.rows && x.cols == y.cols);
  parallel_for(exec.n_threads, x.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const double factor = inverse_rms(x.row(t), x.cols, eps);
      for (int64_t i = 0; i < x.cols; ++i) y.row(t)[i] = float(w[i] * (x.row(t)[i] * factor));
    }
  });
}

void rope(const Exec& exec, const RopeTable& table, const int32_t* positions, Heads<float> x) {
  assert(x.width == table.rope_dim);
  parallel_for(exec.n_threads, x.n_tokens, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      assert(positions[t] >= 0 && positions[t] < table.n_ctx);
      for (int64_t h = 0; h < x.n_heads; ++h) rotate(table.at(positions[t]), x.width, x.at(t, h), x.at(t, h));
    }
  });
}

void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                  const LatentCache& cache, const Positions& at) {
  assert(kv_a.cols == cache.width() && table.rope_dim == cache.rope_dim);
  const int64_t r = cache.kv_lora_rank;
  parallel_for(exec.n_threads, kv_a.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = kv_a.row(t);
      const int64_t position = at.ids[t], to = row_number(rows_of(cache, at, t), position);
      assert(position >= 0 && position < table.n_ctx && to >= 0 && to < cache.n_rows);
      const double factor = inverse_rms(row, r, eps);
      for (int64_t c = 0; c < r; ++c) write_cache(cache, to, c, float(norm[c] * (row[c] * factor)));
      for (int64_t c = 0; c < cache.rope_dim; c += 2) {
        float pair[2];
        rotate(table.at(position) + c, 2, row + r + c, pair);
        write_cache(cache, to, r + c, pair[0]);
        write_cache(cache, to, r + c + 1, pair[1]);
      }
    }
  });
}

void add(const Exec& exec, Mat<const float> y, Mat<float> x) {
  assert(x.rows == y.rows && x.cols == y.cols);
  parallel_for(exec.n_threads, x.rows, 32, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = y.row(t);
      float* to = x.row(t);
      for (int64_t i = 0; i < x.cols; ++i) to[i] += from[i];
    }
  });
}

void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h) {
  add(exec, y, x);
  if (rest.data) add(exec, rest, x);
  rms_norm(exec, x, w, eps, h);
}

}  // namespace hearth::scalar
