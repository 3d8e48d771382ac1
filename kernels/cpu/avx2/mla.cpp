// Absorbed MLA: every head attends over the same latent rows, which are keys and (their first r columns) values.
//
// The unit of work is 16 heads of one token over one piece of the cache: the piece's rows are converted to floats once
// for the 16 heads. Pieces are a function of the token's position alone, and are merged in their order; so the result
// depends neither on threads nor on the other tokens. Bound: FMAs (1088 per head and position), from L2.
#include <cassert>

#include "kernels/cpu/avx2/attend.h"
#include "kernels/cpu/avx2/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace hearth::avx2 {
namespace {

constexpr int64_t kHeads = 16;   // of a unit of work
constexpr int64_t kPiece = 192;  // positions; less does not pay for the merging
constexpr int64_t kPieces = 32;  // of one token, at most
constexpr int64_t kSlots = 64;   // partial results kept at once: pieces of as many tokens as fit

int64_t pieces_of(int64_t n_kv) {
  const int64_t pieces = (n_kv + kPiece - 1) / kPiece;
  return pieces < kPieces ? pieces : kPieces;
}

struct Layout {
  int64_t width, value_width;
  float *q, *o, *rows, *scores, *keep;  // one of each per thread
  float *partial, *largest, *total;     // [kSlots, H, r], [kSlots, H], [kSlots, H]
  float *block_largest, *block_total;

  Layout(Scratch& scratch, int64_t n_threads, int64_t H, int64_t r, int64_t dr)
      : width(round_up(r + dr, 8)), value_width(round_up(r, 8)) {
    q = scratch.take<float>(n_threads * kHeads * width);
    o = scratch.take<float>(n_threads * kHeads * value_width);
    rows = scratch.take<float>(n_threads * kPositions * width);
    scores = scratch.take<float>(n_threads * kPositions * kHeads);
    keep = scratch.take<float>(n_threads * kHeads);
    block_largest = scratch.take<float>(n_threads * kHeads);
    block_total = scratch.take<float>(n_threads * kHeads);
    partial = scratch.take<float>(kSlots * H * r);
    largest = scratch.take<float>(kSlots * H);
    total = scratch.take<float>(kSlots * H);
  }
  QueryBlock block(int64_t thread, int64_t n8) const {
    return {n8,
            width,
            value_width,
            q + thread * kHeads * width,
            o + thread * kHeads * value_width,
            block_largest + thread * kHeads,
            block_total + thread * kHeads,
            scores + thread * kPositions * kHeads,
            keep + thread * kHeads};
  }
};

struct Call {
  Heads<const float> q_c, q_rope;
  const LatentCache& cache;
  int64_t pos0;
  float scale;
};

// The queries of heads [h0, h0 + n) of a token, scaled; zeros up to the block's size.
void load_queries(const Call& call, int64_t t, int64_t h0, int64_t n, const QueryBlock& block) {
  const int64_t r = call.q_c.width, dr = call.q_rope.width;
  for (int64_t i = 0; i < block.n8; ++i) {
    float* q = block.q + i * block.width;
    const float* c = call.q_c.data + t * call.q_c.token_stride + (h0 + i) * call.q_c.head_stride;
    const float* rope = call.q_rope.data + t * call.q_rope.token_stride + (h0 + i) * call.q_rope.head_stride;
    for (int64_t j = 0; j < block.width; ++j) {
      q[j] = i >= n || j >= r + dr ? 0.0f : call.scale * (j < r ? c[j] : rope[j - r]);
    }
  }
}

// Piece `piece` of token t for heads [h0, h0 + n), into `slot`.
void attend_piece(const Call& call, const Layout& layout, int thread, int64_t t, int64_t piece, int64_t h0, int64_t n,
                  int64_t slot) {
  const int64_t n_kv = call.pos0 + t + 1, n_pieces = pieces_of(n_kv), length = (n_kv + n_pieces - 1) / n_pieces;
  const int64_t end = (piece + 1) * length < n_kv ? (piece + 1) * length : n_kv;
  const QueryBlock block = layout.block(thread, round_up(n, 8));
  float* rows = layout.rows + thread * kPositions * layout.width;
  load_queries(call, t, h0, n, block);
  begin_queries(block);
  for (int64_t p = piece * length; p < end; p += kPositions) {
    const int64_t n_rows = end - p < kPositions ? end - p : kPositions;
    read_cache_rows(call.cache, p, n_rows, rows, layout.width);
    attend_tile(block, rows, layout.width, rows, layout.width, n_rows, nullptr);
  }
  const int64_t H = call.q_c.n_heads, r = call.q_c.width;
  for (int64_t i = 0; i < n; ++i) {
    memcpy(layout.partial + (slot * H + h0 + i) * r, block.o + i * block.value_width, size_t(r) * sizeof(float));
    layout.largest[slot * H + h0 + i] = block.largest[i];
    layout.total[slot * H + h0 + i] = block.total[i];
  }
}

// o = sum over pieces of e^(largest_piece - largest) o_piece / the same sum of totals.
void merge_pieces(const Layout& layout, int64_t first_slot, int64_t n_pieces, int64_t H, int64_t h, int64_t r,
                  float* o) {
  float largest = -__builtin_inff();
  for (int64_t s = first_slot; s < first_slot + n_pieces; ++s) {
    const float m = layout.largest[s * H + h];
    largest = m > largest ? m : largest;
  }
  float weight[kPieces], total = 0;
  for (int64_t s = 0; s < n_pieces; ++s) {
    const int64_t at = (first_slot + s) * H + h;
    weight[s] = _mm256_cvtss_f32(exp8(_mm256_set1_ps(layout.largest[at] - largest)));
    total += weight[s] * layout.total[at];
  }
  for (int64_t s = 0; s < n_pieces; ++s) {
    const float w = weight[s] / total;
    const float* part = layout.partial + ((first_slot + s) * H + h) * r;
    for (int64_t c = 0; c < r; ++c) o[c] = s == 0 ? w * part[c] : o[c] + w * part[c];
  }
}

}  // namespace

size_t mla_scratch(const ScratchLimits& l) {
  Scratch measure;
  Layout(measure, l.n_threads, l.n_heads, l.kv_lora_rank, l.qk_rope_head_dim);
  return measure.used();
}

void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                int64_t pos0, float scale, Heads<float> o_c) {
  const int64_t H = q_c.n_heads, r = cache.kv_lora_rank, T = q_c.n_tokens;
  assert(q_c.width == r && q_rope.width == cache.rope_dim && o_c.width == r && pos0 + T <= cache.n_ctx);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, H, r, cache.rope_dim);
  const Call call = {q_c, q_rope, cache, pos0, scale};
  const int64_t head_blocks = (H + kHeads - 1) / kHeads;

  // As many tokens at a time as have slots for all their pieces.
  for (int64_t t0 = 0, t1 = 0; t0 < T; t0 = t1) {
    int32_t first_slot[kSlots + 1] = {0}, token_of[kSlots];
    for (; t1 < T && t1 - t0 < kSlots; ++t1) {
      const int64_t first = first_slot[t1 - t0], next = first + pieces_of(pos0 + t1 + 1);
      if (next > kSlots) break;
      for (int64_t slot = first; slot < next; ++slot) token_of[slot] = int32_t(t1);
      first_slot[t1 - t0 + 1] = int32_t(next);
    }
    parallel_for(exec.n_threads, first_slot[t1 - t0] * head_blocks, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t slot = unit / head_blocks, h0 = unit % head_blocks * kHeads, t = token_of[slot];
      attend_piece(call, layout, thread, t, slot - first_slot[t - t0], h0, H - h0 < kHeads ? H - h0 : kHeads, slot);
    });
    parallel_for(exec.n_threads, (t1 - t0) * H, fair_piece(exec.n_threads, (t1 - t0) * H, r * pieces_of(pos0 + t1), 64),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t t = i / H, h = i % H;
                     merge_pieces(layout, first_slot[t], first_slot[t + 1] - first_slot[t], H, h, r,
                                  o_c.data + (t0 + t) * o_c.token_stride + h * o_c.head_stride);
                   }
                 });
  }
}

}  // namespace hearth::avx2
