// The steps of attention (kernels/cpu/attend.h) on AVX-512. All of them are one kind of product: rows of b, read as
// vectors, are multiplied with elements of a, broadcast from memory, and added.
//
//   scores  [positions][queries]  keys          x  queries, which lie [width][queries]
//   sums    [queries][columns]    weights       x  values
//   keys    [positions][nope]     latents       x  W^UK, which lies [r][nope]
//   values  [positions][v]        latents       x  W^UV, transposed to [r][v] when it is decoded
//
// No sum crosses lanes, and each is one chain of FMAs in the order of k: an output has the same bits in any tile.
// Bound: FMAs. bfloat16 products (vdpbf16ps) would have to be made twice to keep 16 bits of queries and weights. That
// takes no fewer instructions than FMAs, and Sapphire Rapids does only a quarter as many of them per cycle.
#include "kernels/cpu/attend.h"

#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/product.h"
#include "quant/round_up.h"

namespace hearth::HEARTH_AVX512 {
namespace {

HEARTH_INLINE __mmask16 lanes_left(int64_t n) {
  return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1 << n) - 1);
}

HEARTH_INLINE __m512i widen(__m256i halves) {
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
}

// Columns [at, at + width) of n rows of the cache -> out [n][stride], followed by zeros up to `stride`.
void read_columns(const LatentRows& rows, int64_t first, int64_t n, int64_t at, int64_t width, float* out,
                  int64_t stride) {
  const bool f32 = rows.cache->format == FormatId::f32;
  const int64_t whole = width / 16 * 16;
  const __mmask16 rest = lanes_left(width - whole);
  for (int64_t p = 0; p < n; ++p, out += stride) {
    const std::byte* row = row_at(rows, first + p) + at * (f32 ? 4 : 2);
    if (f32) {
      memcpy(out, row, size_t(width) * 4);
      for (int64_t i = width; i < stride; ++i) out[i] = 0;
      continue;
    }
    int64_t i = 0;
    for (; i < whole; i += 16) _mm512_storeu_si512(out + i, widen(load256(row + 2 * i)));
    if (i < stride) _mm512_storeu_si512(out + i, widen(_mm256_maskz_loadu_epi16(rest, row + 2 * i)));
    for (i += 16; i < stride; i += 16) _mm512_storeu_si512(out + i, _mm512_setzero_si512());
  }
}

// Prefetches the same columns of rows that will be read soon, as far as there are such.
void ask_ahead(const LatentRows& rows, int64_t first, int64_t n, int64_t at, int64_t width) {
  const int64_t size = rows.cache->format == FormatId::f32 ? 4 : 2;
  for (int64_t p = first; p < first + n && p < rows.n; ++p) {
    const char* row = reinterpret_cast<const char*>(row_at(rows, p));
    for (int64_t i = at * size; i < (at + width) * size; i += 64) _mm_prefetch(row + i, _MM_HINT_T1);
  }
}

void read_rows(const LatentRows& rows, int64_t first, int64_t n, float* out, int64_t stride) {
  read_columns(rows, first, n, 0, rows.cache->kv_lora_rank + rows.cache->rope_dim, out, stride);
}

// The first 16 columns (of which the mask `columns` says which exist) of 16 rows of `in` (of which n exist), zeros
// elsewhere -> column j of the 16 rows at out + j * out_stride.
HEARTH_INLINE void transpose_floats(const float* in, int64_t stride, int64_t n, __mmask16 columns, float* out,
                                    int64_t out_stride) {
  __m512i v[16];
  HEARTH_UNROLL for (int64_t i = 0; i < 16; ++i) {
    v[i] = _mm512_maskz_loadu_epi32(i < n ? columns : __mmask16(0), in + (i < n ? i : 0) * stride);
  }
  transpose(v);
  HEARTH_UNROLL for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(out + j * out_stride, v[j]);
}

// q [width][n]
void set_queries(const float* rows, int64_t n, int64_t width, const QueryBlock& b) {
  for (int64_t i = 0; i < b.n; i += 16) {
    for (int64_t c = 0; c < b.width; c += 16) {
      transpose_floats(rows + i * width + c, width, n - i, lanes_left(width - c), b.q + c * b.n + i, b.n);
    }
  }
}

// ---- the product

// c [n_rows][width] = start + the product.
struct FloatSteps {
  enum class Start { zero, scaled, unscaled } start;  // where the sums begin: at 0, c[i] * keep[i] or c[i]
  float* c;
  int64_t c_stride;
  const float* keep;

  using Sum = __m512;
  HEARTH_INLINE __m512 begin(int64_t i, int64_t j, int64_t k) const {
    if (start == Start::zero && k == 0) return _mm512_setzero_ps();
    const bool scaled = start == Start::scaled && k == 0;
    return _mm512_mul_ps(_mm512_set1_ps(scaled ? keep[i] : 1.0f), _mm512_loadu_ps(c + i * c_stride + j));
  }
  HEARTH_INLINE __m512 add(__m512 x, __m512 row, __m512 sum) const { return _mm512_fmadd_ps(x, row, sum); }
  HEARTH_INLINE void end(int64_t i, int64_t j, int64_t, __m512 sum) const {
    _mm512_storeu_ps(c + i * c_stride + j, sum);
  }
};
using Start = FloatSteps::Start;

// ---- attention

// Scores -> weights, for 16 queries down the positions.
void softmax(const QueryBlock& b, const PositionTile& tile, int64_t i) {
  float* scores = b.scores + i;
  const __m512 before = _mm512_loadu_ps(b.largest + i), hidden = _mm512_set1_ps(-__builtin_inff());
  __m512 largest = before;
  for (int64_t p = 0; p < tile.n; ++p) {
    __m512 s = _mm512_loadu_ps(scores + p * b.n);
    if (tile.visible) {
      const __m512i limit = _mm512_loadu_si512(tile.visible + i);
      s = _mm512_mask_mov_ps(hidden, _mm512_cmpgt_epi32_mask(limit, _mm512_set1_epi32(int(p))), s);
      _mm512_storeu_ps(scores + p * b.n, s);
    }
    largest = _mm512_max_ps(largest, s);
  }
  const __m512 keep = exp16(_mm512_sub_ps(before, largest));
  __m512 total = _mm512_mul_ps(_mm512_loadu_ps(b.total + i), keep);
  for (int64_t p = 0; p < tile.n; ++p) {
    const __m512 weight = exp16(_mm512_sub_ps(_mm512_loadu_ps(scores + p * b.n), largest));
    _mm512_storeu_ps(scores + p * b.n, weight);
    total = _mm512_add_ps(total, weight);
  }
  _mm512_storeu_ps(b.largest + i, largest);
  _mm512_storeu_ps(b.total + i, total);
  _mm512_storeu_ps(b.keep + i, keep);
}

void attend(const QueryBlock& b, const PositionTile& tile) {
  multiply(Factors<float>{tile.keys, tile.key_stride, 1, b.q, b.n, tile.n, b.width, b.n},
           FloatSteps{Start::zero, b.scores, b.n, nullptr});
  for (int64_t i = 0; i < b.n; i += 16) softmax(b, tile, i);
  multiply(Factors<float>{b.scores, 1, b.n, tile.values, tile.value_stride, b.n, tile.n, b.value_width},
           FloatSteps{Start::scaled, b.o, b.value_width, b.keep});
}

// Straight from the cache. Its numbers are converted to floats in pieces that stay in L1, once for the scores and again
// for the sums, which costs less than keeping whole rows of floats in L2.
void attend_latents(const QueryBlock& b, const LatentRows& rows, int64_t first, int64_t n, float*) {
  constexpr int64_t kKeys = 128, kValues = 48;  // columns at once
  alignas(64) float piece[kTilePositions * kKeys];
  const int64_t r = rows.cache->kv_lora_rank, width = r + rows.cache->rope_dim;
  for (int64_t at = 0; at < width; at += kKeys) {
    const int64_t columns = width - at < kKeys ? width - at : kKeys;
    ask_ahead(rows, first + kTilePositions, n, at, columns);
    read_columns(rows, first, n, at, columns, piece, kKeys);
    multiply(Factors<float>{piece, kKeys, 1, b.q + at * b.n, b.n, n, columns, b.n},
             FloatSteps{at == 0 ? Start::zero : Start::unscaled, b.scores, b.n, nullptr});
  }
  for (int64_t i = 0; i < b.n; i += 16) softmax(b, {nullptr, 0, nullptr, 0, n, nullptr}, i);
  for (int64_t at = 0; at < r; at += kValues) {
    const int64_t columns = r - at < kValues ? r - at : kValues;
    read_columns(rows, first, n, at, columns, piece, kValues);
    multiply(Factors<float>{b.scores, 1, b.n, piece, kValues, b.n, n, round_up(columns, 16)},
             FloatSteps{Start::scaled, b.o + at, b.value_width, b.keep});
  }
}

// ---- expansion

constexpr int64_t kDecoded = 512;  // weights of a row decoded at once: DecodeRow begins at multiples of this

void decode(const Weight& w, int64_t head, int64_t row, int64_t at, int64_t n, float* out) {
  const uint8_t* from = reinterpret_cast<const uint8_t*>(w.data) + size_t(head) * w.matrix_stride;
  avx2::float_decoder (*w.format)(*w.format, from + size_t(row) * w.row_bytes, at, n, out);
}

void expand(const Expansion& e) {
  const auto times_latents = [&](int64_t r, int64_t width, float* out, int64_t out_stride) {
    multiply(Factors<float>{e.latents, e.latent_stride, 1, e.work, width, e.n, r, width},
             FloatSteps{Start::zero, out, out_stride, nullptr});
  };
  decode_keys(*e.k_b, e.head, e.work);
  times_latents(e.k_b->n, round_up(e.k_b->k, 16), e.keys, e.key_stride);
  decode_values(*e.v_b, e.head, e.work);
  times_latents(e.v_b->k, round_up(e.v_b->n, 16), e.values, e.value_stride);
}

}  // namespace

void decode_keys(const Weight& w, int64_t head, float* work) {
  const int64_t width = round_up(w.k, 16);
  for (int64_t c = 0; c < w.n; ++c) {
    for (int64_t i = 0; i < w.k; i += kDecoded) {
      decode(w, head, c, i, w.k - i < kDecoded ? w.k - i : kDecoded, work + c * width + i);
    }
    for (int64_t i = w.k; i < width; ++i) work[c * width + i] = 0;
  }
}

void decode_values(const Weight& w, int64_t head, float* work) {
  const int64_t width = round_up(w.n, 16);
  alignas(64) float rows[16 * kDecoded], columns[16 * 16];
  for (int64_t j = 0; j < w.n; j += 16) {
    const int64_t n_rows = w.n - j < 16 ? w.n - j : 16;
    for (int64_t at = 0; at < w.k; at += kDecoded) {
      const int64_t n = w.k - at < kDecoded ? w.k - at : kDecoded;
      for (int64_t i = 0; i < n_rows; ++i) decode(w, head, j + i, at, n, rows + i * kDecoded);
      for (int64_t c = 0; c < n; c += 16) {
        const int64_t n_columns = n - c < 16 ? n - c : 16;
        float* to = work + (at + c) * width + j;
        if (n_columns == 16) {
          transpose_floats(rows + c, kDecoded, n_rows, 0xffff, to, width);
        } else {
          transpose_floats(rows + c, kDecoded, n_rows, lanes_left(n_columns), columns, 16);
          for (int64_t i = 0; i < n_columns; ++i) memcpy(to + i * width, columns + 16 * i, 64);
        }
      }
    }
  }
}

const AttentionEngine kAttention = {16, set_queries, attend_latents, read_rows, expand, attend};

}  // namespace hearth::HEARTH_AVX512
