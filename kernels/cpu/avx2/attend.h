// Attention of a block of queries over a tile of positions, with a running softmax: the inner step of the absorbed and
// of the naive form. Absorbed, the queries are the heads of one token and keys and values are the same latent rows;
// naive, they are tokens of one head over its expanded keys and values.
#pragma once

#include "kernels/cpu/avx2/gemm.h"
#include "kernels/ops.h"

namespace hearth {
namespace {

constexpr int kPositions = 48;  // of a tile: a multiple of 3; 48 latents of 576 floats are 110 KB, for L2

// Queries of one block with what they have gathered so far. All arrays have n8 = n rounded up to 8 queries; the ones
// past n hold finite numbers that nobody reads.
struct QueryBlock {
  int64_t n8;
  int64_t width, value_width;  // multiples of 8
  float* q;                    // [n8, width], times the softmax scale
  float* o;                    // [n8, value_width], sum of e^(score - largest) * value
  float *largest, *total;      // [n8]
  float *scores, *keep;        // [kPositions, n8], [n8]: work
};

void begin_queries(const QueryBlock& b) {
  for (int64_t i = 0; i < b.n8; ++i) {
    b.largest[i] = -__builtin_inff();
    b.total[i] = 0;
  }
  for (int64_t i = 0; i < b.n8 * b.value_width; ++i) b.o[i] = 0;
}

// Takes n <= kPositions positions in. visible[i]: how many of them query i sees (null: all); at its first tile a query
// must see at least one. keys [n rounded up to 3][width], values [n][value_width].
void attend_tile(const QueryBlock& b, const float* keys, int64_t key_stride, const float* values, int64_t value_stride,
                 int64_t n, const int32_t* visible) {
  const auto query = [&](int64_t i) { return b.q + i * b.width; };
  multiply_rows(keys, key_stride, n, query, b.n8, b.width, true, b.scores, b.n8);

  // Softmax for eight queries at a time, down the positions.
  for (int64_t i = 0; i < b.n8; i += 8) {
    float* scores = b.scores + i;
    const __m256 before = _mm256_loadu_ps(b.largest + i), hidden = _mm256_set1_ps(-__builtin_inff());
    __m256 largest = before;
    for (int64_t p = 0; p < n; ++p) {
      __m256 s = _mm256_loadu_ps(scores + p * b.n8);
      if (visible) {
        const __m256i limit = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(visible + i));
        const __m256i sees = _mm256_cmpgt_epi32(limit, _mm256_set1_epi32(int(p)));
        s = _mm256_blendv_ps(hidden, s, _mm256_castsi256_ps(sees));
        _mm256_storeu_ps(scores + p * b.n8, s);
      }
      largest = _mm256_max_ps(largest, s);
    }
    const __m256 keep = exp8(_mm256_sub_ps(before, largest));
    __m256 total = _mm256_mul_ps(_mm256_loadu_ps(b.total + i), keep);
    for (int64_t p = 0; p < n; ++p) {
      const __m256 weight = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + p * b.n8), largest));
      _mm256_storeu_ps(scores + p * b.n8, weight);
      total = _mm256_add_ps(total, weight);
    }
    _mm256_storeu_ps(b.largest + i, largest);
    _mm256_storeu_ps(b.total + i, total);
    _mm256_storeu_ps(b.keep + i, keep);
  }
  accumulate_rows({b.scores, 1, b.n8}, b.n8, values, value_stride, n, b.value_width, b.keep, b.o, b.value_width);
}

// Rows of the cache as floats, each padded with zeros to `stride` (the width rounded up to 8).
void read_cache_rows(const LatentCache& cache, int64_t first, int64_t n, float* out, int64_t stride) {
  const int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const bool f32 = cache.format == FormatId::f32;
  const size_t row_bytes = size_t(width) * (f32 ? 4 : 2);
  for (int64_t p = 0; p < n; ++p, out += stride) {
    const std::byte* row = cache.data + size_t(first + p) * row_bytes;
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

}  // namespace
}  // namespace hearth
