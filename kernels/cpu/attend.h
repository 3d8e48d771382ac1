// Attention in float32, absorbed and naive, for any instruction set.
//
// Both forms take a block of queries over tiles of positions, with a running softmax. In absorbed attention the queries
// are the heads of one token, and keys and values are the same latent rows. In naive attention the queries are tokens
// of one head, over that head's expanded keys and values. An instruction set brings the steps on registers
// (AttentionEngine). Cutting into pieces, merging and sharing among threads is written once: for absorbed attention in
// mla_attend.h, for naive in mha_attend.h.
//
// (Plain structs without member functions, for the reason given in engine.h.)
#pragma once

#include "kernels/cpu/mla_attend.h"
#include "kernels/ops.h"

namespace hearth {

constexpr int64_t kTilePositions = 48;  // positions of a tile; 48 latents of 576 floats are 110 KB, which fit L2

// A block of queries and their running results. All arrays have n queries, a multiple of the engine's lanes; those past
// the queries in use hold finite numbers that nobody reads.
struct QueryBlock {
  int64_t n;
  int64_t width, value_width;  // multiples of the engine's lanes
  float* q;                    // [n * width] in the engine's own order, times the softmax scale
  float* o;                    // [n, value_width], sum of e^(score - largest) * value
  float *largest, *total;      // [n]
  float *scores, *keep;        // [kTilePositions, n], [n]: work
};

// Keys and values of n <= kTilePositions positions.
struct PositionTile {
  const float* keys;  // [n rounded up to 4][key_stride]; what the rows past n hold does not matter
  int64_t key_stride;
  const float* values;  // [n][value_stride]
  int64_t value_stride;
  int64_t n;
  const int32_t* visible;  // [queries]: how many of the positions each query sees; null: all
};

// Head h of both weights times n latents: keys[p][i] = sum_c latent_p[c] k_b[h][c][i], values[p][j] = v_b[h][j] .
// latent_p.
struct Expansion {
  const Weight *k_b, *v_b;
  int64_t head;
  const float* latents;  // [n rounded up to 4][latent_stride]
  int64_t latent_stride, n;
  float* keys;  // [n rounded up to 4][key_stride]; nope rounded up to the engine's lanes are written
  int64_t key_stride;
  float* values;  // [n rounded up to 4][value_stride], as wide as v rounded up to the lanes
  int64_t value_stride;
  float* work;  // [r, the larger of nope and v, rounded up to the lanes]
};

struct AttentionEngine {
  int64_t lanes;  // floats of a vector
  // rows [n][width] -> block.q in the engine's own order; zeros where the block is larger.
  void (*set_queries)(const float* rows, int64_t n, int64_t width, const QueryBlock& block);
  // Absorbed. Adds n <= kTilePositions positions to the block's results; work [kTilePositions, width].
  void (*attend_latents)(const QueryBlock& block, const LatentRows& rows, int64_t first, int64_t n, float* work);
  // Naive. Rows of the cache as floats, each padded with zeros to `stride`.
  void (*read_rows)(const LatentRows& rows, int64_t first, int64_t n, float* out, int64_t stride);
  void (*expand)(const Expansion& expansion);
  // Adds a tile to the block's results. In its first tile a query must see at least one position.
  void (*attend)(const QueryBlock& block, const PositionTile& tile);
};

// Call this before a block's first tile.
void begin_queries(const QueryBlock& block);

namespace mla {
// The kernel of absorbed attention (mla_attend.h) in float32, for any widths and both formats of the cache. Rows of the
// cache are converted once for all heads of the unit.
void attend_floats(const AttentionEngine& engine, const Unit& unit);
size_t floats_work(const AttentionEngine& engine, int64_t r, int64_t dr);

namespace {
template <const AttentionEngine& engine>
constexpr Kernel float_kernel = {[](const Unit& unit) { attend_floats(engine, unit); },
                                 [](int64_t r, int64_t dr) { return floats_work(engine, r, dr); }};
}
}  // namespace mla

// mha_attend of kernels/ops.h for any engine.
namespace attention {

// The arguments of Ops::mha_attend.
struct MhaCall {
  const Exec& exec;
  Heads<const float> q_nope, q_rope;
  const Weight &k_b, &v_b;
  const LatentCache& cache;
  const Positions& at;
  float scale;
  Heads<float> o;
};

void mha_attend(const AttentionEngine& engine, const MhaCall& call);

size_t scratch_bytes(const AttentionEngine& engine, const ScratchLimits& limits);

// Puts absorbed and naive attention into a table, with the engine of products that absorbed attention uses. (Local to
// each file: see kernels/cpu/parallel.h.)
namespace {
template <const Engine& (*products)(), const AttentionEngine& engine>
void install(Ops& ops) {
  mla::install<products, mla::float_kernel<engine>>(ops);
  ops.scratch.mha_attend = [](const ScratchLimits& limits) { return scratch_bytes(engine, limits); };
  ops.mha_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                      const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
    mha_attend(engine, MhaCall{exec, q_nope, q_rope, k_b, v_b, cache, at, scale, o});
  };
}
}  // namespace

}  // namespace attention
}  // namespace hearth
