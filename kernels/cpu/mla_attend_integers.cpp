// Absorbed attention in integers (latent_integers.h): how a call is cut into units of work and their results are
// merged.
//
// A unit is a piece of the cache, which it turns into integers, and a group of queries: heads of consecutive tokens of
// one sequence (a Batch). A wave of units leaves as many partial results as there is room for: those of many pieces
// where a batch has few queries, those of many batches where contexts are short. Then these are merged.
//
// Pieces depend on a token's position alone and are merged in order, one after the other, so the result depends neither
// on the number of threads nor on the other tokens.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <span>

#include "kernels/cpu/latent_integers.h"
#include "kernels/cpu/parallel.h"
#include "kernels/scratch.h"
#include "quant/round_up.h"

namespace hearth::mla {
namespace {

constexpr int64_t kQueries = 32;  // of a block; a multiple of 16
constexpr int64_t kBatch = 256;   // queries that share the integers of a piece, about: enough to make these cheap
constexpr int64_t kSlots = 64;    // partial results of as many tokens are kept at once
constexpr int64_t kPieces = 64;   // of one token, at most

int64_t piece_length(int64_t n_kv) {
  int64_t length = kLatentTile;
  while (length * kPieces < n_kv) length *= 2;
  return length;
}

int64_t batch_tokens(int64_t H) {  // 0: scratch for a call without attention
  return std::max<int64_t>(1, kBatch / std::max<int64_t>(1, H));
}

struct Layout {
  int64_t c_width, width, n_slots;  // of results of one query
  int64_t most_queries;             // of a batch, rounded up to blocks
  float *o, *largest, *total;       // [n_slots, c_width], [n_slots], [n_slots]
  float *all_largest, *all_total;   // [T, H]: of the pieces merged so far
  int64_t* packed;                  // of each thread, as what follows: the first and the number of the queries in q
  int16_t* rows;                    // LatentTile
  IntegerPair* pairs;
  float* units;           // [3, kLatentTile]
  IntegerPair* q;         // [most_queries / kQueries][width / 2, kQueries]
  float* q_units;         // [most_queries / kQueries][2, kQueries]
  float* floats;          // [kQueries, width]
  int16_t* query_work;    // [16, width]
  float *scores, *small;  // [kLatentTile, kQueries], [2, kQueries]

  static constexpr int64_t kPackedStride = 8;  // a cache line for each thread

  Layout(Scratch& scratch, int64_t n_threads, int64_t T, int64_t H, int64_t r, int64_t dr)
      : c_width(round_up(r, 32)),
        width(c_width + round_up(dr, 32)),
        n_slots(kSlots * round_up(H, 16)),
        most_queries(round_up(batch_tokens(H) * H, kQueries)) {
    o = scratch.take<float>(n_slots * c_width);
    largest = scratch.take<float>(n_slots);
    total = scratch.take<float>(n_slots);
    all_largest = scratch.take<float>(T * H);
    all_total = scratch.take<float>(T * H);
    packed = scratch.take<int64_t>(n_threads * kPackedStride);
    rows = scratch.take<int16_t>(n_threads * kLatentTile * width);
    pairs = scratch.take<IntegerPair>(n_threads * kLatentTile / 2 * c_width);
    units = scratch.take<float>(n_threads * 3 * kLatentTile);
    q = scratch.take<IntegerPair>(n_threads * most_queries * width / 2);
    q_units = scratch.take<float>(n_threads * 2 * most_queries);
    floats = scratch.take<float>(n_threads * kQueries * width);
    query_work = scratch.take<int16_t>(n_threads * 16 * width);
    scores = scratch.take<float>(n_threads * kLatentTile * kQueries);
    small = scratch.take<float>(n_threads * 2 * kQueries);
  }

  LatentTile tile(int thread) const {
    float* own = units + thread * 3 * kLatentTile;
    return {c_width,
            width,
            rows + thread * kLatentTile * width,
            pairs + thread * kLatentTile / 2 * c_width,
            own,
            own + kLatentTile,
            own + 2 * kLatentTile};
  }
};

// Tokens of one sequence whose pieces lie at the same positions. Their queries are numbered by token, then by head.
struct Batch {
  int64_t t0, n_tokens, n_queries;
  int64_t n_kv;  // what the first token sees; each sees one more than the one before it
  int64_t length, n_pieces;
  int64_t n_slots;  // of a piece: its queries in whole sixteens

  // What a query sees of the positions from p on; negative: nothing.
  int64_t sees(int64_t query, int64_t H, int64_t p) const { return n_kv + query / H - p; }
};

Batch batch_from(const LatentCall& call, int64_t t0) {
  const Positions& at = call.at;
  const int64_t H = call.q_c.n_heads, n_kv = at.ids[t0] + 1, length = piece_length(n_kv);
  const int64_t most = std::min(call.q_c.n_tokens - t0, batch_tokens(H));
  int64_t n = 1;
  while (n < most && at.sequences[t0 + n] == at.sequences[t0] && at.ids[t0 + n] == at.ids[t0] + n &&
         piece_length(n_kv + n) == length) {
    ++n;
  }
  return {t0, n, n * H, n_kv, length, (n_kv + n - 1 + length - 1) / length, round_up(n * H, 16)};
}

// What a wave does of a batch: pieces [first, first + n_pieces) for groups of its queries.
struct Part {
  Batch batch;
  int64_t first, n_pieces;
  int64_t slot;                        // of the first piece's first query
  int64_t of_group = 0, n_groups = 0;  // queries of a group, a multiple of kQueries
};

struct Wave {
  Part parts[kSlots];
  int64_t n = 0;

  int64_t n_units() const {
    int64_t sum = 0;
    for (const Part& part : std::span(parts, size_t(n))) sum += part.n_groups * part.n_pieces;
    return sum;
  }
  int64_t n_queries() const {
    int64_t sum = 0;
    for (const Part& part : std::span(parts, size_t(n))) sum += part.batch.n_queries;
    return sum;
  }
};

struct Work {
  const LatentEngine& engine;
  const LatentCall& call;
  const Layout& layout;

  int64_t H() const { return call.q_c.n_heads; }

  // Block `index` of a thread's group of blocks, which begins at query `first`, with its results in the slots of a
  // piece.
  LatentQueries block(const Part& part, int thread, int64_t index, int64_t first, int64_t piece) const {
    const Layout& l = layout;
    const int64_t n = round_up(std::min(kQueries, part.batch.n_queries - first), 16);
    const int64_t slot = part.slot + (piece - part.first) * part.batch.n_slots + first;
    float *own = l.small + thread * 2 * kQueries, *units = l.q_units + 2 * (thread * l.most_queries + index * kQueries);
    return {.n = n,
            .q = l.q + (thread * l.most_queries + index * kQueries) * l.width / 2,
            .units = units,
            .rope_units = units + kQueries,
            .o = l.o + slot * l.c_width,
            .largest = l.largest + slot,
            .total = l.total + slot,
            .scores = l.scores + thread * kLatentTile * kQueries,
            .keep = own,
            .weight_units = own + kQueries};
  }

  void set_queries(const Batch& batch, int thread, int64_t first, const LatentQueries& block) const {
    const Layout& l = layout;
    const int64_t n = std::min(block.n, batch.n_queries - first), r = call.q_c.width, dr = call.q_rope.width;
    float* const rows = l.floats + thread * kQueries * l.width;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t t = batch.t0 + (first + i) / H(), h = (first + i) % H();
      const float *c = call.q_c.at(t, h), *rope = call.q_rope.at(t, h);
      float* row = rows + i * l.width;
      for (int64_t j = 0; j < l.c_width; ++j) row[j] = j < r ? call.scale * c[j] : 0.0f;
      row += l.c_width;
      for (int64_t j = 0; j < l.width - l.c_width; ++j) row[j] = j < dr ? call.scale * rope[j] : 0.0f;
    }
    engine.set_queries(rows, n, l.c_width, l.width, l.query_work + thread * 16 * l.width, block);
  }

  // Queries [q0, q1) of a batch over a piece.
  void attend(const Part& part, int thread, int64_t q0, int64_t q1, int64_t piece) const {
    const Batch& batch = part.batch;
    const LatentRows rows = rows_of(call.cache, call.at, batch.t0 + batch.n_tokens - 1);
    const int64_t begin = piece * batch.length, end = std::min(begin + batch.length, rows.n);
    if (batch.sees(q1 - 1, H(), begin) <= 0) return;
    // A thread's pieces of one group follow one another: it may have the queries already.
    int64_t* const packed = layout.packed + thread * Layout::kPackedStride;
    const int64_t first = batch.t0 * H() + q0, n = q1 - q0;
    if (packed[0] != first || packed[1] < n) {
      for (int64_t q = q0; q < q1; q += kQueries) {
        set_queries(batch, thread, q, block(part, thread, (q - q0) / kQueries, q, piece));
      }
      packed[0] = first;
      packed[1] = n;
    }

    const LatentTile tile = layout.tile(thread);
    for (int64_t p = begin; p < end; p += kLatentTile) {
      const int64_t n = std::min(kLatentTile, end - p);
      engine.read(rows, p, n, tile);
      for (int64_t q = q0; q < q1; q += kQueries) {
        const LatentQueries b = block(part, thread, (q - q0) / kQueries, q, piece);
        const int64_t last = std::min(q + b.n, batch.n_queries) - 1;
        if (batch.sees(last, H(), p) <= 0) continue;
        int32_t visible[kQueries];
        for (int64_t i = 0; i < b.n; ++i) {
          visible[i] = int32_t(std::clamp<int64_t>(batch.sees(std::min(q + i, last), H(), p), 0, n));
        }
        if (p == begin) {
          std::fill_n(b.largest, b.n, -std::numeric_limits<float>::infinity());
          std::fill_n(b.total, b.n, 0.0f);
        }
        const bool all = batch.sees(q, H(), p) >= n;
        engine.attend(b, tile, n, all ? nullptr : visible, p == begin);
      }
    }
  }

  // Adds the part's pieces to the result of a query, and divides it by the sum of its weights after the last.
  void merge(const Part& part, int64_t query) const {
    const Batch& batch = part.batch;
    const int64_t n_pieces = (batch.sees(query, H(), 0) + batch.length - 1) / batch.length;
    const int64_t state = batch.t0 * H() + query;
    float* const o = call.o_c.at(state / H(), state % H());
    float &largest = layout.all_largest[state], &total = layout.all_total[state];
    for (int64_t piece = part.first; piece < std::min(part.first + part.n_pieces, n_pieces); ++piece) {
      const int64_t slot = part.slot + (piece - part.first) * batch.n_slots + query;
      float kept = 0, added = 1;
      if (piece == 0) {
        largest = layout.largest[slot];
        total = layout.total[slot];
      } else {
        const float most = std::max(largest, layout.largest[slot]);
        kept = std::exp(largest - most);
        added = std::exp(layout.largest[slot] - most);
        largest = most;
        total = kept * total + added * layout.total[slot];
      }
      if (piece + 1 == n_pieces) {
        kept /= total;
        added /= total;
      }
      engine.add_part(layout.o + slot * layout.c_width, added, kept, call.o_c.width, o);
    }
  }

  void run(Wave& wave) const {
    const int n_threads = call.exec.n_threads;
    int64_t all_pieces = 0;
    for (int64_t i = 0; i < wave.n; ++i) all_pieces += wave.parts[i].n_pieces;
    // As few groups as keep all threads busy: each makes integers of its pieces.
    const int64_t wanted = (2 * n_threads + all_pieces - 1) / all_pieces;
    for (int64_t i = 0; i < wave.n; ++i) {
      Part& part = wave.parts[i];
      const int64_t n_blocks = (part.batch.n_queries + kQueries - 1) / kQueries;
      part.of_group = (n_blocks + wanted - 1) / wanted * kQueries;
      part.n_groups = (part.batch.n_queries + part.of_group - 1) / part.of_group;
    }
    parallel_for(n_threads, wave.n_units(), 1, [&](int64_t unit, int64_t, int thread) {
      const Part* part = wave.parts;
      for (; unit >= part->n_groups * part->n_pieces; ++part) unit -= part->n_groups * part->n_pieces;
      const int64_t q0 = unit / part->n_pieces * part->of_group;
      attend(*part, thread, q0, std::min(q0 + part->of_group, part->batch.n_queries),
             part->first + unit % part->n_pieces);
    });
    const int64_t n_queries = wave.n_queries(), cost = call.o_c.width * (all_pieces / wave.n + 1);
    parallel_for(n_threads, n_queries, fair_piece(n_threads, n_queries, cost, 64),
                 [&](int64_t begin, int64_t end, int) {
                   const Part* part = wave.parts;
                   int64_t first = 0;  // query of the part
                   for (int64_t query = begin; query < end; ++query) {
                     for (; query - first >= part->batch.n_queries; ++part) first += part->batch.n_queries;
                     merge(*part, query - first);
                   }
                 });
    wave.n = 0;
  }
};

}  // namespace

size_t integers_scratch(const ScratchLimits& l) {
  Scratch measure;
  Layout(measure, l.n_threads, l.max_tokens, l.n_heads, l.kv_lora_rank, l.qk_rope_head_dim);
  return measure.used();
}

void attend_integers(const LatentEngine& engine, const LatentCall& call) {
  const int64_t r = call.cache.kv_lora_rank, dr = call.cache.rope_dim;
  assert(call.q_c.width == r && call.q_rope.width == dr && call.o_c.width == r);
  assert(call.cache.format == FormatId::bf16);
  Scratch scratch(call.exec);
  const Layout layout(scratch, call.exec.n_threads, call.q_c.n_tokens, call.q_c.n_heads, r, dr);
  for (int thread = 0; thread < call.exec.n_threads; ++thread) layout.packed[thread * Layout::kPackedStride + 1] = 0;
  const Work work = {engine, call, layout};
  Wave wave;
  int64_t slot = 0;
  for (int64_t t = 0; t < call.q_c.n_tokens;) {
    const Batch batch = batch_from(call, t);
    for (int64_t piece = 0; piece < batch.n_pieces;) {
      const int64_t n = std::min((layout.n_slots - slot) / batch.n_slots, batch.n_pieces - piece);
      if (n > 0) wave.parts[wave.n++] = {batch, piece, n, slot};
      piece += n;
      slot += n * batch.n_slots;
      if (piece == batch.n_pieces) break;
      work.run(wave);
      slot = 0;
    }
    t += batch.n_tokens;
  }
  if (wave.n > 0) work.run(wave);
}

}  // namespace hearth::mla
