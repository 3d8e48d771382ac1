// Absorbed MLA (latent.h): the piece's rows are converted to floats once for the 16 heads of a unit. Bound: FMAs (1088
// per head and position), from L2.
#include <cassert>

#include "kernels/cpu/avx2/attend.h"
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/latent.h"
#include "kernels/cpu/scratch.h"

namespace hearth::avx2 {
namespace {

struct Layout {
  int64_t width, value_width;
  float *q, *o, *rows, *scores, *keep, *largest, *total;

  Layout(Scratch& scratch, int64_t r, int64_t dr) : width(round_up(r + dr, 8)), value_width(round_up(r, 8)) {
    q = scratch.take<float>(latent::kHeads * width);
    o = scratch.take<float>(latent::kHeads * value_width);
    rows = scratch.take<float>(kPositions * width);
    scores = scratch.take<float>(kPositions * latent::kHeads);
    keep = scratch.take<float>(latent::kHeads);
    largest = scratch.take<float>(latent::kHeads);
    total = scratch.take<float>(latent::kHeads);
  }
};

size_t work_bytes(int64_t r, int64_t dr) {
  Scratch measure;
  Layout(measure, r, dr);
  return measure.used();
}

}  // namespace

size_t mla_work(const ScratchLimits& l) {
  return work_bytes(l.kv_lora_rank, l.qk_rope_head_dim);
}

void attend_latents(const latent::Unit& unit) {
  const int64_t r = unit.cache->kv_lora_rank, dr = unit.cache->rope_dim;
  Scratch scratch(Exec{1, {unit.work, work_bytes(r, dr)}, nullptr});
  const Layout layout(scratch, r, dr);
  const QueryBlock block = {round_up(unit.n_heads, 8),
                            layout.width,
                            layout.value_width,
                            layout.q,
                            layout.o,
                            layout.largest,
                            layout.total,
                            layout.scores,
                            layout.keep};
  memset(layout.q, 0, size_t(block.n8 * layout.width) * sizeof(float));
  for (int64_t i = 0; i < unit.n_heads; ++i) {
    memcpy(layout.q + i * layout.width, unit.q + i * (r + dr), size_t(r + dr) * sizeof(float));
  }
  begin_queries(block);
  for (int64_t p = 0; p < unit.n; p += kPositions) {
    const int64_t n_rows = unit.n - p < kPositions ? unit.n - p : kPositions;
    read_cache_rows(*unit.cache, unit.first + p, n_rows, layout.rows, layout.width);
    attend_tile(block, layout.rows, layout.width, layout.rows, layout.width, n_rows, nullptr);
  }
  for (int64_t i = 0; i < unit.n_heads; ++i) {
    memcpy(unit.o + i * r, layout.o + i * layout.value_width, size_t(r) * sizeof(float));
    unit.largest[i] = layout.largest[i];
    unit.total[i] = layout.total[i];
  }
}

size_t mla_scratch(const ScratchLimits& l) {
  return latent::scratch_bytes(l, mla_work(l));
}

void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                int64_t pos0, float scale, Heads<float> o_c) {
  latent::mla_attend(attend_latents, work_bytes(cache.kv_lora_rank, cache.rope_dim), exec, q_c, q_rope, cache, pos0,
                     scale, o_c);
}

}  // namespace hearth::avx2
