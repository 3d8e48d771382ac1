// The product of a panel of weight rows with a block of tokens (panel.h), for any decoder.
//
// Many tokens: kPanelRows x kTile weights are decoded once into a tile of floats that stays in L1 (24 KB) and
// multiplied with all tokens by gemm.h, so decoding is shared by the tokens and the FMA units are the bound. One token:
// four rows side by side, decoded straight into the FMA; decoding is the bound for the block formats, memory for the
// others.
//
// Both ways add in the same order: eight lanes over kTile weights, then the lanes (sum4), then the tiles. So an output
// has the same bits whatever tokens it is computed with, and prefill equals decode exactly.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/avx2/gemm.h"
#include "kernels/cpu/avx2/panel.h"
#include "quant/format.h"

namespace hearth {
namespace {

using avx2::kPanelRows;
using avx2::Panel;

constexpr int kTile = 512;  // weights of a row decoded at once; a multiple of every block

// F32, F16, BF16: rows of any length, which the decoder takes 32 at a time.
template <class D>
constexpr bool kElementwise = requires {
  D::kElemBytes;
};

// Rows and tokens past the end are the last one again: computed, stored, never used.
HEARTH_INLINE const std::byte* panel_row(const Panel& p, int64_t i) {
  return p.w + size_t(i < p.n_rows ? i : p.n_rows - 1) * p.row_bytes;
}
HEARTH_INLINE const float* panel_token(const Panel& p, int64_t t) {
  const int64_t row = p.first_token + t;
  return p.x.data + (p.x.index ? p.x.index[row] : row) * p.x.stride;
}

// FormatKernel::decode.
template <class D>
void decode_row(const Format&, const std::byte* row, int64_t at, int64_t n, float* out) {
  const uint8_t* p = reinterpret_cast<const uint8_t*>(row) + at / D::kBlock * D::kBytes;
  int64_t i = 0;
  for (; i + D::kBlock <= n; i += D::kBlock, p += D::kBytes) {
    const typename D::Block block(p);
    for (int s = 0; s < D::kBlock / D::kStep; ++s) {
      float* to = out + i + s * D::kStep;
      D::step(block, s, [&](int j, __m256 w) HEARTH_INLINE_LAMBDA { _mm256_storeu_ps(to + 8 * j, w); });
    }
  }
  if constexpr (kElementwise<D>) {  // the other formats' rows are whole blocks
    if (i < n) {
      alignas(32) uint8_t rest[D::kBytes] = {};
      memcpy(rest, p, size_t(n - i) * D::kElemBytes);
      D::step(typename D::Block(rest), 0, [&](int j, __m256 w) HEARTH_INLINE_LAMBDA {
        if (8 * j < n - i) _mm256_storeu_ps(out + i + 8 * j, w);  // what follows may be another thread's
      });
    }
  }
}

// acc[r] += the products of `n` weights from element `at` of four rows with x. Meanwhile asks for the next four rows,
// in the order of the file and as many bytes as it reads: the hardware does not follow four short streams (cold Q6_K
// rows: 3.0 weights per ns without, 6.0 with; Q8_0 5.7 and 8.0). Long rows it does follow, so F32 and the halves go
// without.
template <class D>
HEARTH_INLINE void dot_4_rows(const std::byte* const* rows, const std::byte* next_rows, int64_t at, int64_t n,
                              const float* x, __m256 (&acc)[4]) {
  const size_t offset = size_t(at / D::kBlock) * D::kBytes;
  const char* ahead = reinterpret_cast<const char*>(next_rows + 4 * offset);
  const uint8_t *p0 = reinterpret_cast<const uint8_t*>(rows[0] + offset),
                *p1 = reinterpret_cast<const uint8_t*>(rows[1] + offset),
                *p2 = reinterpret_cast<const uint8_t*>(rows[2] + offset),
                *p3 = reinterpret_cast<const uint8_t*>(rows[3] + offset);
  const auto add = [&](const typename D::Block& block, int s, const float* from, __m256& sum) HEARTH_INLINE_LAMBDA {
    D::step(block, s, [&](int j, __m256 w) HEARTH_INLINE_LAMBDA {
      sum = _mm256_fmadd_ps(w, _mm256_loadu_ps(from + 8 * j), sum);
    });
  };
  int64_t i = 0;
  for (; i + D::kBlock <= n; i += D::kBlock) {
    if constexpr (!kElementwise<D>) {
      for (int line = 0; line < 4 * D::kBytes; line += 64) _mm_prefetch(ahead + line, _MM_HINT_T0);
      ahead += 4 * D::kBytes;
    }
    const typename D::Block b0(p0), b1(p1), b2(p2), b3(p3);
    for (int s = 0; s < D::kBlock / D::kStep; ++s) {
      const float* from = x + i + s * D::kStep;
      add(b0, s, from, acc[0]);
      add(b1, s, from, acc[1]);
      add(b2, s, from, acc[2]);
      add(b3, s, from, acc[3]);
    }
    p0 += D::kBytes, p1 += D::kBytes, p2 += D::kBytes, p3 += D::kBytes;
  }
  if constexpr (kElementwise<D>) {
    if (i < n) {
      const size_t bytes = size_t(n - i) * D::kElemBytes;
      alignas(32) uint8_t rest[4][D::kBytes] = {};
      alignas(32) float x_rest[D::kBlock] = {};
      memcpy(x_rest, x + i, size_t(n - i) * sizeof(float));
      const uint8_t* from[4] = {p0, p1, p2, p3};
      for (int r = 0; r < 4; ++r) {
        memcpy(rest[r], from[r], bytes);
        add(typename D::Block(rest[r]), 0, x_rest, acc[r]);
      }
    }
  }
}

template <class D>
void multiply_one_token(const Panel& panel, float* out) {
  const float* x = panel_token(panel, 0);
  for (int64_t i = 0; i < panel.n_rows; i += 4) {
    const std::byte* const rows[4] = {panel_row(panel, i), panel_row(panel, i + 1), panel_row(panel, i + 2),
                                      panel_row(panel, i + 3)};
    __m128 total = _mm_setzero_ps();
    for (int64_t at = 0; at < panel.k; at += kTile) {
      __m256 acc[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
      dot_4_rows<D>(rows, panel.w + size_t(i + 4) * panel.row_bytes, at, panel.k - at < kTile ? panel.k - at : kTile,
                    x + at, acc);
      const __m128 sum = sum4(acc[0], acc[1], acc[2], acc[3]);
      total = at == 0 ? sum : _mm_add_ps(sum, total);
    }
    float* to = out + 4 * i;  // a row of out is four tokens wide
    _mm_storeu_ps(to, _mm_permute_ps(total, 0x00));
    _mm_storeu_ps(to + 4, _mm_permute_ps(total, 0x55));
    _mm_storeu_ps(to + 8, _mm_permute_ps(total, 0xaa));
    _mm_storeu_ps(to + 12, _mm_permute_ps(total, 0xff));
  }
}

template <class DecodeRow>
HEARTH_INLINE void multiply_by_tiles(const Panel& panel, float* out, const DecodeRow& decode) {
  alignas(64) float tile[kPanelRows * kTile];
  const int64_t n_rows = round_up(panel.n_rows, 3);
  for (int64_t at = 0; at < panel.k; at += kTile) {
    const int64_t n = panel.k - at < kTile ? panel.k - at : kTile;
    for (int64_t i = 0; i < n_rows; ++i) decode(*panel.format, panel_row(panel, i), at, n, tile + i * kTile);
    const auto x = [&](int64_t t) HEARTH_INLINE_LAMBDA { return panel_token(panel, t) + at; };
    multiply_rows(tile, kTile, n_rows, x, panel.n_tokens, n, at == 0, out, round_up(panel.n_tokens, 4));
  }
}

template <class D>
void multiply_panel(const Panel& panel, float* out) {
  if (panel.n_tokens == 1) return multiply_one_token<D>(panel, out);
  multiply_by_tiles(panel, out, decode_row<D>);
}

// For a format without a decoder here: its own decode, the same loop.
void decode_row_by_table(const Format& format, const std::byte* row, int64_t at, int64_t n, float* out) {
  format.decode(row + at / format.block_elems * format.block_bytes, out, n);
  for (int64_t i = n; i < round_up(n, 8); ++i) out[i] = 0;
}

void multiply_panel_by_table(const Panel& panel, float* out) {
  multiply_by_tiles(panel, out, decode_row_by_table);
}

}  // namespace
}  // namespace hearth
