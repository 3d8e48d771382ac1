// Naive (expanded) MLA for many tokens: q_nope [T,H,nope], q_rope [T,H,dr], cache rows [r + dr] -> o [T,H,v].
//
//   k_p = [W^UK c_p | k_rope_p], v_p = W^UV c_p;  score_p = q . k_p scale,  o = sum_p softmax(score)_p v_p
//
// The cache is taken in chunks: expand_latents makes the keys and values of all heads, then each head attends, in the
// manner of FlashAttention-2. A block holds 64 or 128 queries of one head, 16 per warp; they and all that belongs to
// them stay in registers; tiles of 64 keys and values come into two buffers of shared memory. The rope part of a key is
// read from the latents, the same for every head. Between chunks the output holds what a query has so far, and scratch
// its softmax's largest score and sum. Tiles that no query of a warp sees are skipped.
//
// What bounds it: the tensor cores, closely followed by ldmatrix (a warp reads every tile whole, for 16 queries).
#include "kernels/cuda/attention/mha_attend.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention/expand_latents.h"
#include "kernels/cuda/attention/heads.cuh"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/scratch_sizes.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int kKeys = 64;  // of a tile
constexpr int kSteps = int(kMaxKeyWidth) / 16, kValues = int(kMaxValueWidth) / 16;
// Rows in shared memory, an odd number of 16 bytes, so that ldmatrix meets every bank once.
constexpr int kKeyStride = int(kMaxKeyWidth) + 8, kValueStride = int(kMaxValueWidth) + 8;
constexpr int kBufferValues = kKeys * (kKeyStride + kValueStride);
constexpr size_t kSharedBytes = sizeof(uint16_t) * 2 * kBufferValues;
static_assert(kSharedBytes <= kMaxSharedBytes);

struct Problem {
  Heads<const float> q_nope, q_rope;
  ExpandedWidths widths;
  const uint16_t* expanded;  // [H, chunk.n, columns]
  const uint16_t* latents;   // of the chunk, [n, latent_width]
  LatentChunk chunk;
  float scale;             // of scores to powers of 2
  float *largest, *total;  // [H, T]
  bool carries;            // keep them for the next chunk
  Heads<float> o;
};

// The tile of keys and values that begins at position `first` of the chunk, zeros from position n on.
template <int threads>
GPU_FN void load_tile(const Problem& p, int head, int first, int n, uint16_t* keys) {
  uint16_t* values = keys + kKeys * kKeyStride;
  const int nope = p.widths.padded_nope / 8, v = p.widths.padded_v / 8, rope = p.widths.padded_rope / 8;  // 16 bytes
  const uint16_t* expanded = p.expanded + int64_t(head) * p.chunk.n * p.widths.columns();
  const uint16_t* ropes = p.latents + p.widths.padded_r;
  for (int i = int(threadIdx.x); i < kKeys * (nope + v); i += threads) {
    const int key = i / (nope + v), c = i % (nope + v);
    const bool valid = first + key < n;
    uint16_t* to = c < nope ? keys + key * kKeyStride + 8 * c : values + key * kValueStride + 8 * (c - nope);
    cp_async_16(to, expanded + int64_t(valid ? first + key : 0) * p.widths.columns() + 8 * c, valid);
  }
  for (int i = int(threadIdx.x); i < kKeys * rope; i += threads) {
    const int key = i / rope, c = i % rope;
    const bool valid = first + key < n;
    cp_async_16(keys + key * kKeyStride + 8 * (nope + c),
                ropes + (valid ? first + key : 0) * int64_t(p.widths.latent_width()) + 8 * c, valid);
  }
  cp_async_commit();
}

// 16 queries of one head in a warp's registers, in the order of mma_bf16's d: this lane has parts of two, rows lane / 4
// and lane / 4 + 8. Queries past the last token are zeros and are not stored.
struct Queries {
  int first;               // token of the warp's first query
  int token[2], limit[2];  // this lane's two, and how many positions of the chunk they see
  uint32_t q[kSteps][4];
  // Sum of 2^(score - largest) * value so far, largest score, and this lane's part of the sum of the powers.
  float o[kValues][2][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, total[2] = {};

  GPU_FN Queries(const Problem& p, int first, int head, int first_seen) : first(first) {
    const float *nope[2], *rope[2];
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      token[half] = first + lane_of_thread() / 4 + 8 * half;
      limit[half] = first_seen + token[half];
      const bool valid = token[half] < int(p.q_nope.n_tokens);
      nope[half] = valid ? head_at(p.q_nope, token[half], head) : nullptr;
      rope[half] = valid ? head_at(p.q_rope, token[half], head) : nullptr;
    }
    const int nope_steps = p.widths.padded_nope / 16;
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (s < nope_steps) {
        gather_a(q[s], nope[0], nope[1], 16 * s, p.widths.nope);
      } else {
        gather_a(q[s], rope[0], rope[1], 16 * (s - nope_steps), p.widths.rope);
      }
    }
  }

  // Calls f(half, index into largest and total of the call, output row) for the queries that are a token's.
  template <class F>
  GPU_FN void each_token(const Problem& p, int head, F f) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (token[half] >= int(p.q_nope.n_tokens)) continue;
      f(half, head * p.q_nope.n_tokens + token[half], head_at(p.o, token[half], head) + 2 * (lane_of_thread() % 4));
    }
  }

  // Takes up what the last chunk left.
  GPU_FN void resume(const Problem& p, int head) {
    each_token(p, head, [&](int half, int64_t at, const float* mean) {
      largest[half] = p.largest[at];
      const float sum = p.total[at];
      total[half] = lane_of_thread() % 4 == 0 ? sum : 0;
      GPU_UNROLL
      for (int i = 0; i < 2 * kValues; ++i) {
        if (8 * i + 2 * (lane_of_thread() % 4) >= p.widths.v) break;
        const float2 x = *reinterpret_cast<const float2*>(mean + 8 * i);
        o[i / 2][i % 2][2 * half] = x.x * sum;
        o[i / 2][i % 2][2 * half + 1] = x.y * sum;
      }
    });
  }

  // Scores become weights. `n_seen` of the tile's positions are seen by the two queries; `all`: by every query.
  GPU_FN void softmax(float (&score)[kKeys / 8][4], float scale, const int (&n_seen)[2], bool all) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      float top = largest[half];
      GPU_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) {
        float& x = score[i / 2][2 * half + i % 2];
        x *= scale;
        if (!all && 8 * (i / 2) + 2 * (lane_of_thread() % 4) + i % 2 >= n_seen[half]) x = -INFINITY;
        top = fmaxf(top, x);
      }
      top = warp_max<4>(top);
      const float base = softmax_base(top), shrink = exp2_fast(largest[half] - base);
      largest[half] = top;
      total[half] *= shrink;
      GPU_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) {
        float& x = score[i / 2][2 * half + i % 2];
        x = exp2_fast(x - base);
        total[half] += x;
      }
      GPU_UNROLL
      for (int i = 0; i < 2 * kValues; ++i) {
        o[i / 2][i % 2][2 * half] *= shrink;
        o[i / 2][i % 2][2 * half + 1] *= shrink;
      }
    }
  }

  // Takes in a tile: keys [kKeys, kKeyStride], values [kKeys, kValueStride], the positions of the chunk from `position`
  // on.
  GPU_FN void attend(const Problem& p, const uint16_t* keys, const uint16_t* values, int position) {
    const int n_steps = (p.widths.padded_nope + p.widths.padded_rope) / 16, n_values = p.widths.padded_v / 16;
    float score[kKeys / 8][4] = {};
    GPU_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (s >= n_steps) break;
      GPU_UNROLL
      for (int k = 0; k < kKeys / 16; ++k) {
        uint32_t b[4];
        load_b_transposed(b, keys + 16 * k * kKeyStride + 16 * s, kKeyStride);
        mma_bf16(score[2 * k], q[s], b[0], b[1]);
        mma_bf16(score[2 * k + 1], q[s], b[2], b[3]);
      }
    }
    const int n_seen[2] = {limit[0] - position, limit[1] - position};
    softmax(score, p.scale, n_seen, limit[0] - lane_of_thread() / 4 - position >= kKeys);
    GPU_UNROLL
    for (int k = 0; k < kKeys / 16; ++k) {  // two d fragments of the scores are an a fragment of the weights
      const float(&left)[4] = score[2 * k], (&right)[4] = score[2 * k + 1];
      const uint32_t a[4] = {pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]),
                             pack_bf16(right[2], right[3])};
      GPU_UNROLL
      for (int v = 0; v < kValues; ++v) {
        if (v >= n_values) break;
        uint32_t b[4];
        load_b(b, values + 16 * k * kValueStride + 16 * v, kValueStride);
        mma_bf16(o[v][0], a, b[0], b[1]);
        mma_bf16(o[v][1], a, b[2], b[3]);
      }
    }
  }

  GPU_FN void write(const Problem& p, int head) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 1);
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 2);
    }
    each_token(p, head, [&](int half, int64_t at, float* to) {
      if (p.carries && lane_of_thread() % 4 == 0) {
        p.largest[at] = largest[half];
        p.total[at] = total[half];
      }
      const float factor = 1.0f / total[half];
      GPU_UNROLL
      for (int i = 0; i < 2 * kValues; ++i) {
        if (8 * i + 2 * (lane_of_thread() % 4) >= p.widths.v) break;
        const float* sum = o[i / 2][i % 2] + 2 * half;
        *reinterpret_cast<float2*>(to + 8 * i) = float2{sum[0] * factor, sum[1] * factor};
      }
    });
  }
};

// A block per 16 * warps queries (those who see most first), and head.
template <int warps>
__global__ void __launch_bounds__(32 * warps) attend_chunk(Problem p) {
  GPU_DYNAMIC_SHARED(uint16_t, shared);  // two buffers: keys [kKeys, kKeyStride], values [kKeys, kValueStride]
  constexpr int kQueries = 16 * warps;
  const int n_tokens = int(p.q_nope.n_tokens), head = int(blockIdx.y);
  const int block_first = int(gridDim.x - 1 - blockIdx.x) * kQueries, warp_first = block_first + 16 * warp_of_thread();
  // How many positions of the chunk are seen by token 0 of the call, by the block's last query, and by this warp's.
  const int first_seen = p.chunk.at.ids[0] + 1 - int(p.chunk.first);
  const int n = at_most(first_seen + at_most(block_first + kQueries, n_tokens) - 1, int(p.chunk.n));
  const int warp_n =
      warp_first < n_tokens ? at_most(first_seen + at_most(warp_first + 16, n_tokens) - 1, int(p.chunk.n)) : 0;
  if (n <= 0) return;

  load_tile<32 * warps>(p, head, 0, n, shared);
  Queries queries(p, warp_first, head, first_seen);
  if (p.chunk.first > 0) queries.resume(p, head);
  int buffer = 0;
  for (int first = 0; first < n; first += kKeys, buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // the tile is here, and nobody reads the other buffer any more
    if (first + kKeys < n) load_tile<32 * warps>(p, head, first + kKeys, n, shared + (buffer ^ 1) * kBufferValues);
    const uint16_t* keys = shared + buffer * kBufferValues;
    if (first < warp_n) queries.attend(p, keys, keys + kKeys * kKeyStride, first);
  }
  queries.write(p, head);
}

// ---- Scratch

// Where everything lies for chunks of n positions.
struct Layout {
  size_t weights, latents, expanded, largest, total, bytes = 0;

  Layout(const ExpandedWidths& w, int64_t n_tokens, int64_t n_heads, int64_t n) {
    const auto take = [&](int64_t size) {
      const size_t at = bytes;
      bytes += size_t(round_up(size, 256));
      return at;
    };
    weights = take(n_heads * w.columns() * w.padded_r * 2);
    latents = take(n * w.latent_width() * 2);
    expanded = take(n * n_heads * w.columns() * 2);
    largest = take(n_heads * n_tokens * 4);
    total = take(n_heads * n_tokens * 4);
  }
};

// The longest chunk that fits into `bytes`, if any does, for at most n_keys positions.
int64_t chunk_that_fits(const ExpandedWidths& w, int64_t n_tokens, int64_t n_heads, int64_t n_keys, size_t bytes) {
  const size_t fixed = Layout(w, n_tokens, n_heads, 0).bytes;
  const size_t each = Layout(w, n_tokens, n_heads, kChunkMultiple).bytes - fixed;
  const int64_t chunks = bytes > fixed ? int64_t((bytes - fixed) / each) : 0;
  return std::min(std::max<int64_t>(chunks, 1) * kChunkMultiple, round_up(n_keys, kChunkMultiple));
}

}  // namespace

size_t mha_attend_scratch(const ScratchLimits& l) {
  const ExpandedWidths w(l.kv_lora_rank, l.qk_nope_head_dim, l.qk_rope_head_dim, l.v_head_dim);
  const int64_t chunk =
      std::min(std::max<int64_t>(kExpandedBytes / (l.n_heads * w.columns() * 2) / kChunkMultiple, 1) * kChunkMultiple,
               round_up(l.n_ctx, kChunkMultiple));
  return Layout(w, l.max_tokens, l.n_heads, chunk).bytes;
}

void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o) {
  const int64_t T = q_nope.n_tokens, H = q_nope.n_heads, bound = at.bound;
  const ExpandedWidths widths(cache.kv_lora_rank, q_nope.width, cache.rope_dim, o.width);
  const int64_t n = chunk_that_fits(widths, T, H, bound, exec.scratch.size());
  const Layout layout(widths, T, H, n);
  const auto scratch = [&](size_t at) { return exec.scratch.data() + at; };
  const Queue& queue = queue_of(exec);
  uint16_t* weights = reinterpret_cast<uint16_t*>(scratch(layout.weights));
  uint16_t* latents = reinterpret_cast<uint16_t*>(scratch(layout.latents));
  uint16_t* expanded = reinterpret_cast<uint16_t*>(scratch(layout.expanded));

  // With 128 queries in a block tiles are read half as often as with 64: taken where every multiprocessor still gets a
  // block.
  const bool wide = (T + 127) / 128 * H >= queue.multiprocessors;
  const int64_t queries = wide ? 128 : 64;
  widen_weights(queue, widths, k_b, v_b, weights);
  for (int64_t first = 0; first < bound; first += n) {
    const LatentChunk chunk{at, T, first, n};
    widen_latents(queue, widths, cache, chunk, latents);
    expand_latents(queue, widths, weights, latents, H, chunk, expanded);
    const Problem problem{q_nope,
                          q_rope,
                          widths,
                          expanded,
                          latents,
                          chunk,
                          scale * kLog2e,
                          reinterpret_cast<float*>(scratch(layout.largest)),
                          reinterpret_cast<float*>(scratch(layout.total)),
                          first + n < bound,
                          o};
    launch("mha_attend", wide ? attend_chunk<8> : attend_chunk<4>,
           dim3(unsigned((T + queries - 1) / queries), unsigned(H)), dim3(unsigned(2 * queries)), kSharedBytes, queue,
           problem);
  }
}

}  // namespace hearth::gpu
