// Expanded MLA on tensor cores, one chunk of positions: a block holds queries of one head, 16 or 32 per warp
// (mha_attend.cu has the plan), and tiles of keys and values come into two buffers of shared memory.
//
// In the manner of FlashAttention-2 a warp keeps its queries, scores, weights and sums in registers, where two `d` of
// scores are an `a` of weights. With 32 queries ldmatrix reads half as much for each product, and registers are
// short: the part of the queries that is rotated lies in shared memory, and only 16 positions are looked at before
// their values are added.
//
// Sums are rarely rescaled (kSlack).
#pragma once

#include "kernels/cuda/attention/expand_latents.h"
#include "kernels/cuda/attention/heads.cuh"
#include "kernels/cuda/attention/mha_attend.h"

namespace hearth::gpu {
namespace {

struct MhaProblem {
  Heads<const float> q_nope, q_rope;
  ExpandedWidths widths;
  const uint16_t* expanded;  // [H, chunk.n, columns]
  const uint16_t* latents;   // of the chunk, [n, latent_width]
  LatentChunk chunk;
  float scale;             // of scores to powers of 2, above zero
  float *largest, *total;  // [H, T]: the base of a query's exponents, and the sum of the powers
  bool carries;            // keep them for the next chunk
  Heads<float> o;
};

// Widths that the compiler knows, those of all published models, and any others.
struct PublishedHeads {
  static constexpr int nope = 128, rope = 64, v = 128;
  static constexpr int padded_nope = nope, padded_rope = rope, padded_v = v;
  GPU_FN explicit PublishedHeads(const MhaProblem&) {}
};
struct OtherHeads {
  int nope, rope, v, padded_nope, padded_rope, padded_v;
  GPU_FN explicit OtherHeads(const MhaProblem& p)
      : nope(p.widths.nope),
        rope(p.widths.rope),
        v(p.widths.v),
        padded_nope(p.widths.padded_nope),
        padded_rope(p.widths.padded_rope),
        padded_v(p.widths.padded_v) {}
};

constexpr int kSteps = int(kMaxKeyWidth) / 16, kValues = int(kMaxValueWidth) / 16;
// Rows in shared memory, an odd number of 16 bytes, so that ldmatrix meets every bank once.
constexpr int kKeyStride = int(kMaxKeyWidth) + 8, kValueStride = int(kMaxValueWidth) + 8;

constexpr int kFragment = 128;  // words of an `a` of mma_bf16

// Warps, tiles of 16 queries each, positions of a tile of keys, and those that are looked at together.
template <int warps_, int tiles_, int keys_, int run_, class Widths_>
struct Shape {
  using Widths = Widths_;
  static constexpr int warps = warps_, tiles = tiles_, keys = keys_, run = run_;
  static constexpr int warp_queries = 16 * tiles, queries = warp_queries * warps, threads = 32 * warps;
  static constexpr int buffer_values = keys * (kKeyStride + kValueStride);
  // Steps of 16 columns of the queries that lie in shared memory: the last ones.
  static constexpr int shared_steps = tiles > 1 ? 4 : 0, register_steps = kSteps - shared_steps;
  static constexpr size_t shared_bytes =
      sizeof(uint16_t) * 2 * buffer_values + sizeof(uint32_t) * warps * tiles * shared_steps * kFragment;
  static_assert(shared_bytes + 1024 <= kMaxSharedBytes);  // newer GPUs keep 1 KB of a block's for themselves
};

// The tile of keys and values that begins at position `first` of the chunk, zeros from position n on: eight lanes copy
// a position, 128 bytes at a time.
template <class Shape>
GPU_FN void load_tile(const MhaProblem& p, int head, int first, int n, uint16_t* keys) {
  const typename Shape::Widths widths(p);
  const int columns = widths.padded_nope + widths.padded_v,
            thread = int(unsigned(computed_anew(int(threadIdx.x))) % Shape::threads);
  GPU_UNROLL
  for (int i = 0; i < Shape::keys; i += Shape::threads / 8) {
    const int key = thread / 8 + i, c = thread % 8 * 8;
    const bool valid = first + key < n;
    const int64_t row = valid ? first + key : 0;
    const uint16_t* from = p.expanded + (int64_t(head) * p.chunk.n + row) * columns + c;
    const uint16_t* rope = p.latents + row * p.widths.latent_width() + p.widths.padded_r + c;
    uint16_t* to = keys + key * kKeyStride + c;
    uint16_t* values = keys + Shape::keys * kKeyStride + key * kValueStride + c;
    GPU_UNROLL
    for (int j = 0; j < int(kMaxKeyWidth); j += 64) {
      if (j + c < widths.padded_nope) cp_async_16(to + j, from + j, valid);
    }
    GPU_UNROLL
    for (int j = 0; j < int(kMaxKeyWidth); j += 64) {
      if (j + c < widths.padded_rope) cp_async_16(to + widths.padded_nope + j, rope + j, valid);
    }
    GPU_UNROLL
    for (int j = 0; j < int(kMaxValueWidth); j += 64) {
      if (j + c < widths.padded_v) cp_async_16(values + j, from + widths.padded_nope + j, valid);
    }
  }
  cp_async_commit();
}

// A warp's queries of one head, in the order of mma_bf16's d: of tile i this lane has parts of two, rows lane / 4 and
// lane / 4 + 8. Queries past the last token are zeros and are not stored.
template <class Shape>
struct Queries {
  static constexpr int kTiles = Shape::tiles;

  int first;         // token of the warp's first query
  uint32_t* shared;  // [tiles, shared_steps, kFragment]: an `a` as ldmatrix reads it
  uint32_t q[kTiles][Shape::register_steps][4];
  // Sum of 2^(score - base) * value so far, base, and this lane's part of the sum of the powers.
  float o[kTiles][kValues][2][4] = {};
  float base[kTiles][2], total[kTiles][2] = {};

  GPU_FN int token(int i, int half) const { return first + 16 * i + 8 * half + lane_of_thread() / 4; }

  GPU_FN Queries(const MhaProblem& p, int first, int head, uint32_t* shared) : first(first), shared(shared) {
    const typename Shape::Widths widths(p);
    const int nope_steps = widths.padded_nope / 16;
    GPU_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      const float *nope[2], *rope[2];
      GPU_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int t = token(i, half);
        const bool valid = t < int(p.q_nope.n_tokens);
        nope[half] = valid ? head_at(p.q_nope, t, head) : nullptr;
        rope[half] = valid ? head_at(p.q_rope, t, head) : nullptr;
        base[i][half] = -INFINITY;
      }
      GPU_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        uint32_t a[4];
        if (s < nope_steps) {
          gather_a(a, nope[0], nope[1], 16 * s, widths.nope);
        } else {
          gather_a(a, rope[0], rope[1], 16 * (s - nope_steps), widths.rope);
        }
        if (s < Shape::register_steps) {
          GPU_UNROLL
          for (int j = 0; j < 4; ++j) q[i][s][j] = a[j];
        } else {
          GPU_UNROLL
          for (int j = 0; j < 4; ++j) shared[slot(i, s) + 32 * j + lane_of_thread()] = a[j];
        }
      }
    }
  }

  GPU_FN static int slot(int i, int s) { return (i * Shape::shared_steps + s - Shape::register_steps) * kFragment; }

  // A step of the queries of tile i.
  GPU_FN void fragment(uint32_t (&a)[4], int i, int s) const {
    if (s < Shape::register_steps) {
      GPU_UNROLL
      for (int j = 0; j < 4; ++j) a[j] = q[i][s][j];
    } else {
      ldmatrix_x4(a, shared + slot(i, s) + 4 * lane_of_thread());
    }
  }

  // Calls f(tile, half, index into largest and total of the call, output row) for the queries that are a token's.
  template <class F>
  GPU_FN void each_token(const MhaProblem& p, int head, F f) {
    GPU_UNROLL
    for (int i = 0; i < 2 * kTiles; ++i) {
      const int t = token(i / 2, i % 2);
      if (t >= int(p.q_nope.n_tokens)) continue;
      f(i / 2, i % 2, head * p.q_nope.n_tokens + t, head_at(p.o, t, head) + 2 * (lane_of_thread() % 4));
    }
  }

  // Takes up what the last chunk left.
  GPU_FN void resume(const MhaProblem& p, int head) {
    const typename Shape::Widths widths(p);
    each_token(p, head, [&](int i, int half, int64_t at, const float* mean) {
      base[i][half] = p.largest[at];
      const float sum = p.total[at];
      total[i][half] = lane_of_thread() % 4 == 0 ? sum : 0;
      GPU_UNROLL
      for (int v = 0; v < 2 * kValues; ++v) {
        if (8 * v + 2 * (lane_of_thread() % 4) >= widths.v) break;
        const float2 x = *reinterpret_cast<const float2*>(mean + 8 * v);
        o[i][v / 2][v % 2][2 * half] = x.x * sum;
        o[i][v / 2][v % 2][2 * half + 1] = x.y * sum;
      }
    });
  }

  // Scores of tile i become weights. Its first query sees `n_seen` of the positions; `all`: so that all see all of
  // them.
  GPU_FN void softmax(int i, float (&score)[Shape::run / 8][4], float scale, int n_seen, bool all) {
    float shrink[2] = {1, 1};
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (!all) {
        const int seen = n_seen + 8 * half + lane_of_thread() / 4 - 2 * (lane_of_thread() % 4);
        GPU_UNROLL
        for (int k = 0; k < Shape::run / 4; ++k) {
          if (8 * (k / 2) + k % 2 >= seen) score[k / 2][2 * half + k % 2] = -INFINITY;
        }
      }
      float top = -INFINITY;
      GPU_UNROLL
      for (int k = 0; k < Shape::run / 4; ++k) top = fmaxf(top, score[k / 2][2 * half + k % 2]);
      top = warp_max<4>(top) * scale;
      float& zero = base[i][half];
      if (top > zero + kSlack) {
        shrink[half] = exp2_fast(zero - top);
        zero = top;
        total[i][half] *= shrink[half];
      }
      const float below = softmax_base(zero);
      GPU_UNROLL
      for (int k = 0; k < Shape::run / 4; ++k) {
        float& x = score[k / 2][2 * half + k % 2];
        x = exp2_fast(x * scale - below);
        total[i][half] += x;
      }
    }
    if (!__ballot_sync(kAllLanes, shrink[0] != 1 || shrink[1] != 1)) return;
    GPU_UNROLL
    for (int v = 0; v < 2 * kValues; ++v) {
      float(&sum)[4] = o[i][v / 2][v % 2];
      sum[0] *= shrink[0], sum[1] *= shrink[0], sum[2] *= shrink[1], sum[3] *= shrink[1];
    }
  }

  // Takes in positions: keys [run, kKeyStride], values [run, kValueStride], of which the first query sees `n_seen`.
  GPU_FN void attend(const MhaProblem& p, const uint16_t* keys, const uint16_t* values, int n_seen) {
    const typename Shape::Widths widths(p);
    float score[kTiles][Shape::run / 8][4] = {};
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (16 * s >= widths.padded_nope + widths.padded_rope) break;
      uint32_t a[kTiles][4];
      GPU_UNROLL
      for (int i = 0; i < kTiles; ++i) fragment(a[i], i, s);
      GPU_UNROLL
      for (int k = 0; k < Shape::run / 16; ++k) {
        uint32_t b[4];
        load_b_transposed(b, keys + 16 * k * kKeyStride + 16 * s, kKeyStride);
        GPU_UNROLL
        for (int i = 0; i < kTiles; ++i) {
          mma_bf16(score[i][2 * k], a[i], b[0], b[1]);
          mma_bf16(score[i][2 * k + 1], a[i], b[2], b[3]);
        }
      }
    }
    GPU_UNROLL
    for (int i = 0; i < kTiles; ++i) softmax(i, score[i], p.scale, n_seen + 16 * i, n_seen >= Shape::run);
    GPU_UNROLL
    for (int k = 0; k < Shape::run / 16; ++k) {  // two d fragments of the scores are an a fragment of the weights
      uint32_t a[kTiles][4];
      GPU_UNROLL
      for (int i = 0; i < kTiles; ++i) {
        const float(&left)[4] = score[i][2 * k], (&right)[4] = score[i][2 * k + 1];
        a[i][0] = pack_bf16(left[0], left[1]), a[i][1] = pack_bf16(left[2], left[3]);
        a[i][2] = pack_bf16(right[0], right[1]), a[i][3] = pack_bf16(right[2], right[3]);
      }
      GPU_UNROLL
      for (int v = 0; v < kValues; ++v) {
        if (16 * v >= widths.padded_v) break;
        uint32_t b[4];
        load_b(b, values + 16 * k * kValueStride + 16 * v, kValueStride);
        GPU_UNROLL
        for (int i = 0; i < kTiles; ++i) {
          mma_bf16(o[i][v][0], a[i], b[0], b[1]);
          mma_bf16(o[i][v][1], a[i], b[2], b[3]);
        }
      }
    }
  }

  GPU_FN void write(const MhaProblem& p, int head) {
    const typename Shape::Widths widths(p);
    GPU_UNROLL
    for (int i = 0; i < 2 * kTiles; ++i) {
      float& sum = total[i / 2][i % 2];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
    each_token(p, head, [&](int i, int half, int64_t at, float* to) {
      if (p.carries && lane_of_thread() % 4 == 0) {
        p.largest[at] = base[i][half];
        p.total[at] = total[i][half];
      }
      const float factor = 1.0f / total[i][half];
      GPU_UNROLL
      for (int v = 0; v < 2 * kValues; ++v) {
        if (8 * v + 2 * (lane_of_thread() % 4) >= widths.v) break;
        const float* sum = o[i][v / 2][v % 2] + 2 * half;
        *reinterpret_cast<float2*>(to + 8 * v) = float2{sum[0] * factor, sum[1] * factor};
      }
    });
  }
};

// A block per Shape::queries queries (those who see most first), and head.
template <class Shape>
__global__ void __launch_bounds__(Shape::threads, 1) attend_chunk(MhaProblem p) {
  // Two buffers: keys [keys, kKeyStride], values [keys, kValueStride]; then what each warp leaves there.
  GPU_DYNAMIC_SHARED(uint16_t, shared);
  constexpr int kBuffer = Shape::buffer_values;
  const int n_tokens = int(p.q_nope.n_tokens), head = int(blockIdx.y);
  const int block_first = int(gridDim.x - 1 - blockIdx.x) * Shape::queries;
  const int warp_first = block_first + Shape::warp_queries * warp_of_thread();
  // How many positions of the chunk are seen by token 0 of the call, by the block's last query, and by this warp's.
  const int first_seen = p.chunk.at.ids[0] + 1 - int(p.chunk.first);
  const auto seen_before = [&](int token) {
    return at_most(first_seen + at_most(token, n_tokens) - 1, int(p.chunk.n));
  };
  const int n = seen_before(block_first + Shape::queries);
  const int warp_n = warp_first < n_tokens ? seen_before(warp_first + Shape::warp_queries) : 0;
  if (n <= 0) return;

  load_tile<Shape>(p, head, 0, n, shared);
  uint32_t* const left = reinterpret_cast<uint32_t*>(shared + 2 * kBuffer);
  Queries<Shape> queries(p, warp_first, head, left + warp_of_thread() * Shape::tiles * Shape::shared_steps * kFragment);
  if (p.chunk.first > 0) queries.resume(p, head);
  int buffer = 0;
  for (int first = 0; first < n; first += Shape::keys, buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // the tile is here, and nobody reads the other buffer any more
    if (first + Shape::keys < n) {
      load_tile<Shape>(p, head, first + Shape::keys, n, shared + (buffer ^ 1) * kBuffer);
    }
    const uint16_t* keys = shared + buffer * kBuffer;
    GPU_UNROLL
    for (int k = 0; k < Shape::keys; k += Shape::run) {
      if (first + k >= warp_n) break;
      queries.attend(p, keys + k * kKeyStride, keys + Shape::keys * kKeyStride + k * kValueStride,
                     first_seen + warp_first - first - k);
    }
  }
  queries.write(p, head);
}

}  // namespace
}  // namespace hearth::gpu
