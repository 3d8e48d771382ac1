// Naive attention (mha_attend.h) in integers, by the steps of an IntegerAttention (attend_integers.h).
#include "kernels/cpu/attend_integers.h"
#include "kernels/cpu/mha_attend.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::attention {
namespace {

struct Integers {
  static constexpr int64_t kTile = kIntegerTile, kChunk = 6 * kTile;
  static constexpr int64_t kUnits = kChunk + 16;  // products read the units of rows past the last

  const IntegerAttention& engine;
  const Weight *k_b = nullptr, *v_b = nullptr;
  int64_t dr, row_width, value_width, weight_width, expanded_width, n_queries;
  IntegerLatents latents;               // of the chunk
  int16_t* keys;                        // [H, kChunk, row_width]
  IntegerPair* values;                  // [H, kChunk / 2, value_width]
  float *key_units, *value_units;       // [H, kUnits]
  float *largest, *total;               // [H, n_queries]
  float *weights, *weight_units;        // of each thread, as what follows
  float *expanded, *latent_row, *rows;  // [kTile, expanded_width], [r + dr, rounded up], [kQueries, row_width]
  int16_t* query_work;                  // [16, row_width]
  IntegerPair* q;                       // [row_width / 2, kQueries]
  float *o, *scores, *small;            // [kQueries, value_width], [kTile, kQueries], [3, kQueries]

  Integers(const IntegerAttention& engine, Scratch& scratch, int64_t n_threads, int64_t T, int64_t H, int64_t r,
           int64_t nope, int64_t dr, int64_t v)
      : engine(engine),
        dr(dr),
        row_width(round_up(nope + dr, 32)),
        value_width(round_up(v, 16)),
        weight_width(round_up(std::max(nope, v), 16)),
        expanded_width(std::max(row_width + 16, value_width)),
        n_queries(round_up(T, kQueries)) {
    latents.c_stride = round_up(r, 32);
    latents.rope_stride = round_up(dr, 16);
    latents.c = scratch.take<int16_t>(kChunk * latents.c_stride);
    latents.units = scratch.take<float>(kUnits);
    latents.rope = scratch.take<float>(kChunk * latents.rope_stride);
    keys = scratch.take<int16_t>(H * kChunk * row_width);
    values = scratch.take<IntegerPair>(H * kChunk / 2 * value_width);
    key_units = scratch.take<float>(H * kUnits);
    value_units = scratch.take<float>(H * kUnits);
    largest = scratch.take<float>(H * n_queries);
    total = scratch.take<float>(H * n_queries);
    weights = scratch.take<float>(n_threads * latents.c_stride * weight_width);
    weight_units = scratch.take<float>(n_threads * weight_width);
    expanded = scratch.take<float>(n_threads * kTile * expanded_width);
    latent_row = scratch.take<float>(n_threads * latent_width());
    rows = scratch.take<float>(n_threads * kQueries * row_width);
    query_work = scratch.take<int16_t>(n_threads * 16 * row_width);
    q = scratch.take<IntegerPair>(n_threads * row_width / 2 * kQueries);
    o = scratch.take<float>(n_threads * kQueries * value_width);
    scores = scratch.take<float>(n_threads * kTile * kQueries);
    small = scratch.take<float>(n_threads * 3 * kQueries);
  }
  int64_t latent_width() const { return latents.c_stride + latents.rope_stride; }
  float* row(int thread) const { return rows + thread * kQueries * row_width; }

  IntegerLatents latents_at(int64_t p) const {
    return {latents.c + p * latents.c_stride, latents.units + p, latents.rope + p * latents.rope_stride,
            latents.c_stride, latents.rope_stride};
  }
  IntegerKeys keys_at(int64_t h, int64_t p) const {
    return {keys + (h * kChunk + p) * row_width, key_units + h * kUnits + p, row_width};
  }
  IntegerValues values_at(int64_t h, int64_t p) const {  // p even
    return {values + (h * kChunk + p) / 2 * value_width, value_units + h * kUnits + p, value_width};
  }

  void read(int thread, const LatentRows& from, int64_t first, int64_t n, int64_t p0) const {
    engine.read_rows(from, first, n, latent_row + thread * latent_width(), latents_at(p0));
  }
  void expand(int thread, int64_t h, int64_t p0, int64_t n) const {
    engine.expand({k_b, v_b, h, n, latents_at(p0), dr, keys_at(h, p0), values_at(h, p0),
                   weights + thread * latents.c_stride * weight_width, weight_units + thread * weight_width,
                   expanded + thread * kTile * expanded_width});
  }

  IntegerQueries block(int thread, int64_t h, int64_t t0, int64_t n) const {
    float* own = small + thread * 3 * kQueries;
    return {.n = round_up(n, 16),
            .width = row_width,
            .value_width = value_width,
            .q = q + thread * row_width / 2 * kQueries,
            .units = own,
            .o = o + thread * kQueries * value_width,
            .largest = largest + h * n_queries + t0,
            .total = total + h * n_queries + t0,
            .scores = scores + thread * kTile * kQueries,
            .keep = own + kQueries,
            .weight_units = own + 2 * kQueries};
  }
  void set_queries(int thread, int64_t n, const IntegerQueries& block) const {
    engine.set_queries(row(thread), n, query_work + thread * 16 * row_width, block);
  }
  void attend(int64_t h, int64_t p, int64_t n, const int32_t* visible, const IntegerQueries& block) const {
    engine.attend(block, keys_at(h, p), values_at(h, p), n, visible);
  }
};

}  // namespace

size_t scratch_bytes(const IntegerAttention& engine, const ScratchLimits& limits) {
  return naive_scratch<Integers>(engine, limits);
}

void mha_attend(const IntegerAttention& engine, const MhaCall& call) {
  attend_naive<Integers>(engine, call);
}

}  // namespace hearth::attention
