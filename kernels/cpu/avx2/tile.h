// 32 rows x 256 weights, decoded for all tokens that pass over them. Unsigned weights stay bytes, [k / 4][32 rows][4];
// the scales of their groups are applied to sums. Signed ones become words: AVX2 multiplies bytes only if one side is
// unsigned, and moving the signs to the other side costs more than words do. They lie in [k / 2][32 rows][2], of every
// 32 first those of even place in pairs (0, 2), (4, 6) .., then the odd ones; where a block's scales are integers,
// the words are already multiplied by them (at most 127 * 128), so that a whole chunk is one sum.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/avx2/transpose.h"
#include "kernels/cpu/engine.h"

namespace hearth {
namespace {

struct TileScales {
  alignas(64) int32_t pairs[16][kPanelRows];  // 256-blocks: a group's scale as two equal words
  int32_t min_pairs[8][kPanelRows];           // and the mins of groups 2g, 2g + 1 as words
  float d[kPanelRows], dmin[kPanelRows];
  float scale[8][kPanelRows], added[8][kPanelRows];  // smaller blocks
};
template <class D>
struct Tile : TileScales {
  alignas(64) uint8_t q[kChunk / (D::kSigned ? 2 : 4)][kPanelRows][4];
};

// ---- scales

// v: 8 dwords of each of 8 rows. The first n of them go to out[0 .. n - 1][first_row ..].
HEARTH_INLINE void put_transposed(__m256i (&v)[8], int n, int32_t (*out)[kPanelRows], int first_row) {
  transpose(v);
  HEARTH_UNROLL for (int j = 0; j < 8; ++j) {
    if (j < n) store256(out[j] + first_row, v[j]);
  }
}
HEARTH_INLINE void put_transposed(__m256i (&v)[8], float (*out)[kPanelRows], int first_row) {
  transpose(v);
  HEARTH_UNROLL for (int j = 0; j < 8; ++j) store256(out[j] + first_row, v[j]);
}

// The half-precision numbers `at` bytes after eight pointers.
HEARTH_INLINE __m256 halves_of_8(const uint8_t* const* p, int at) {
  __m128i v = _mm_cvtsi32_si128(half_bits(p[0] + at));
  v = _mm_insert_epi16(v, half_bits(p[1] + at), 1);
  v = _mm_insert_epi16(v, half_bits(p[2] + at), 2);
  v = _mm_insert_epi16(v, half_bits(p[3] + at), 3);
  v = _mm_insert_epi16(v, half_bits(p[4] + at), 4);
  v = _mm_insert_epi16(v, half_bits(p[5] + at), 5);
  v = _mm_insert_epi16(v, half_bits(p[6] + at), 6);
  v = _mm_insert_epi16(v, half_bits(p[7] + at), 7);
  return _mm256_cvtph_ps(v);
}

// The headers of eight blocks of Q4_K or Q5_K at once, one row in each dword: d and dmin, then three dwords of bytes:
// a with the scales of groups 0 to 3, b with their mins, and c with the lower four bits of the others' scales and mins,
// whose upper two are those of a's and b's bytes.
HEARTH_INLINE void unpack_headers(const uint8_t* const* p, int first_row, TileScales& tile) {
  __m256i v[4];
  load_transposed(p, 0, v);
  _mm256_storeu_ps(tile.d + first_row, low_halves(v[0]));
  _mm256_storeu_ps(tile.dmin + first_row, low_halves(_mm256_srli_epi32(v[0], 16)));
  const auto later = [](__m256i early, __m256i low) HEARTH_INLINE_LAMBDA {
    return _mm256_or_si256(low_bits(low, 4), _mm256_and_si256(_mm256_srli_epi16(early, 2), _mm256_set1_epi8(0x30)));
  };
  // Bytes a and b of every dword as words.
  const auto words = [](__m256i bytes, int a, int b) HEARTH_INLINE_LAMBDA {
    const int none = 0x80;
    const auto in = [&](int dword) HEARTH_INLINE_LAMBDA {
      return int(uint32_t(a + 4 * dword) | uint32_t(none << 8) | uint32_t(b + 4 * dword) << 16 | uint32_t(none) << 24);
    };
    return _mm256_shuffle_epi8(bytes, in_both_halves(_mm_setr_epi32(in(0), in(1), in(2), in(3))));
  };
  const __m256i scales[2] = {low_bits(v[1], 6), later(v[1], v[3])};
  const __m256i mins[2] = {low_bits(v[2], 6), later(v[2], _mm256_srli_epi16(v[3], 4))};
  HEARTH_UNROLL for (int g = 0; g < 8; ++g) store256(tile.pairs[g] + first_row, words(scales[g / 4], g % 4, g % 4));
  HEARTH_UNROLL for (int g = 0; g < 8; g += 2) {
    store256(tile.min_pairs[g / 2] + first_row, words(mins[g / 4], g % 4, g % 4 + 1));
  }
}

// The scales of the blocks of 256 at p, row by row.
template <class D>
HEARTH_INLINE void unpack_scales(const uint8_t* const* rows, const uint8_t* const* p, int first_row, TileScales& tile) {
  static_assert(!D::kMins || D::kGroup == 16);
  if constexpr (kOwnUnit<D>) {
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) tile.d[first_row + r] = D::d(rows[r], p[r]);
  } else {
    _mm256_storeu_ps(tile.d + first_row, halves_of_8(p, D::kD));
  }
  __m256i v[8];
  HEARTH_UNROLL for (int r = 0; r < 8; ++r) v[r] = D::scales(p[r]);  // 16 words
  transpose(v);
  HEARTH_UNROLL for (int j = 0; j < 8; ++j) {
    if constexpr (D::kGroup == 32) {
      store256(tile.pairs[j] + first_row, v[j]);
    } else {  // two groups' words, as pairs of each
      const __m256i even = _mm256_slli_epi32(v[j], 16), odd = _mm256_srli_epi32(v[j], 16);
      store256(tile.pairs[2 * j] + first_row, _mm256_blend_epi16(v[j], even, 0xAA));
      store256(tile.pairs[2 * j + 1] + first_row, _mm256_blend_epi16(odd, v[j], 0xAA));
    }
  }
  if constexpr (D::kMins) {
    _mm256_storeu_ps(tile.dmin + first_row, halves_of_8(p, D::kDmin));
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) v[r] = D::mins(p[r]);
    put_transposed(v, 8, tile.min_pairs, first_row);
  }
}

// The scales of n_groups groups in smaller blocks, row by row.
template <class D>
HEARTH_INLINE void unpack_small_scales(const uint8_t* const* rows, const uint8_t* const* p, int first_row, int n_groups,
                                       TileScales& tile) {
  __m256i v[8];
  HEARTH_UNROLL for (int r = 0; r < 8; ++r) v[r] = _mm256_castps_si256(group_scales<D>(rows[r], p[r], n_groups));
  put_transposed(v, tile.scale, first_row);
  if constexpr (D::kMins) {
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) {
      v[r] = _mm256_castps_si256(group_halves<D>(p[r], D::kAddedAt, n_groups));
    }
    put_transposed(v, tile.added, first_row);
  }
}

// Smaller blocks that begin with their scale, and then the added number, if any.
template <class D>
constexpr bool kScaleFirst = false;
template <class D>
requires(D::kBlock != 256 && D::kScaleAt == 0 &&
         !requires(const uint8_t* p) { D::scales(p, p, 1); }) constexpr bool kScaleFirst<D> = true;

// ---- weights

// Weights 4 at .. 4 at + 3 of eight rows of a chunk.
template <class D>
HEARTH_INLINE void put_weights(__m256i bytes, int at, int first_row, Tile<D>& tile) {
  if constexpr (D::kSigned) {
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), odd = _mm256_srai_epi16(bytes, 8);
    if constexpr (D::kBlock == 256) {
      const __m256i scale = load256(tile.pairs[4 * at / D::kGroup] + first_row);
      even = _mm256_mullo_epi16(even, scale);
      odd = _mm256_mullo_epi16(odd, scale);
    }
    const int to = at / 8 * 16 + at % 8;
    store256(tile.q[to][first_row], even);
    store256(tile.q[to + 8][first_row], odd);
  } else {
    store256(tile.q[at][first_row], bytes);
  }
}

// Eight rows' blocks at p, whose first weights are the chunk's 32 first and following.
template <class D>
HEARTH_INLINE void unpack_pieces(const uint8_t* const* p, int first, int first_row, Tile<D>& tile) {
  __m256i z[D::kPieces][4];
  HEARTH_UNROLL for (int s = 0; s < D::kPieces; ++s) load_transposed(p, D::piece(s), z[s]);
  if constexpr (kScaleFirst<D>) {
    __m256i header[4];
    load_transposed(p, 0, header);
    const __m256 scale = low_halves(header[0]), added = low_halves(_mm256_srli_epi32(header[0], 16));
    HEARTH_UNROLL for (int i = 0; i < D::kBlock / 32; ++i) {
      _mm256_storeu_ps(tile.scale[first + i] + first_row, scale);
      if constexpr (D::kMins) _mm256_storeu_ps(tile.added[first + i] + first_row, added);
    }
  }
  const auto dword = [&](int s, int c) HEARTH_INLINE_LAMBDA { return z[s][c]; };
  HEARTH_UNROLL for (int i = 0; i < D::kBlock / 32; ++i) {
    HEARTH_UNROLL for (int j = 0; j < 8; ++j) {
      put_weights(D::weights(dword, i, j), 8 * (first + i) + j, first_row, tile);
    }
  }
}

// Decodes one chunk of n weights of 32 rows, whose blocks are `at` bytes after the beginnings of the rows.
template <class D>
void decode_tile(const uint8_t* const* rows, size_t at, int64_t n, Tile<D>& tile) {
  for (int first_row = 0; first_row < kPanelRows; first_row += 8) {
    const uint8_t* p[8];
    HEARTH_UNROLL for (int r = 0; r < 8; ++r) p[r] = rows[first_row + r] + at;
    if constexpr (D::kBlock == 256 && D::kGroup == 32 && D::kMins) {
      unpack_headers(p, first_row, tile);
    } else if constexpr (D::kBlock == 256) {
      unpack_scales<D>(rows + first_row, p, first_row, tile);
    } else if constexpr (!kScaleFirst<D>) {
      unpack_small_scales<D>(rows + first_row, p, first_row, int(n / 32), tile);
    }
    if constexpr (requires { D::kPieces; }) {
      for (int i = 0; i < int(n / 32); i += D::kBlock / 32) {
        unpack_pieces<D>(p, i, first_row, tile);
        HEARTH_UNROLL for (int r = 0; r < 8; ++r) p[r] += D::kBytes;
      }
    } else {
      static_assert(D::kBlock == 256);
      HEARTH_UNROLL for (int i = 0; i < 8; ++i) {
        __m256i v[8];
        HEARTH_UNROLL for (int r = 0; r < 8; ++r) v[r] = D::vector(p[r], i);
        transpose(v);
        HEARTH_UNROLL for (int j = 0; j < 8; ++j) put_weights(v[j], 8 * i + j, first_row, tile);
      }
    }
  }
}

}  // namespace
}  // namespace hearth
