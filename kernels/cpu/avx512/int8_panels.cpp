// Many tokens times weights in 8 bits (kernels/cpu/tile.h). Eight tokens at a time pass over a tile of 32 rows: sixteen
// sums, two vectors of weights and a broadcast activation for each pair of products. Bound: byte products, one for
// every instruction but a few.
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/stream.h"

namespace hearth::HEARTH_AVX512 {
namespace {

constexpr int kTokens = 8;
constexpr int kOffset = 128;  // of weights, which byte products want unsigned

HEARTH_INLINE __m512i in_every_dword(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// out[t][32 rows] += the tile times one chunk of T tokens.
template <int T>
void multiply(const Int8Tile& tile, const X8* const* x, int n_steps, bool first, float* out) {
  __m512i acc[T][2];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm512_set1_epi32(kOffset * x[t]->minus_sum);
  for (int s = 0; s < n_steps; ++s) {
    const __m512i w0 = _mm512_load_si512(tile.q[s]), w1 = _mm512_load_si512(tile.q[s] + 16);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m512i a = in_every_dword(x[t]->q + 4 * s);
      acc[t][0] = dot4(acc[t][0], w0, a);
      acc[t][1] = dot4(acc[t][1], w1, a);
    }
  }
  const __m512 s0 = _mm512_load_ps(tile.scale), s1 = _mm512_load_ps(tile.scale + 16);
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    float* to = out + t * kPanelRows;
    const __m512 scale = _mm512_set1_ps(x[t]->scale);
    const __m512 old0 = first ? _mm512_setzero_ps() : _mm512_load_ps(to);
    const __m512 old1 = first ? _mm512_setzero_ps() : _mm512_load_ps(to + 16);
    _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][0]), _mm512_mul_ps(s0, scale), old0));
    _mm512_store_ps(to + 16, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][1]), _mm512_mul_ps(s1, scale), old1));
  }
}

constexpr void (*kMultiply[kTokens])(const Int8Tile&, const X8* const*, int, bool, float*) = {
    multiply<1>, multiply<2>, multiply<3>, multiply<4>, multiply<5>, multiply<6>, multiply<7>, multiply<8>};

}  // namespace

void int8_panels(const PanelCall& c, const TilePanels& format) {
  alignas(64) float sums[kPanelTokens * kPanelRows];
  Tile decoded;
  Int8Tile tile;
  const int64_t n_batches = (c.n_tokens + kTokens - 1) / kTokens;
  for (int64_t first = 0; first < c.n_rows; first += kPanelRows) {
    const int64_t n_rows = c.n_rows - first < kPanelRows ? c.n_rows - first : kPanelRows;
    BlockStream ahead(c, first, kPanelRows, (c.k + kChunk - 1) / kChunk * n_batches);
    const uint8_t* rows[kPanelRows];
    for (int64_t r = 0; r < kPanelRows; ++r) {
      rows[r] = c.w + size_t(first + (r < n_rows ? r : n_rows - 1)) * c.row_bytes;
    }
    for (int64_t k = 0, chunk = 0; k < c.k; k += kChunk, ++chunk) {
      const int64_t n = c.k - k < kChunk ? c.k - k : kChunk;
      for (int half = 0; half < kPanelRows; half += 16) {
        format.decode(rows, size_t(k / format.block_elems * format.block_bytes), n, half, decoded);
        round_to_int8(decoded, format.form, half, kOffset, tile);
      }
      for (int64_t i = 0; i < n_batches; ++i) {  // spread evenly over batches
        const int64_t t0 = c.n_tokens * i / n_batches, t1 = c.n_tokens * (i + 1) / n_batches;
        const X8* x[kTokens];
        for (int64_t t = t0; t < t1; ++t) x[t - t0] = static_cast<const X8*>(c.x[t]) + chunk;
        ahead.ask();
        kMultiply[t1 - t0 - 1](tile, x, int(n / 4), k == 0, sums + t0 * kPanelRows);
      }
    }
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      memcpy(c.out + t * c.out_stride + first, sums + t * kPanelRows, size_t(n_rows) * sizeof(float));
    }
  }
}

}  // namespace hearth::HEARTH_AVX512
