#include "kernels/cpu/latent.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace hearth::latent {
namespace {

constexpr int64_t kPiece = 256;  // positions; less does not pay for the merging
constexpr int64_t kPieces = 32;  // of one token, at most
constexpr int64_t kSlots = 64;   // partial results kept at once: pieces of as many tokens as fit

int64_t pieces_of(int64_t n_kv) {
  return std::min((n_kv + kPiece - 1) / kPiece, kPieces);
}

struct Layout {
  float* q;                          // [n_threads, kHeads, r + dr]
  std::byte* work;                   // of each thread
  float *partial, *largest, *total;  // [kSlots, H, r], [kSlots, H], [kSlots, H]
  size_t work_bytes;

  Layout(Scratch& scratch, int64_t n_threads, int64_t H, int64_t r, int64_t dr, size_t bytes)
      : work_bytes((bytes + 63) / 64 * 64) {
    q = scratch.take<float>(n_threads * kHeads * (r + dr));
    work = scratch.take<std::byte>(n_threads * int64_t(work_bytes));
    partial = scratch.take<float>(kSlots * H * r);
    largest = scratch.take<float>(kSlots * H);
    total = scratch.take<float>(kSlots * H);
  }
};

struct Call {
  Kernel kernel;
  const Layout& layout;
  Heads<const float> q_c, q_rope;
  const LatentCache& cache;
  int64_t pos0;
  float scale;
};

// Piece `piece` of token t for heads [h0, h0 + n), into `slot`.
void attend_piece(const Call& call, int thread, int64_t t, int64_t piece, int64_t h0, int64_t n, int64_t slot) {
  const int64_t n_kv = call.pos0 + t + 1, n_pieces = pieces_of(n_kv);
  const int64_t length = (n_kv + n_pieces - 1) / n_pieces, first = piece * length;
  const int64_t H = call.q_c.n_heads, r = call.q_c.width, dr = call.q_rope.width;
  float* q = call.layout.q + thread * kHeads * (r + dr);
  for (int64_t i = 0; i < n; ++i) {
    const float *c = call.q_c.at(t, h0 + i), *rope = call.q_rope.at(t, h0 + i);
    float* row = q + i * (r + dr);
    for (int64_t j = 0; j < r; ++j) row[j] = call.scale * c[j];
    for (int64_t j = 0; j < dr; ++j) row[r + j] = call.scale * rope[j];
  }
  const int64_t at = slot * H + h0;
  call.kernel({q, n, &call.cache, first, std::min(length, n_kv - first), call.layout.partial + at * r,
               call.layout.largest + at, call.layout.total + at,
               call.layout.work + size_t(thread) * call.layout.work_bytes});
}

// o = sum over pieces of e^(largest_piece - largest) o_piece / the same sum of totals.
void merge_pieces(const Layout& layout, int64_t first_slot, int64_t n_pieces, int64_t H, int64_t h, int64_t r,
                  float* o) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t s = first_slot; s < first_slot + n_pieces; ++s) largest = std::max(largest, layout.largest[s * H + h]);
  float weight[kPieces], total = 0;
  for (int64_t s = 0; s < n_pieces; ++s) {
    const int64_t at = (first_slot + s) * H + h;
    weight[s] = std::exp(layout.largest[at] - largest);
    total += weight[s] * layout.total[at];
  }
  for (int64_t s = 0; s < n_pieces; ++s) {
    const float w = weight[s] / total;
    const float* part = layout.partial + ((first_slot + s) * H + h) * r;
    for (int64_t c = 0; c < r; ++c) o[c] = s == 0 ? w * part[c] : o[c] + w * part[c];
  }
}

}  // namespace

size_t scratch_bytes(const ScratchLimits& l, size_t work_bytes) {
  Scratch measure;
  Layout(measure, l.n_threads, l.n_heads, l.kv_lora_rank, l.qk_rope_head_dim, work_bytes);
  return measure.used();
}

void mla_attend(Kernel kernel, size_t work_bytes, const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                const LatentCache& cache, int64_t pos0, float scale, Heads<float> o_c) {
  const int64_t H = q_c.n_heads, r = cache.kv_lora_rank, T = q_c.n_tokens;
  assert(q_c.width == r && q_rope.width == cache.rope_dim && o_c.width == r && pos0 + T <= cache.n_ctx);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, H, r, cache.rope_dim, work_bytes);
  const Call call = {kernel, layout, q_c, q_rope, cache, pos0, scale};
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
      attend_piece(call, thread, t, slot - first_slot[t - t0], h0, std::min(kHeads, H - h0), slot);
    });
    parallel_for(exec.n_threads, (t1 - t0) * H, fair_piece(exec.n_threads, (t1 - t0) * H, r * pieces_of(pos0 + t1), 64),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t t = i / H, h = i % H;
                     merge_pieces(layout, first_slot[t], first_slot[t + 1] - first_slot[t], H, h, r, o_c.at(t0 + t, h));
                   }
                 });
  }
}

}  // namespace hearth::latent
