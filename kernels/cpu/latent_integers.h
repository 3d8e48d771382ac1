// Absorbed attention in 16-bit integers, for models whose weights are integers (attend_integers.h tells why): every
// head attends over the same latent rows, whose r + dr columns are the keys and whose first r columns are the values.
//
// What is multiplied is rounded to integers with one unit (float32) for each vector:
//
//                     length of its integers   a unit for each
//   rows of a cache   kRowLength               position, a power of two; another one for the rope part
//   queries           query_length(..)         head and token; another one for the rope part
//   softmax weights   -                        head, token and tile, times the values' units
//
// Sums of products are exact: none can leave 32 bits, since by Cauchy and Schwarz no part of a product of two vectors
// is larger than the product of their lengths, and since the weights' unit is chosen by what the magnitudes of the
// weights, each times the largest integer of its row, add up to.
//
// A query is off by at most sqrt(n / 12) units as a root of mean squares, which is 1e-4 of its length for 512 numbers,
// whatever they are. Of a row, the numbers of 128 units and more stay what they are: they have 8 significant bits, and
// the unit is a power of two. With Gaussian rows that is nine of ten numbers, and a row is off by 1e-4 of its length.
//
// A row or a query with a number that is not finite gets NaN as its unit, so that it makes those results NaN that
// depend on it, and no others.
#pragma once

#include "kernels/cpu/attend_integers.h"
#include "kernels/cpu/latent_rows.h"
#include "kernels/cpu/matmul.h"

namespace hearth {

constexpr int64_t kLatentTile = 128;  // positions attended at once

constexpr float kRowLength = 32700;

// Some rows of the cache, n <= kLatentTile of them.
struct LatentTile {
  int64_t c_width, width;            // r rounded up to 32; that and dr rounded up to 32
  int16_t* rows;                     // [kLatentTile][width]: latent, zeros, rope, zeros
  IntegerPair* pairs;                // [kLatentTile / 2][c_width]: latents of two positions; of 32 columns first the
                                     // even ones, then the odd ones
  float *units, *rope_units, *most;  // [kLatentTile]: of each position; `most`: its latent's largest magnitude
};

// A block of queries and their running results (as QueryBlock in attend.h). Those past the queries in use hold numbers
// that nobody reads.
struct LatentQueries {
  int64_t n;                            // a multiple of 16
  IntegerPair* q;                       // [width / 2][n]
  float *units, *rope_units;            // [n]
  float* o;                             // [n][c_width], sum of e^(score - largest) * value, columns as in `pairs`
  float *largest, *total;               // [n]
  float *scores, *keep, *weight_units;  // [kLatentTile][n], [n], [n]: work
};

struct LatentEngine {
  // The tile's rows from position `first` on; the cache is bfloat16.
  void (*read)(const LatentRows& rows, int64_t first, int64_t n, const LatentTile& tile);
  // rows [n][width] (as LatentTile::rows, in floats) -> the block's queries. work [16][width].
  void (*set_queries)(const float* rows, int64_t n, int64_t c_width, int64_t width, int16_t* work,
                      const LatentQueries& block);
  // Adds the n positions of a tile to the block's results, of which query i sees the first visible[i]; null: all. In
  // its first tile (`o` is not read) a query must see at least one.
  void (*attend)(const LatentQueries& block, const LatentTile& tile, int64_t n, const int32_t* visible, bool first);
  // o [r] = kept o + added part, where part is a row of LatentQueries::o; kept = 0: `o` is not read.
  void (*add_part)(const float* part, float added, float kept, int64_t r, float* o);
};

namespace mla {

// mla_attend of kernels/ops.h in integers, over a bfloat16 cache.
struct LatentCall {
  const Exec& exec;
  Heads<const float> q_c, q_rope;
  const LatentCache& cache;
  const Positions& at;
  float scale;
  Heads<float> o_c;
};
void attend_integers(const LatentEngine& engine, const LatentCall& call);
size_t integers_scratch(const ScratchLimits& limits);

// Puts absorbed attention into a table: in integers where `suits` says so, else as mla::install does. mla_attend, which
// knows no weights, stays in floats. (Local to each file: see kernels/cpu/parallel.h.)
namespace {
template <const Engine& (*products)(), const Kernel& floats, const LatentEngine& integers,
          bool (*suits)(const Weight& k_b, const Weight& v_b, FormatId cache)>
void install_integers(Ops& ops) {
  install<products, floats>(ops);
  ops.scratch.mla_attend = [](const ScratchLimits& limits) {
    const size_t a = scratch_bytes(floats, limits), b = integers_scratch(limits);
    return a > b ? a : b;
  };
  ops.absorbed_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                           const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                           Heads<float> q_c, Heads<float> o_c, Heads<float> o) {
    if (suits(k_b, v_b, cache.format)) {
      product::matmul_heads(products(), exec, k_b, q_nope, q_c);
      attend_integers(integers, {exec, q_c, q_rope, cache, at, scale, o_c});
      product::matmul_heads(products(), exec, v_b, o_c, o);
    } else {
      absorbed_attend(products(), floats, exec, q_nope, q_rope, k_b, v_b, cache, at, scale, q_c, o_c, o);
    }
  };
}
}  // namespace

}  // namespace mla
}  // namespace hearth
