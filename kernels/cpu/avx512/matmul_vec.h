// Few tokens: four rows side by side, straight from the stored blocks. Sums are integers over the 256 weights of a
// block of 256, and over four weights in smaller blocks. Step b of a group of rows prefetches the b-th slice of a later
// group, which may lie in the next matrix (RowsCall::next).
#pragma once

#include "kernels/cpu/avx512/decoders.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/stream.h"

namespace hearth {
namespace {

// Four vectors of 32-bit numbers, one per row -> lane r holds four partial sums of row r.
HEARTH_INLINE __m512i lane_per_row(const __m512i (&v)[4]) {
  const __m512i ab = _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x44), _mm512_shuffle_i32x4(v[0], v[1], 0xEE));
  const __m512i cd = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2], v[3], 0x44), _mm512_shuffle_i32x4(v[2], v[3], 0xEE));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xDD));
}
HEARTH_INLINE __m512 lane_per_row(const __m512 (&v)[4]) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
}
// Four numbers, one to each lane.
HEARTH_INLINE __m512 to_lanes(__m128 v) {
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                               _mm512_castps128_ps512(v));
}
HEARTH_INLINE __m128 halves_of_rows(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d) {
  __m128i v = _mm_cvtsi32_si128(half_bits(a));
  v = _mm_insert_epi16(v, half_bits(b), 1);
  v = _mm_insert_epi16(v, half_bits(c), 2);
  v = _mm_insert_epi16(v, half_bits(d), 3);
  return _mm_cvtph_ps(v);
}
// The sum inside each lane, to y[0..3] or as many as there are rows.
HEARTH_INLINE void store_rows(__m512 v, float* y, int64_t n_rows) {
  v = _mm512_add_ps(v, _mm512_permute_ps(v, 0xB1));
  v = _mm512_add_ps(v, _mm512_permute_ps(v, 0x4E));
  const __m512i first_of_lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  const __m128 sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(first_of_lanes, v));
  _mm_mask_storeu_ps(y, n_rows < 4 ? __mmask8((1 << n_rows) - 1) : __mmask8(15), sums);
}

// Activations in the order of a decoder's vectors.
template <class D>
HEARTH_INLINE void arrange(const int8_t* q, __m512i (&a)[4]) {
  HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
    if constexpr (D::sub16(0, 3) == 3) {
      a[i] = load512(q + 64 * i);
    } else if constexpr (D::sub16(0, 1) == 1) {
      a[i] = join(load256(q + 16 * D::sub16(i, 0)), load256(q + 16 * D::sub16(i, 2)));
    } else {
      a[i] = in_all_lanes(load128(q + 16 * D::sub16(i, 0)));
      a[i] = _mm512_inserti32x4(a[i], load128(q + 16 * D::sub16(i, 1)), 1);
      a[i] = _mm512_inserti32x4(a[i], load128(q + 16 * D::sub16(i, 2)), 2);
      a[i] = _mm512_inserti32x4(a[i], load128(q + 16 * D::sub16(i, 3)), 3);
    }
  }
}
// Where sums start: at minus the offset times the sum of each four activations.
template <class D>
HEARTH_INLINE __m512i start_of(__m512i a) {
  if constexpr (D::kOffset < 0) return _mm512_setzero_si512();
  const __m512i zero = _mm512_setzero_si512();
  return _mm512_sub_epi32(zero, dot4(zero, _mm512_set1_epi8(char(1 << (D::kOffset < 0 ? 0 : D::kOffset))), a));
}
template <class D>
HEARTH_INLINE __m512i dot4_of(__m512i acc, __m512i u, __m512i s) {
  return D::kWide ? dot4(acc, u, s) : dot4_small(acc, u, s);
}

// ---- 256-blocks

// Which scale belongs to each packed sum of vectors i and i + 1; a lane has four sums of vector i, then four of i + 1.
template <class D>
struct PackedScales {
  alignas(64) uint16_t pick[2][32];
  constexpr PackedScales() : pick() {
    for (int pair = 0; pair < 2; ++pair) {
      for (int lane = 0; lane < 4; ++lane) {
        for (int j = 0; j < 8; ++j) pick[pair][8 * lane + j] = uint16_t(D::sub16(2 * pair + j / 4, lane));
      }
    }
  }
};
template <class D>
constexpr PackedScales<D> kPackedScales;

// The same for a scale for each 32 weights, in the first or the second of two rows with 16 words each.
template <class D>
struct HeaderScales {
  alignas(64) uint16_t pick[2][2][32];
  constexpr HeaderScales() : pick() {
    for (int row = 0; row < 2; ++row) {
      for (int pair = 0; pair < 2; ++pair) {
        for (int i = 0; i < 32; ++i) pick[row][pair][i] = uint16_t(16 * row + kPackedScales<D>.pick[pair][i] / 2);
      }
    }
  }
};
template <class D>
constexpr HeaderScales<D> kHeaderScales;

template <class D>
HEARTH_INLINE void pick_scales(__m256i scales, __m512i (&picked)[2]) {  // of each 16 weights
  HEARTH_UNROLL for (int pair = 0; pair < 2; ++pair) {
    picked[pair] =
        _mm512_permutexvar_epi16(_mm512_load_si512(kPackedScales<D>.pick[pair]), _mm512_castsi256_si512(scales));
  }
}

// Do both vectors of a pair have the same scale in a lane?
template <class D>
constexpr bool kScalesOfPairs = D::kGroup == 32 && D::sub16(0, 0) / 2 == D::sub16(1, 0) / 2;

// sum of scale * q * a over 256 weights of one row, as 16 partial sums.
template <class D>
HEARTH_INLINE __m512i block_sum(const __m512i (&q)[4], const __m512i (&scales)[2], const __m512i (&a)[4],
                                const __m512i (&start)[4]) {
  __m512i sum = _mm512_setzero_si512();
  HEARTH_UNROLL for (int pair = 0; pair < 2; ++pair) {
    const __m512i picked = scales[pair];
    const int i = 2 * pair;
    if constexpr (D::kWide && !kScalesOfPairs<D>) {
      const __m512i of_first = _mm512_srai_epi32(_mm512_unpacklo_epi16(picked, picked), 16);
      const __m512i of_second = _mm512_srai_epi32(_mm512_unpackhi_epi16(picked, picked), 16);
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(dot4(start[i], q[i], a[i]), of_first));
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(dot4(start[i + 1], q[i + 1], a[i + 1]), of_second));
    } else if constexpr (D::kWide) {
      const __m512i both = dot4(dot4(_mm512_add_epi32(start[i], start[i + 1]), q[i], a[i]), q[i + 1], a[i + 1]);
      const __m512i wide = _mm512_srai_epi32(_mm512_slli_epi32(picked, 16), 16);  // every second word, with its sign
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(both, wide));
    } else {
      const __m512i first = dot4_small(start[i], q[i], a[i]), second = dot4_small(start[i + 1], q[i + 1], a[i + 1]);
      sum = dot2(sum, _mm512_packs_epi32(first, second), picked);
    }
  }
  return sum;
}

// The headers of four rows' blocks of Q4_K or Q5_K at once, a row in each lane: 8 scales and 8 minimums of 6 bits.
struct FourHeaders {
  __m512i scales[2];  // words of rows 0 and 1, and of rows 2 and 3: 8 scales, then 8 minimums, of each row
  __m512i mins;       // words: 8 in the lane of each row

  HEARTH_INLINE explicit FourHeaders(const uint8_t* const (&p)[4]) {
    __m512i z = _mm512_castsi128_si512(load128(p[0]));
    z = _mm512_inserti32x4(z, load128(p[1]), 1);
    z = _mm512_inserti32x4(z, load128(p[2]), 2);
    z = _mm512_inserti32x4(z, load128(p[3]), 3);
    // Dword 1 has the scales of groups 0 to 3 and dword 2 their minimums, in the low 6 bits of each byte; the other 2
    // bits are the upper bits of groups 4 to 7. Dword 3 has the lower 4 bits of groups 4 to 7: scales in the low
    // nibbles, minimums in the high ones.
    const __m512i low = _mm512_srlv_epi32(_mm512_shuffle_epi32(z, _MM_PERM_ENUM(0xED)),  // 1, 3, 2, 3
                                          in_all_lanes(_mm_setr_epi32(0, 0, 0, 4)));
    const __m512i high = _mm512_srli_epi32(_mm512_shuffle_epi32(z, _MM_PERM_ENUM(0xA5)), 2);  // 1, 1, 2, 2
    const __m512i low_mask = in_all_lanes(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    const __m512i high_mask = in_all_lanes(_mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    const __m512i bytes = with_mask(_mm512_and_si512(low, low_mask), high, high_mask);
    scales[0] = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes));
    scales[1] = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(bytes, 1));
    mins = _mm512_unpackhi_epi8(bytes, _mm512_setzero_si512());
  }
  HEARTH_INLINE static __m512i with_mask(__m512i base, __m512i bits, __m512i mask) {
    return _mm512_ternarylogic_epi64(bits, mask, base, 0xEA);  // (bits & mask) | base
  }
  template <class D>
  HEARTH_INLINE void pick(int row, __m512i (&picked)[2]) const {
    HEARTH_UNROLL for (int pair = 0; pair < 2; ++pair) {
      const __m512i of_row = _mm512_load_si512(kHeaderScales<D>.pick[row % 2][pair]);
      picked[pair] = _mm512_permutexvar_epi16(of_row, scales[row / 2]);
    }
  }
};

template <class D>
HEARTH_INLINE __m128 factors_of_rows(const FourRows& rows, const uint8_t* const (&p)[4]) {
  if constexpr (kOwnUnit<D>) {
    return _mm_setr_ps(block_factor<D>(rows.p[0], p[0]), block_factor<D>(rows.p[1], p[1]),
                       block_factor<D>(rows.p[2], p[2]), block_factor<D>(rows.p[3], p[3]));
  } else {
    return halves_of_rows(D::d(p[0]), D::d(p[1]), D::d(p[2]), D::d(p[3]));
  }
}

template <class D, int Tokens>
void multiply_blocks(const RowsCall& c) {
  constexpr bool kFourHeaders = D::kMins && D::kGroup == 32;
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* ahead = ahead_of(c, i);
    __m512 acc[Tokens], minus[Tokens];
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) acc[t] = minus[t] = _mm512_setzero_ps();
    for (int64_t b = 0; b * kChunk < c.k; ++b) {
      prefetch_slice<4 * D::kBytes>(ahead);
      const uint8_t* p[4];
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) p[r] = rows.p[r] + kHeaderOf<D> + b * D::kBytes;
      __m512i sums[Tokens][4], min_sums[Tokens];
      __m512i a[Tokens][4], start[Tokens][4];
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
        arrange<D>((static_cast<const X8*>(c.x[t]) + b)->q, a[t]);
        HEARTH_UNROLL for (int v = 0; v < 4; ++v) start[t][v] = start_of<D>(a[t][v]);
      }
      if constexpr (kFourHeaders) {
        const FourHeaders headers(p);
        HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
          __m512i q[4], scales[2];
          HEARTH_UNROLL for (int v = 0; v < 4; ++v) q[v] = D::vector(p[r], v);
          headers.pick<D>(r, scales);
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) sums[t][r] = block_sum<D>(q, scales, a[t], start[t]);
        }
        HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
          const X8* x = static_cast<const X8*>(c.x[t]) + b;
          min_sums[t] = _mm512_madd_epi16(headers.mins, in_all_lanes(load128(x->small_sum32)));
        }
      } else {
        __m512i row_mins[Tokens][4];
        HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
          __m512i q[4], scales[2];
          HEARTH_UNROLL for (int v = 0; v < 4; ++v) q[v] = D::vector(p[r], v);
          pick_scales<D>(D::scales(p[r]), scales);
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) sums[t][r] = block_sum<D>(q, scales, a[t], start[t]);
          if constexpr (D::kMins) {
            const __m256i mins = D::mins(p[r]);
            HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
              const X8* x = static_cast<const X8*>(c.x[t]) + b;
              row_mins[t][r] = _mm512_zextsi256_si512(_mm256_madd_epi16(mins, load256(x->small_sum16)));
            }
          }
        }
        if constexpr (D::kMins) {
          HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) min_sums[t] = lane_per_row(row_mins[t]);
        }
      }
      const __m128 d = factors_of_rows<D>(rows, p);
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
        const __m128 scale = _mm_set1_ps((static_cast<const X8*>(c.x[t]) + b)->scale);
        acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(lane_per_row(sums[t])), to_lanes(_mm_mul_ps(d, scale)), acc[t]);
        if constexpr (D::kMins) {
          const __m128 dmin = halves_of_rows(D::dmin(p[0]), D::dmin(p[1]), D::dmin(p[2]), D::dmin(p[3]));
          minus[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(min_sums[t]), to_lanes(_mm_mul_ps(dmin, scale)), minus[t]);
        }
      }
    }
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      store_rows(_mm512_sub_ps(acc[t], minus[t]), c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

// ---- 32- and 128-blocks

// A copy of a row's last blocks, which do not fill 256 weights, followed by zeros.
template <class D>
struct Tail {
  static constexpr int kAll = int(kChunk) / D::kBlock * D::kBytes;
  uint8_t bytes[kAll];
  HEARTH_INLINE void copy(const uint8_t* p, int64_t n_weights) {
    const size_t n = size_t(n_weights / D::kBlock) * D::kBytes;
    memcpy(bytes, p, n);
    memset(bytes + n, 0, kAll - n);
  }
};

// Adds the products of the first n of the 256 weights at p; n is a multiple of 32. The bytes of all 256 may be read:
// what follows the n weights may be anything, since its scales and activations count as zero.
template <class D, int Tokens>
HEARTH_INLINE void add_small_blocks(const uint8_t* row, const uint8_t* p, int64_t n, const X8* const (&x)[Tokens],
                                    __m512 (&acc)[Tokens]) {
  const __mmask8 there = n < kChunk ? __mmask8((1u << (n / 32)) - 1) : __mmask8(0xff);
  const __m512 scales = _mm512_castps256_ps512(_mm256_maskz_mov_ps(there, group_scales<D>(row, p)));
  __m512 sum[Tokens];
  HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) sum[t] = _mm512_setzero_ps();
  HEARTH_UNROLL for (int v = 0; v < 4; ++v) {
    if (64 * v >= n) break;
    const __m512i q = D::vector(p, v);
    const __m512i pick = join(_mm256_set1_epi32(2 * v), _mm256_set1_epi32(2 * v + 1));
    const __m512 scale = _mm512_permutexvar_ps(pick, scales);
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      const __m512i a = load512(x[t]->q + 64 * v);
      sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot4_of<D>(start_of<D>(a), q, a)), scale, sum[t]);
    }
  }
  HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
    if constexpr (D::kMins) {
      const __m256 mins = _mm256_mul_ps(_mm256_maskz_mov_ps(there, D::mins(p)), _mm256_loadu_ps(x[t]->sum32));
      sum[t] = _mm512_sub_ps(sum[t], _mm512_zextps256_ps512(mins));
    }
    acc[t] = _mm512_fmadd_ps(sum[t], _mm512_set1_ps(x[t]->scale), acc[t]);
  }
}

template <class D, int Tokens>
void multiply_small_blocks(const RowsCall& c) {
  constexpr int kBytes = int(kChunk) / D::kBlock * D::kBytes;
  const int64_t n_chunks = c.k / kChunk, rest = c.k % kChunk;
  // If a row's last blocks are fewer than 256 weights, they are read as if they were 256, past the row's end into the
  // next rows. The last rows have too few bytes after them, so their last blocks are copied.
  const int64_t over = rest > 0 ? kBytes - rest / D::kBlock * D::kBytes : 0;
  const int64_t last_in_place = c.n_rows - 1 - (over + int64_t(c.row_bytes) - 1) / int64_t(c.row_bytes);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* ahead = ahead_of(c, i);
    __m512 acc[Tokens][4];
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm512_setzero_ps();
    }
    const X8* x[Tokens];
    const auto add = [&](int r, const uint8_t* p, int64_t n) HEARTH_INLINE_LAMBDA {
      __m512 own[Tokens];
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) own[t] = acc[t][r];
      add_small_blocks<D, Tokens>(rows.p[r], p, n, x, own);
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) acc[t][r] = own[t];
    };
    for (int64_t b = 0; b < n_chunks; ++b) {
      prefetch_slice<4 * kBytes>(ahead);
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) x[t] = static_cast<const X8*>(c.x[t]) + b;
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) add(r, rows.p[r] + kHeaderOf<D> + b * kBytes, kChunk);
    }
    if (rest > 0) {
      prefetch_slice<4 * kBytes>(ahead);
      HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) x[t] = static_cast<const X8*>(c.x[t]) + n_chunks;
      Tail<D> tails[4];
      const uint8_t* p[4];
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
        p[r] = rows.p[r] + kHeaderOf<D> + n_chunks * kBytes;
        if (i + r > last_in_place) {
          tails[r].copy(p[r], rest);
          p[r] = tails[r].bytes;
        }
      }
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) add(r, p[r], rest);
    }
    HEARTH_UNROLL for (int t = 0; t < Tokens; ++t) {
      store_rows(lane_per_row(acc[t]), c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

template <class D, int Tokens>
void multiply_rows(const RowsCall& c) {
  if constexpr (D::kBlock == 256) {
    multiply_blocks<D, Tokens>(c);
  } else {
    multiply_small_blocks<D, Tokens>(c);
  }
}

}  // namespace
}  // namespace hearth
