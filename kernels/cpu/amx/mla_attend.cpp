// Absorbed MLA on the tile unit: up to 16 heads of one token over a bfloat16 cache, whose rows are read in place.
//
//   scores   [16 positions][16 heads]  rows of the cache x the query, packed once
//   values   [16 heads][16 columns]    weights x pairs of rows, interleaved 32 columns at a time
//
// Query and weights are split into two bfloat16 numbers each, which keeps 16 significant bits: as exact as float32 is
// worth here. Bound: the tile unit, which even with both numbers has 8 times the peak of two float32 FMA units (512
// products per cycle, halved, against 32).
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/kernels.h"

namespace hearth::amx {
namespace {

constexpr int64_t kPositions = 128;               // taken at once
constexpr int64_t kMaxRank = 512, kMaxRope = 64;  // those of every DeepSeek model; others are attended without tiles
constexpr int64_t kMaxSteps = (kMaxRank + kMaxRope) / 32;

struct alignas(64) Work {
  uint32_t q[kMaxSteps][2][16][16];        // [step][high or low part][pair][head]
  uint16_t rest[16][kMaxRank + kMaxRope];  // the last rows of a piece, fewer than 16, followed by zeros
  float scores[kPositions][16];            // [position][head], then the weights
  uint16_t p[kPositions / 32][2][16][32];  // [step][part][head][position]
  uint32_t v[kPositions / 32][2][16][16];  // [step][half of 32 columns][pair of positions][column]
  float o[kMaxRank / 16][16][16];          // [columns][head][column]
  float largest[16], total[16], keep[16];
};

// 16 floats as the sum of two bfloat16 numbers.
struct Split {
  __m256i high, low;
  HEARTH_INLINE explicit Split(__m512 x) {
    high = __m256i(_mm512_cvtneps_pbh(x));
    const __m512 rounded = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    low = __m256i(_mm512_cvtneps_pbh(_mm512_sub_ps(x, rounded)));
  }
};

void pack_query(const mla::Unit& unit, int64_t width, Work& work) {
  for (int64_t s = 0; s * 32 < width; ++s) {
    __m512i high[16], low[16];
    HEARTH_UNROLL for (int64_t h = 0; h < 16; ++h) {
      if (h < unit.n_heads) {
        const float* q = unit.q + h * width + 32 * s;
        const Split a(_mm512_loadu_ps(q)), b(_mm512_loadu_ps(q + 16));
        high[h] = join(a.high, b.high);
        low[h] = join(a.low, b.low);
      } else {
        high[h] = low[h] = _mm512_setzero_si512();
      }
    }
    transpose(high);
    transpose(low);
    HEARTH_UNROLL for (int j = 0; j < 16; ++j) {
      _mm512_store_si512(work.q[s][0][j], high[j]);
      _mm512_store_si512(work.q[s][1][j], low[j]);
    }
  }
}

// Scores of 16 rows. Meanwhile the 16 rows from `next` on are prefetched.
HEARTH_INLINE void score_rows(const uint8_t* rows, size_t row_bytes, int64_t n_steps, const Work& work,
                              const uint8_t* next, float (*scores)[16]) {
  finish_writes();
  _tile_zero(0);
  _tile_zero(1);
  for (int64_t s = 0; s < n_steps; ++s) {
    _tile_loadd(4, rows + 64 * s, row_bytes);
    _tile_loadd(5, work.q[s][0], 64);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, work.q[s][1], 64);
    _tile_dpbf16ps(1, 4, 6);
    for (int64_t i = 0; i < 16; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(next + size_t(i) * row_bytes + 64 * s), _MM_HINT_T0);
    }
  }
  _tile_stored(0, scores, 64);
  float low[16][16];
  _tile_stored(1, low, 64);
  HEARTH_UNROLL for (int i = 0; i < 16; ++i) {
    _mm512_storeu_ps(scores[i], _mm512_add_ps(_mm512_loadu_ps(scores[i]), _mm512_loadu_ps(low[i])));
  }
}

// Scores of n positions -> weights, followed by zeros up to a multiple of 32. Updates the running maximum and sum.
void softmax(int64_t n, Work& work) {
  const __m512 before = _mm512_load_ps(work.largest);
  __m512 largest = before;
  for (int64_t i = 0; i < n; ++i) largest = _mm512_max_ps(largest, _mm512_load_ps(work.scores[i]));
  const __m512 keep = exp16(_mm512_sub_ps(before, largest));
  __m512 total = _mm512_mul_ps(_mm512_load_ps(work.total), keep);
  for (int64_t i = 0; i < n; ++i) {
    const __m512 weight = exp16(_mm512_sub_ps(_mm512_load_ps(work.scores[i]), largest));
    total = _mm512_add_ps(total, weight);
    _mm512_store_ps(work.scores[i], weight);
  }
  for (int64_t i = n; i % 32 != 0; ++i) _mm512_store_ps(work.scores[i], _mm512_setzero_ps());
  _mm512_store_ps(work.largest, largest);
  _mm512_store_ps(work.total, total);
  _mm512_store_ps(work.keep, keep);
  for (int64_t s = 0; s * 32 < n; ++s) {
    HEARTH_UNROLL for (int half = 0; half < 2; ++half) {
      __m512i w[16];
      HEARTH_UNROLL for (int i = 0; i < 16; ++i) w[i] = load512(work.scores[32 * s + 16 * half + i]);
      transpose(w);
      HEARTH_UNROLL for (int h = 0; h < 16; ++h) {
        const Split split(_mm512_castsi512_ps(w[h]));
        _mm256_store_si256(reinterpret_cast<__m256i*>(work.p[s][0][h] + 16 * half), split.high);
        _mm256_store_si256(reinterpret_cast<__m256i*>(work.p[s][1][h] + 16 * half), split.low);
      }
    }
  }
}

// o = o * keep + weights x rows, for 32 columns from `column` on.
void add_values(const LatentRows& rows, int64_t first, int64_t n, int64_t column, Work& work) {
  alignas(64) static constexpr auto kInterleave = [] {
    struct {
      uint16_t pick[2][32];
    } order{};
    for (int i = 0; i < 32; ++i) {
      order.pick[0][i] = uint16_t(i / 2 + i % 2 * 32);
      order.pick[1][i] = uint16_t(16 + i / 2 + i % 2 * 32);
    }
    return order;
  }();
  const __m512i low = _mm512_load_si512(kInterleave.pick[0]), high = _mm512_load_si512(kInterleave.pick[1]);
  const int64_t n_steps = (n + 31) / 32;
  const auto row = [&](int64_t i) HEARTH_INLINE_LAMBDA {
    return i < n ? load512(row_at(rows, first + i) + 2 * column) : _mm512_setzero_si512();
  };
  for (int64_t i = 0; i < 16 * n_steps; ++i) {
    const __m512i a = row(2 * i), b = row(2 * i + 1);
    _mm512_store_si512(work.v[i / 16][0][i % 16], _mm512_permutex2var_epi16(a, low, b));
    _mm512_store_si512(work.v[i / 16][1][i % 16], _mm512_permutex2var_epi16(a, high, b));
  }
  float(*o)[16][16] = work.o + column / 16;
  for (int half = 0; half < 2; ++half) {
    for (int h = 0; h < 16; ++h) {
      _mm512_store_ps(o[half][h], _mm512_mul_ps(_mm512_load_ps(o[half][h]), _mm512_set1_ps(work.keep[h])));
    }
  }
  finish_writes();
  _tile_loadd(0, o[0], 64);
  _tile_loadd(1, o[1], 64);
  for (int64_t s = 0; s < n_steps; ++s) {
    _tile_loadd(4, work.p[s][0], 64);
    _tile_loadd(5, work.p[s][1], 64);
    _tile_loadd(6, work.v[s][0], 64);
    _tile_loadd(7, work.v[s][1], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(0, 5, 6);
    _tile_dpbf16ps(1, 5, 7);
  }
  _tile_stored(0, o[0], 64);
  _tile_stored(1, o[1], 64);
}

bool fits_tiles(const LatentCache& cache) {
  return cache.format == FormatId::bf16 && cache.kv_lora_rank % 32 == 0 && cache.kv_lora_rank <= kMaxRank &&
         cache.rope_dim % 32 == 0 && cache.rope_dim <= kMaxRope;
}

HEARTH_INLINE const uint8_t* bytes_of(const LatentRows& rows, int64_t position) {
  return reinterpret_cast<const uint8_t*>(row_at(rows, position));
}

size_t work_bytes(int64_t r, int64_t dr) {
  const size_t other = mla::floats_work(HEARTH_AVX512::kAttention, r, dr);
  return sizeof(Work) > other ? sizeof(Work) : other;
}

void attend_latents(const mla::Unit& unit) {
  const LatentCache& cache = *unit.rows.cache;
  if (!fits_tiles(cache)) {
    mla::attend_floats(HEARTH_AVX512::kAttention, unit);
    return;
  }
  Work& work = *reinterpret_cast<Work*>(unit.work);
  const int64_t r = cache.kv_lora_rank, width = r + cache.rope_dim, n_steps = width / 32;
  const size_t row_bytes = size_t(width) * 2;
  load_tile_config();
  pack_query(unit, width, work);
  for (int h = 0; h < 16; ++h) {
    work.largest[h] = -__builtin_inff();
    work.total[h] = 0;
  }
  memset(work.o, 0, size_t(r / 16) * sizeof work.o[0]);
  for (int64_t p = 0; p < unit.n; p += kPositions) {
    const int64_t n = unit.n - p < kPositions ? unit.n - p : kPositions;
    for (int64_t i = 0; i < n; i += 16) {
      const uint8_t* from = bytes_of(unit.rows, unit.first + p + i);
      if (n - i < 16 || unit.rows.page_bits < 4) {  // fewer, or not one after the other
        memset(work.rest, 0, sizeof work.rest);
        for (int64_t j = 0; j < 16 && j < n - i; ++j) {
          memcpy(work.rest[j], bytes_of(unit.rows, unit.first + p + i + j), row_bytes);
        }
        const uint8_t* padded = reinterpret_cast<const uint8_t*>(work.rest);
        score_rows(padded, sizeof work.rest[0], n_steps, work, padded, work.scores + i);
      } else {
        const bool more = i + 16 < n;
        score_rows(from, row_bytes, n_steps, work, more ? bytes_of(unit.rows, unit.first + p + i + 16) : from,
                   work.scores + i);
      }
    }
    softmax(n, work);
    for (int64_t c = 0; c < r; c += 32) add_values(unit.rows, unit.first + p, n, c, work);
  }
  _tile_release();
  for (int64_t h = 0; h < unit.n_heads; ++h) {
    for (int64_t c = 0; c < r; c += 16) _mm512_storeu_ps(unit.o + h * r + c, _mm512_load_ps(work.o[c / 16][h]));
    unit.largest[h] = work.largest[h];
    unit.total[h] = work.total[h];
  }
}

}  // namespace

const mla::Kernel kLatents = {attend_latents, work_bytes};

}  // namespace hearth::amx
