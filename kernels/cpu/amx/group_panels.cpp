// Some tokens times decoded chunks, as exact as with byte products (avx512/matmul_tile.h): a product of tiles for each
// group of 16 or 32 weights, whose integer sums are scaled and added in float32, in the same order as there. Rounding
// weights to 8 bits (int8_panels.cpp) costs more instructions than that saves until there are about 32 tokens. Bound:
// the instructions that unpack weights and scale sums.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::amx {
namespace {

template <int kGroup>
HEARTH_INLINE int32_t minus_sum(const X8& x, int g) {
  return (kGroup == 16 ? x.minus_sum16 : x.minus_sum32)[g];
}
HEARTH_INLINE __m512i in_every_dword(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// Where the sums of 16 rows with a token begin: at minus the products of the integer minimums.
template <int kGroup>
HEARTH_INLINE __m512 minus_minimums(const TileScales& w, int row, const X8& x) {
  __m512i sum = _mm512_setzero_si512();
  HEARTH_UNROLL for (int g = 0; g < 128 / kGroup; ++g) {
    const __m512i two = in_every_dword((kGroup == 16 ? x.small_sum16 : x.small_sum32) + 2 * g);
    sum = _mm512_dpwssd_epi32(sum, load512(w.min_pairs[g] + row), two);
  }
  return _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_load_ps(w.dmin + row), _mm512_setzero_ps());
}

// n <= 16 tokens from token t on times 32 rows.
template <int kGroup, Minimums kMinimums>
void multiply(const Tile& w, int n_groups, int offset, const Tokens& tokens, int64_t t, int64_t n, bool first,
              float (*sums)[kPanelRows]) {
  const X8* const* x = tokens.x + t;
  alignas(64) float chunk[kBlock][kPanelRows];
  for (int64_t i = 0; i < n; ++i) {
    for (int row = 0; row < kPanelRows; row += 16) {
      const __m512 start =
          kMinimums == Minimums::integers ? minus_minimums<kGroup>(w, row, *x[i]) : _mm512_setzero_ps();
      _mm512_store_ps(chunk[i] + row, start);
    }
  }
  finish_writes();
  for (int g = 0; g < n_groups; ++g) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(4, tokens.q[t] + g * kGroup, kChunk);
    _tile_loadd(6, w.q[g * kGroup / 4][0], sizeof w.q[0]);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w.q[g * kGroup / 4][16], sizeof w.q[0]);
    _tile_dpbsud(1, 4, 7);
    alignas(64) int32_t c[2][kBlock][16];
    _tile_stored(0, c[0], 64);
    _tile_stored(1, c[1], 64);
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * half;
      const __m512 scale = _mm512_load_ps(w.scale[g] + row);
      for (int64_t i = 0; i < n; ++i) {
        __m512i products = load512(c[half][i]);
        if (kMinimums == Minimums::none && offset >= 0) {
          products = _mm512_add_epi32(products, _mm512_set1_epi32(minus_sum<kGroup>(*x[i], g) << offset));
        }
        __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, _mm512_load_ps(chunk[i] + row));
        if (kMinimums == Minimums::floats) {
          sum = _mm512_fnmadd_ps(_mm512_set1_ps(x[i]->sum32[g]), _mm512_load_ps(w.min[g] + row), sum);
        }
        _mm512_store_ps(chunk[i] + row, sum);
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    const __m512 scale = _mm512_set1_ps(x[i]->scale);
    for (int row = 0; row < kPanelRows; row += 16) {
      float* to = sums[t + i] + row;
      const __m512 old = first ? _mm512_setzero_ps() : _mm512_load_ps(to);
      _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_load_ps(chunk[i] + row), scale, old));
    }
  }
}

using Multiply = void(const Tile&, int, int, const Tokens&, int64_t, int64_t, bool, float (*)[kPanelRows]);

Multiply* multiply_of(const TileForm& form) {
  if (form.group == 16) {
    return form.minimums == Minimums::none ? multiply<16, Minimums::none> : multiply<16, Minimums::integers>;
  }
  return form.minimums == Minimums::none       ? multiply<32, Minimums::none>
         : form.minimums == Minimums::integers ? multiply<32, Minimums::integers>
                                               : multiply<32, Minimums::floats>;
}

}  // namespace

void group_panels(const PanelCall& c, const TilePanels& format) {
  load_group_config(c.n_tokens < kBlock ? c.n_tokens : kBlock, format.form.group);
  Multiply* const multiply = multiply_of(format.form);
  multiply_chunks(c, format,
                  [&](const Tile& decoded, int64_t n, const Tokens& tokens, int64_t n_tokens, bool first,
                      float(*sums)[kPanelRows]) HEARTH_INLINE_LAMBDA {
                    const int n_groups = int((n + format.form.group - 1) / format.form.group);
                    for (int64_t t = 0; t < n_tokens; t += kBlock) {
                      const int64_t here = n_tokens - t < kBlock ? n_tokens - t : kBlock;
                      multiply(decoded, n_groups, format.form.offset, tokens, t, here, first, sums);
                    }
                  });
  _tile_release();
}

}  // namespace hearth::amx
