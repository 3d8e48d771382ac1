#include "kernels/cpu/mla_attend.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::mla {
namespace {

constexpr int64_t kPiece = 256;  // positions of a piece, at least: shorter ones do not pay for the merging
constexpr int64_t kPieces = 32;  // pieces of one token, at most
constexpr int64_t kSlots = 64;   // partial results kept at once: all pieces of as many tokens as fit

// Of one token. In whole sixteens, so that sixteen rows of a piece are in one page.
int64_t piece_length(int64_t n_kv) {
  const int64_t n = std::min((n_kv + kPiece - 1) / kPiece, kPieces);
  return n == 1 ? n_kv : round_up((n_kv + n - 1) / n, 16);
}
int64_t pieces_of(int64_t n_kv) {
  const int64_t length = piece_length(n_kv);
  return (n_kv + length - 1) / length;
}

constexpr int64_t kLine = 64;  // bytes of a cache line, which two threads must not share

struct Layout {
  float* q;                          // [n_threads, kHeads, r + dr]
  std::byte* work;                   // of each thread
  float *partial, *largest, *total;  // [kSlots, H, r], [kSlots, H], [kSlots, H]
  size_t work_bytes;

  Layout(Scratch& scratch, const Kernel& kernel, int64_t n_threads, int64_t H, int64_t r, int64_t dr)
      : work_bytes(round_up(kernel.work_bytes(r, dr), kLine)) {
    q = scratch.take<float>(n_threads * kHeads * (r + dr));
    work = scratch.take<std::byte>(n_threads * int64_t(work_bytes));
    partial = scratch.take<float>(kSlots * H * r);
    largest = scratch.take<float>(kSlots * H);
    total = scratch.take<float>(kSlots * H);
  }
};

// What absorbed_attend needs in addition: for each thread, a row of activations in its stored form.
struct WholeLayout : Layout {
  std::byte* row;
  size_t row_bytes;

  WholeLayout(Scratch& scratch, const Kernel& kernel, int64_t n_threads, int64_t H, int64_t r, int64_t dr, int64_t nope)
      : Layout(scratch, kernel, n_threads, H, r, dr),
        row_bytes(round_up(product::stored_bytes(std::max(r, nope)), kLine)) {
    row = scratch.take<std::byte>(n_threads * int64_t(row_bytes));
  }
};

struct Call {
  const Kernel& kernel;
  const Layout& layout;
  Heads<const float> q_c, q_rope;
  const LatentCache& cache;
  const Positions& at;
  float scale;
};

// Piece `piece` of token t for heads [h0, h0 + n), into `slot`.
void attend_piece(const Call& call, int thread, int64_t t, int64_t piece, int64_t h0, int64_t n, int64_t slot) {
  const LatentRows rows = rows_of(call.cache, call.at, t);
  const int64_t length = piece_length(rows.n), first = piece * length;
  const int64_t H = call.q_c.n_heads, r = call.q_c.width, dr = call.q_rope.width;
  float* q = call.layout.q + thread * kHeads * (r + dr);
  for (int64_t i = 0; i < n; ++i) {
    const float *c = call.q_c.at(t, h0 + i), *rope = call.q_rope.at(t, h0 + i);
    float* row = q + i * (r + dr);
    for (int64_t j = 0; j < r; ++j) row[j] = call.scale * c[j];
    for (int64_t j = 0; j < dr; ++j) row[r + j] = call.scale * rope[j];
  }
  const int64_t at = slot * H + h0;
  call.kernel.attend({q, n, rows, first, std::min(length, rows.n - first), call.layout.partial + at * r,
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

// How many heads of a token each thread takes through all three steps of absorbed attention; 0 if the steps are better
// shared one by one. Each group of heads reads the whole cache. So groups of fewer than kHeads heads pay only while the
// cache is short.
int64_t heads_of_a_thread(int64_t H, int n_threads, int64_t n_pieces) {
  constexpr int64_t kShort = 4;  // pieces
  const int64_t each = (H + n_threads - 1) / n_threads;
  if (each >= kHeads) return kHeads;
  return n_pieces <= kShort ? each : 0;
}

}  // namespace

size_t scratch_bytes(const Kernel& kernel, const ScratchLimits& l) {
  Scratch measure;
  WholeLayout(measure, kernel, l.n_threads, l.n_heads, l.kv_lora_rank, l.qk_rope_head_dim, l.qk_nope_head_dim);
  return measure.used();
}

void mla_attend(const Kernel& kernel, const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                const LatentCache& cache, const Positions& at, float scale, Heads<float> o_c) {
  const int64_t H = q_c.n_heads, r = cache.kv_lora_rank, T = q_c.n_tokens;
  assert(q_c.width == r && q_rope.width == cache.rope_dim && o_c.width == r);
  Scratch scratch(exec);
  const Layout layout(scratch, kernel, exec.n_threads, H, r, cache.rope_dim);
  const Call call = {kernel, layout, q_c, q_rope, cache, at, scale};
  const int64_t head_blocks = (H + kHeads - 1) / kHeads;

  // As many tokens at a time as there are slots for all their pieces.
  for (int64_t t0 = 0, t1 = 0; t0 < T; t0 = t1) {
    int32_t first_slot[kSlots + 1] = {0}, token_of[kSlots];
    int64_t most = 1;  // pieces of one token
    for (; t1 < T && t1 - t0 < kSlots; ++t1) {
      const int64_t first = first_slot[t1 - t0], next = first + pieces_of(at.ids[t1] + 1);
      if (next > kSlots) break;
      for (int64_t slot = first; slot < next; ++slot) token_of[slot] = int32_t(t1);
      first_slot[t1 - t0 + 1] = int32_t(next);
      most = std::max(most, next - first);
    }
    parallel_for(exec.n_threads, first_slot[t1 - t0] * head_blocks, 1, [&](int64_t unit, int64_t, int thread) {
      const int64_t slot = unit / head_blocks, h0 = unit % head_blocks * kHeads, t = token_of[slot];
      attend_piece(call, thread, t, slot - first_slot[t - t0], h0, std::min(kHeads, H - h0), slot);
    });
    parallel_for(exec.n_threads, (t1 - t0) * H, fair_piece(exec.n_threads, (t1 - t0) * H, r * most, 64),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t t = i / H, h = i % H;
                     merge_pieces(layout, first_slot[t], first_slot[t + 1] - first_slot[t], H, h, r, o_c.at(t0 + t, h));
                   }
                 });
  }
}

// The heads of one token are independent: where each thread takes some of them through all three steps, the threads
// synchronize once instead of three times.
void absorbed_attend(const Engine& engine, const Kernel& kernel, const Exec& exec, Heads<const float> q_nope,
                     Heads<const float> q_rope, const Weight& k_b, const Weight& v_b, const LatentCache& cache,
                     const Positions& at, float scale, Heads<float> q_c, Heads<float> o_c, Heads<float> o) {
  const int64_t H = q_nope.n_heads, r = cache.kv_lora_rank, n_pieces = pieces_of(at.ids[0] + 1);
  const int64_t group = heads_of_a_thread(H, exec.n_threads, n_pieces);
  if (q_nope.n_tokens > 1 || group == 0) {
    product::matmul_heads(engine, exec, k_b, q_nope, q_c);
    mla_attend(kernel, exec, q_c, q_rope, cache, at, scale, o_c);
    product::matmul_heads(engine, exec, v_b, o_c, o);
    return;
  }
  assert(k_b.n == r && k_b.k == q_nope.width && v_b.n == o.width && v_b.k == r);
  Scratch scratch(exec);
  const WholeLayout layout(scratch, kernel, exec.n_threads, H, r, cache.rope_dim, q_nope.width);
  const Call call = {kernel, layout, q_c, q_rope, cache, at, scale};
  const auto first_row = [](const Weight& w, int64_t h) { return reinterpret_cast<const uint8_t*>(w.row(h, 0)); };
  parallel_parts(exec.n_threads, H, group, [&](const Part& part) {
    std::byte* row = layout.row + size_t(part.thread) * layout.row_bytes;
    for (int64_t h = part.begin; h < part.end; ++h) {
      product::multiply_head(engine, k_b, h, q_nope, row, q_c,
                             h + 1 < part.end ? first_row(k_b, h + 1) : first_row(v_b, part.begin));
    }
    for (int64_t piece = 0; piece < n_pieces; ++piece) {
      attend_piece(call, part.thread, 0, piece, part.begin, part.end - part.begin, piece);
    }
    for (int64_t h = part.begin; h < part.end; ++h) {
      merge_pieces(layout, 0, n_pieces, H, h, r, o_c.at(0, h));
      const uint8_t* next = h + 1 < part.end ? first_row(v_b, h + 1) : nullptr;
      product::multiply_head(engine, v_b, h, o_c, row, o, part.next < 0 || next ? next : first_row(k_b, part.next));
    }
  });
}

}  // namespace hearth::mla
