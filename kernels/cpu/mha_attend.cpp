// Naive attention (mha_attend.h) in float32, by the steps of an AttentionEngine (attend.h).
#include "kernels/cpu/mha_attend.h"

#include "kernels/cpu/attend.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::attention {
namespace {

struct Floats {
  static constexpr int64_t kTile = kTilePositions, kChunk = 6 * kTile;

  const AttentionEngine& engine;
  const Weight *k_b = nullptr, *v_b = nullptr;
  int64_t r, nope, dr;
  int64_t latent_width, row_width, value_width, work_size, n_queries;
  float *latent, *keys, *values;  // [kChunk, latent_width], [H, kChunk, row_width], [H, kChunk, value_width]
  float *largest, *total;         // [H, n_queries]
  float *work, *rows, *q, *o, *scores, *keep;  // of each thread

  Floats(const AttentionEngine& engine, Scratch& scratch, int64_t n_threads, int64_t T, int64_t H, int64_t r,
         int64_t nope, int64_t dr, int64_t v)
      : engine(engine),
        r(r),
        nope(nope),
        dr(dr),
        latent_width(round_up(r + dr, engine.lanes)),
        row_width(round_up(nope + dr, engine.lanes)),
        value_width(round_up(v, engine.lanes)),
        work_size(r * round_up(std::max(nope, v), engine.lanes)),
        n_queries(round_up(T, kQueries)) {
    latent = scratch.take<float>(kChunk * latent_width);
    keys = scratch.take<float>(H * kChunk * row_width);
    values = scratch.take<float>(H * kChunk * value_width);
    largest = scratch.take<float>(H * n_queries);
    total = scratch.take<float>(H * n_queries);
    work = scratch.take<float>(n_threads * work_size);
    rows = scratch.take<float>(n_threads * kQueries * row_width);
    q = scratch.take<float>(n_threads * kQueries * row_width);
    o = scratch.take<float>(n_threads * kQueries * value_width);
    scores = scratch.take<float>(n_threads * kTile * kQueries);
    keep = scratch.take<float>(n_threads * kQueries);
  }
  float* keys_at(int64_t h, int64_t p) const { return keys + (h * kChunk + p) * row_width; }
  float* values_at(int64_t h, int64_t p) const { return values + (h * kChunk + p) * value_width; }
  float* row(int thread) const { return rows + thread * kQueries * row_width; }

  void read(int, const LatentRows& from, int64_t first, int64_t n, int64_t p0) const {
    engine.read_rows(from, first, n, latent + p0 * latent_width, latent_width);
  }

  void expand(int thread, int64_t h, int64_t p0, int64_t n) const {
    const float* latents = latent + p0 * latent_width;
    engine.expand({k_b, v_b, h, latents, latent_width, n, keys_at(h, p0), row_width, values_at(h, p0), value_width,
                   work + thread * work_size});
    for (int64_t p = 0; p < n; ++p) {
      float* rope = keys_at(h, p0 + p) + nope;
      std::memcpy(rope, latents + p * latent_width + r, size_t(dr) * sizeof(float));
      std::fill(rope + dr, keys_at(h, p0 + p + 1), 0.0f);
    }
  }

  QueryBlock block(int thread, int64_t h, int64_t t0, int64_t n) const {
    return {round_up(n, engine.lanes),
            row_width,
            value_width,
            q + thread * kQueries * row_width,
            o + thread * kQueries * value_width,
            largest + h * n_queries + t0,
            total + h * n_queries + t0,
            scores + thread * kTile * kQueries,
            keep + thread * kQueries};
  }
  void set_queries(int thread, int64_t n, const QueryBlock& block) const {
    engine.set_queries(row(thread), n, row_width, block);
  }
  void attend(int64_t h, int64_t p, int64_t n, const int32_t* visible, const QueryBlock& block) const {
    engine.attend(block, {keys_at(h, p), row_width, values_at(h, p), value_width, n, visible});
  }
};

}  // namespace

size_t scratch_bytes(const AttentionEngine& engine, const ScratchLimits& limits) {
  return naive_scratch<Floats>(engine, limits);
}

void mha_attend(const AttentionEngine& engine, const MhaCall& call) {
  attend_naive<Floats>(engine, call);
}

}  // namespace hearth::attention
