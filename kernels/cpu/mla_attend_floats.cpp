// The float32 kernel of absorbed attention. Bound: FMAs (1088 per head and position, r = 512 and dr = 64), with data
// from L2.
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/attend.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

struct Layout {
  int64_t width, value_width;
  float *q, *o, *work, *scores, *keep, *largest, *total;

  Layout(Scratch& scratch, int64_t lanes, int64_t r, int64_t dr)
      : width(round_up(r + dr, lanes)), value_width(round_up(r, lanes)) {
    const int64_t n_queries = round_up(mla::kHeads, lanes);
    q = scratch.take<float>(n_queries * width);
    o = scratch.take<float>(n_queries * value_width);
    work = scratch.take<float>(kTilePositions * width);
    scores = scratch.take<float>(kTilePositions * n_queries);
    keep = scratch.take<float>(n_queries);
    largest = scratch.take<float>(n_queries);
    total = scratch.take<float>(n_queries);
  }
};

}  // namespace

void begin_queries(const QueryBlock& b) {
  std::fill_n(b.largest, b.n, -std::numeric_limits<float>::infinity());
  std::fill_n(b.total, b.n, 0.0f);
  std::fill_n(b.o, b.n * b.value_width, 0.0f);
}

namespace mla {

size_t floats_work(const AttentionEngine& engine, int64_t r, int64_t dr) {
  Scratch measure;
  Layout(measure, engine.lanes, r, dr);
  return measure.used();
}

void attend_floats(const AttentionEngine& engine, const Unit& unit) {
  const LatentCache& cache = *unit.rows.cache;
  const int64_t r = cache.kv_lora_rank, dr = cache.rope_dim;
  Scratch scratch(Exec{1, {unit.work, floats_work(engine, r, dr)}, nullptr});
  const Layout layout(scratch, engine.lanes, r, dr);
  const QueryBlock block = {round_up(unit.n_heads, engine.lanes),
                            layout.width,
                            layout.value_width,
                            layout.q,
                            layout.o,
                            layout.largest,
                            layout.total,
                            layout.scores,
                            layout.keep};
  engine.set_queries(unit.q, unit.n_heads, r + dr, block);
  begin_queries(block);
  for (int64_t p = 0; p < unit.n; p += kTilePositions) {
    engine.attend_latents(block, unit.rows, unit.first + p, std::min(kTilePositions, unit.n - p), layout.work);
  }
  for (int64_t i = 0; i < unit.n_heads; ++i) {
    std::memcpy(unit.o + i * r, layout.o + i * layout.value_width, size_t(r) * sizeof(float));
    unit.largest[i] = layout.largest[i];
    unit.total[i] = layout.total[i];
  }
}

}  // namespace mla
}  // namespace hearth
