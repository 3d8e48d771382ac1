// Some tokens times decoded chunks, as exact as with byte products (avx512/matmul_tile.h): a product of tiles for each
// group of 16 or 32 weights, whose integer sums are scaled and added in float32, in the same order as there. Rounding
// weights to 8 bits (int8_panels.cpp) costs more instructions than that saves until there are about 32 tokens. Bound:
// the instructions that unpack weights and scale sums.
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"
#include "kernels/cpu/avx512/tile_scales.h"

namespace hearth::amx {
namespace {

struct Decode {
  using Chunk = Tile;
  static constexpr Input kInput = Input::x8;
  static constexpr int64_t kVisit = 2, kSteps = 2;

  const TilePanels& format;

  HEARTH_INLINE void take(const PanelCall&, const uint8_t* const* rows, int64_t at, int64_t n, int step, Chunk& out) {
    format.decode(rows, bytes_before(format, at), n, 16 * step, out);
  }
};

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

// of_chunk[token][row] += the products c of group g with n tokens, scaled, less the group's minimums.
template <int kGroup, Minimums kMinimums>
HEARTH_INLINE void add_group(const Tile& w, int g, int offset, const X8* const* x, int64_t n,
                             const int32_t (*c)[kBlock][16], float (*of_chunk)[kPanelRows]) {
  for (int half = 0; half < 2; ++half) {
    const int row = 16 * half;
    const __m512 scale = _mm512_load_ps(w.scale[g] + row);
    for (int64_t i = 0; i < n; ++i) {
      __m512i products = load512(c[half][i]);
      if (kMinimums == Minimums::none && offset >= 0) {
        products = _mm512_add_epi32(products, _mm512_set1_epi32(minus_sum<kGroup>(*x[i], g) << offset));
      }
      __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, _mm512_load_ps(of_chunk[i] + row));
      if (kMinimums == Minimums::floats) {
        sum = _mm512_fnmadd_ps(_mm512_set1_ps(x[i]->sum32[g]), _mm512_load_ps(w.min[g] + row), sum);
      }
      _mm512_store_ps(of_chunk[i] + row, sum);
    }
  }
}

// n <= 16 tokens from token t on times n_groups groups of a chunk of 32 rows.
template <int kGroup, Minimums kMinimums>
void multiply(const Tile& w, int n_groups, int offset, const Tokens& tokens, int64_t chunk, int64_t t, int64_t n,
              bool first, const Sums& sums) {
  const Block& block = tokens.blocks[t / kBlock];
  const uint8_t* const q = block.x + chunk * block.next_chunk;
  const X8* x[kBlock];
  alignas(64) float of_chunk[kBlock][kPanelRows];
  for (int64_t i = 0; i < n; ++i) {
    x[i] = &tokens.x8(t + i, chunk);
    for (int row = 0; row < kPanelRows; row += 16) {
      const __m512 start =
          kMinimums == Minimums::integers ? minus_minimums<kGroup>(w, row, *x[i]) : _mm512_setzero_ps();
      _mm512_store_ps(of_chunk[i] + row, start);
    }
  }
  // Two groups at once: a product of tiles is ready after 50 cycles. A group that does not exist is multiplied, too:
  // a chunk has room for it.
  finish_writes();
  for (int g = 0; g < n_groups; g += 2) {
    alignas(64) int32_t c[2][2][kBlock][16];
    const auto *const w0 = w.q + g * kGroup / 4, *const w1 = w0 + kGroup / 4;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, q + g * kGroup, block.stride);
    _tile_loadd(6, w0[0][0], sizeof w0[0]);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w0[0][16], sizeof w0[0]);
    _tile_dpbsud(1, 4, 7);
    _tile_loadd(5, q + (g + 1) * kGroup, block.stride);
    _tile_loadd(6, w1[0][0], sizeof w1[0]);
    _tile_dpbsud(2, 5, 6);
    _tile_loadd(7, w1[0][16], sizeof w1[0]);
    _tile_dpbsud(3, 5, 7);
    _tile_stored(0, c[0][0], 64);
    _tile_stored(1, c[0][1], 64);
    _tile_stored(2, c[1][0], 64);
    _tile_stored(3, c[1][1], 64);
    finish_writes();
    add_group<kGroup, kMinimums>(w, g, offset, x, n, c[0], of_chunk);
    if (g + 1 < n_groups) add_group<kGroup, kMinimums>(w, g + 1, offset, x, n, c[1], of_chunk);
  }
  for (int64_t i = 0; i < n; ++i) {
    const __m512 scale = _mm512_set1_ps(x[i]->scale);
    for (int half = 0; half < 2; ++half) {
      const __m512 of = _mm512_load_ps(of_chunk[i] + 16 * half);
      sums.set(t + i, half, _mm512_fmadd_ps(of, scale, sums.old(t + i, half, first)));
    }
  }
}

using Multiply = void(const Tile&, int, int, const Tokens&, int64_t, int64_t, int64_t, bool, const Sums&);

}  // namespace

void group_panels(const PanelCall& c, const TilePanels& format) {
  const int group = format.form.group;
  load_group_config(c.n_tokens < kBlock ? c.n_tokens : kBlock, group);
  Multiply* multiply_group = nullptr;
  for_form(format.form, [&]<int kGroup, Minimums kMinimums>() { multiply_group = multiply<kGroup, kMinimums>; });
  Decode recipe = {format};
  multiply_visits<kBlock>(c, recipe,
                          [&](const Tile& w, int64_t chunk, int64_t n_weights, const Tokens& tokens, int64_t t,
                              int64_t n, const Sums& sums, bool first, const auto& go_on) HEARTH_INLINE_LAMBDA {
                            const int n_groups = int((n_weights + group - 1) / group);
                            multiply_group(w, n_groups, format.form.offset, tokens, chunk, t, n, first, sums);
                            go_on();
                          });
  _tile_release();
}

}  // namespace hearth::amx
