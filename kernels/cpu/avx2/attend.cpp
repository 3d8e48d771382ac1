// The steps of attention (kernels/cpu/attend.h) on AVX2: scores are dot products of gemm.h, with positions as rows and
// queries as tokens; values are summed by its other tile. Bound: FMAs.
#include "kernels/cpu/attend.h"

#include "kernels/cpu/avx2/gemm.h"
#include "kernels/cpu/avx2/kernels.h"

namespace hearth::avx2 {
namespace {

void read_rows(const LatentRows& rows, int64_t first, int64_t n, float* out, int64_t stride) {
  const LatentCache& cache = *rows.cache;
  const int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const bool f32 = cache.format == FormatId::f32;
  const size_t row_bytes = size_t(width) * (f32 ? 4 : 2);
  for (int64_t p = 0; p < n; ++p, out += stride) {
    const std::byte* row = row_at(rows, first + p);
    int64_t i = 0;
    if (f32) {
      memcpy(out, row, row_bytes);
      i = width;
    }
    for (; i + 8 <= width; i += 8) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2 * i));
      const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
      _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
    }
    for (; i < width; ++i) {
      uint16_t half;
      memcpy(&half, row + 2 * i, 2);
      const uint32_t bits = uint32_t(half) << 16;
      memcpy(out + i, &bits, 4);
    }
    for (; i < stride; ++i) out[i] = 0;
  }
}

// q [n, width]: a row for each query.
void set_queries(const float* rows, int64_t n, int64_t width, const QueryBlock& b) {
  memset(b.q, 0, size_t(b.n * b.width) * sizeof(float));
  for (int64_t i = 0; i < n; ++i) memcpy(b.q + i * b.width, rows + i * width, size_t(width) * sizeof(float));
}

void attend(const QueryBlock& b, const PositionTile& tile) {
  const auto query = [&](int64_t i) { return b.q + i * b.width; };
  multiply_rows(tile.keys, tile.key_stride, tile.n, query, b.n, b.width, true, b.scores, b.n);

  // Softmax for eight queries at a time, down the positions.
  for (int64_t i = 0; i < b.n; i += 8) {
    float* scores = b.scores + i;
    const __m256 before = _mm256_loadu_ps(b.largest + i), hidden = _mm256_set1_ps(-__builtin_inff());
    __m256 largest = before;
    for (int64_t p = 0; p < tile.n; ++p) {
      __m256 s = _mm256_loadu_ps(scores + p * b.n);
      if (tile.visible) {
        const __m256i limit = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.visible + i));
        const __m256i sees = _mm256_cmpgt_epi32(limit, _mm256_set1_epi32(int(p)));
        s = _mm256_blendv_ps(hidden, s, _mm256_castsi256_ps(sees));
        _mm256_storeu_ps(scores + p * b.n, s);
      }
      largest = _mm256_max_ps(largest, s);
    }
    const __m256 keep = exp8(_mm256_sub_ps(before, largest));
    __m256 total = _mm256_mul_ps(_mm256_loadu_ps(b.total + i), keep);
    for (int64_t p = 0; p < tile.n; ++p) {
      const __m256 weight = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + p * b.n), largest));
      _mm256_storeu_ps(scores + p * b.n, weight);
      total = _mm256_add_ps(total, weight);
    }
    _mm256_storeu_ps(b.largest + i, largest);
    _mm256_storeu_ps(b.total + i, total);
    _mm256_storeu_ps(b.keep + i, keep);
  }
  accumulate_rows({b.scores, 1, b.n}, b.n, tile.values, tile.value_stride, tile.n, b.value_width, b.keep, b.o,
                  b.value_width);
}

void attend_latents(const QueryBlock& b, const LatentRows& rows, int64_t first, int64_t n, float* work) {
  read_rows(rows, first, n, work, b.width);
  attend(b, {work, b.width, work, b.width, n, nullptr});
}

constexpr int64_t kExpand = 96;  // positions multiplied with decoded weights at once, at most kPanelTokens

// The keys' weights have one row per latent column, so keys are sums of the decoded rows weighted by the latents.
void expand_keys(const Expansion& e) {
  const Weight& w = *e.k_b;
  const DecodeRow decode = float_decoder(*w.format);
  const int64_t width = round_up(w.k, 8), n = round_up(e.n, 4);
  for (int64_t c = 0; c < w.n; ++c) {
    const uint8_t* row = reinterpret_cast<const uint8_t*>(w.data) + size_t(e.head) * w.matrix_stride;
    for (int64_t i = 0; i < w.k; i += 512) {
      decode(*w.format, row + size_t(c) * w.row_bytes, i, w.k - i < 512 ? w.k - i : 512, e.work + c * width + i);
    }
  }
  float ones[kExpand];
  for (float& one : ones) one = 1;
  for (int64_t p = 0; p < n; p += kExpand) {
    float* keys = e.keys + p * e.key_stride;
    const int64_t rows = n - p < kExpand ? n - p : kExpand;
    memset(keys, 0, size_t(rows * e.key_stride) * sizeof(float));
    accumulate_rows({e.latents + p * e.latent_stride, e.latent_stride, 1}, rows, e.work, width, w.n, width, ones, keys,
                    e.key_stride);
  }
}

void expand_values(const Expansion& e) {
  const Weight& w = *e.v_b;
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(w.data) + size_t(e.head) * w.matrix_stride;
  memset(e.values, 0, size_t(e.n * e.value_stride) * sizeof(float));
  for (int64_t p = 0; p < e.n; p += kExpand) {
    const int64_t n = e.n - p < kExpand ? e.n - p : kExpand;
    const void* latents[kExpand];
    for (int64_t i = 0; i < n; ++i) latents[i] = e.latents + (p + i) * e.latent_stride;
    multiply_floats(*w.format,
                    {rows, w.row_bytes, w.n, w.k, latents, n, e.values + p * e.value_stride, e.value_stride});
  }
}

void expand(const Expansion& e) {
  expand_keys(e);
  expand_values(e);
}

}  // namespace

const AttentionEngine kAttention = {8, set_queries, attend_latents, read_rows, expand, attend};

}  // namespace hearth::avx2
