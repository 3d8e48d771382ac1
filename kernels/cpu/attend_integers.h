// Naive attention in 16-bit integers, for models whose weights are integers: there every other product rounds its
// activations to 8 bits, and attention need not be exact to 24. One instruction multiplies twice as many of them as
// floats.
//
// Everything that is multiplied is rounded to integers with one unit (float32) for each vector that is summed over:
//
//                            integers within               a unit for each
//   W^UK, W^UV               kWeightMost                   column of keys or values
//   latents                  32767, and kWeightMost        position
//   keys, with k_rope        kKeyMost                      head and position
//   queries                  32767, and kKeyMost           head and token
//   values                   kValueMost                    head and position
//   softmax weights          32767, and kValueMost         head, token and tile, times the values' units
//
// "and" is what makes sums exact: the magnitudes of a vector's integers (of a latent's: of each kLatentBlock) add up to
// so little that no sum of their products with integers within the other bound can leave 32 bits. So it is the vector's
// own length that is used up, and no order of adding matters. A vector of n numbers is off by about sqrt(n / 12) units:
// keys of 192 numbers by 1e-4 of their length where those are Gaussian, and by 5e-4 at most, where one number is all of
// it. In 8 bits that would be 7e-3 and 3e-2.
//
// A vector with a number that is not finite gets NaN as its unit and no integers, so that it makes those results NaN
// that depend on it, and no others.
#pragma once

#include "kernels/cpu/attend.h"
#include "kernels/cpu/latent_rows.h"

namespace hearth {

constexpr int64_t kIntegerTile = 96;  // positions attended at once

constexpr int64_t kLatentBlock = 128;  // latent columns whose products are added as integers
constexpr float kWeightMost = 8191, kKeyMost = 8191, kValueMost = 8191;

// Two integers one after the other in the depth of a sum, the first in the low half.
using IntegerPair = int32_t;

// Some rows of the cache.
struct IntegerLatents {
  int16_t* c;        // [n rounded up to 4][c_stride]: the first r columns, then zeros
  float* units;      // [n]
  float* rope;       // [n][rope_stride]: the others, as they are
  int64_t c_stride;  // r rounded up to 32
  int64_t rope_stride;
};

// Of one head.
struct IntegerKeys {
  int16_t* rows;  // [n rounded up to 4][stride]: [nope | rope], then zeros
  float* units;   // [n]
  int64_t stride;
};
struct IntegerValues {
  IntegerPair* rows;  // [n / 2][stride]: of two positions
  float* units;       // [n]
  int64_t stride;
};

// A block of queries and their running results (as QueryBlock in kernels/cpu/attend.h).
struct IntegerQueries {
  int64_t n;                            // a multiple of 16
  int64_t width, value_width;           // multiples of 32 and of 16
  IntegerPair* q;                       // [width / 2][n]
  float* units;                         // [n]
  float* o;                             // [n][value_width], sum of e^(score - largest) * value
  float *largest, *total;               // [n]
  float *scores, *keep, *weight_units;  // [kIntegerTile][n], [n], [n]: work
};

struct IntegerExpansion {
  const Weight *k_b, *v_b;
  int64_t head, n;
  IntegerLatents latents;
  int64_t rope_dim;
  IntegerKeys keys;
  IntegerValues values;
  float* weights;       // work [r rounded up to 32][the larger of nope and v, rounded up to 16]
  float* weight_units;  // work [the same width]
  float* rows;          // work [kIntegerTile][the larger of keys.stride + 16 and values.stride]
};

struct IntegerAttention {
  // row: work [c_stride + rope_stride].
  void (*read_rows)(const LatentRows& rows, int64_t first, int64_t n, float* row, const IntegerLatents& out);
  // Keys and values of a head for n positions.
  void (*expand)(const IntegerExpansion& expansion);
  // rows [n][block.width] -> the block's queries; zeros where the block is larger. work [16][block.width].
  void (*set_queries)(const float* rows, int64_t n, int16_t* work, const IntegerQueries& block);
  // Adds n <= kIntegerTile positions to the block's results. `visible` and what a query must see first: as in
  // PositionTile.
  void (*attend)(const IntegerQueries& block, const IntegerKeys& keys, const IntegerValues& values, int64_t n,
                 const int32_t* visible);
};

namespace attention {
void mha_attend(const IntegerAttention& engine, const MhaCall& call);
size_t scratch_bytes(const IntegerAttention& engine, const ScratchLimits& limits);
}  // namespace attention

}  // namespace hearth
