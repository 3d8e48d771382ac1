// Routing: x [T,d] -> logits [T,E] = x * gate_inp^T in float32, then for each token the K best experts, their weights.
//
// Few tokens: a block for each (expert, token) computes one logit; the block that finishes a token's last logit also
// chooses its experts, so that a decode step has one launch, which with one token does the norm before it as well.
// Bound by latency at V2-Lite's 0.5 MB of router, by the bytes of gate_inp at V3's 7.3 MB. Many tokens: tiles of 32
// tokens by 32 experts, copied to shared memory one step ahead (plain float products: a router's choice is worth more
// digits than the tensor cores keep), bound by flops and shared loads; then a block for each token chooses.
//
// Choosing has no loop over K. Scores become integers of the same order, and each expert counts how many stand before
// it: the count is its place. Places are a permutation whatever the scores are, so that NaN, which no comparison of
// floats places anywhere, can neither leave a place empty nor write one out of bounds.
#include "kernels/cuda/route.h"

#include <cassert>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/rounded_row.cuh"
#include "kernels/cuda/order.cuh"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 256;
static_assert(kFusedTokens <= Queue::kCounters);
constexpr int kTile = 32, kStep = 32, kTileThreads = 128;

// A rule with what it is applied to.
struct Choice {
  Routing rule;
  const float* bias;  // [E] or null
  int32_t* ids;       // [T, K]
  float* weights;     // [T, K]
};

// ---- Choosing: a block of kThreads for one token

// NaN comes last of all, behind -infinity.
GPU_FN uint32_t key_of(float score) {
  return score == score ? order_of(score) : 0;
}

// How many of n keys stand before key i: the larger ones, and of equal ones those with a lower index.
GPU_FN int place_of(const uint32_t* keys, int n, int i) {
  const uint32_t mine = keys[i];
  int place = 0;
  for (int other = 0; other < n; ++other) place += keys[other] > mine || (keys[other] == mine && other < i);
  return place;
}

// V2: the group's largest selection score. V3: the sum of its two largest. NaN counts for nothing.
GPU_FN float group_score(Routing::GroupScore rule, const float* scores, int n) {
  float first = -INFINITY, second = -INFINITY;
  for (int i = 0; i < n; ++i) {
    second = fmaxf(second, fminf(first, scores[i]));
    first = fmaxf(first, scores[i]);
  }
  return rule == Routing::GroupScore::top2_sum && n > 1 ? first + second : first;
}

struct ChoosingRoom {
  float scores[kMaxExperts];     // what the weights are made of
  float selection[kMaxExperts];  // what the choice is made by
  uint32_t keys[kMaxExperts], group_keys[kMaxExperts];
  float chosen[kMaxActivated];
  float partial[kMaxWarps];
};

GPU_FN void score_experts(Routing::Score score, const volatile float* logits, int n, ChoosingRoom& room) {
  if (score == Routing::Score::sigmoid) {
    for (int e = int(threadIdx.x); e < n; e += kThreads) room.scores[e] = 1.0f / (1.0f + expf(-logits[e]));
    return;
  }
  float largest = -INFINITY, total = 0;
  for (int e = int(threadIdx.x); e < n; e += kThreads) largest = fmaxf(largest, logits[e]);
  largest = block_max(largest, room.partial);
  for (int e = int(threadIdx.x); e < n; e += kThreads) {
    room.scores[e] = expf(logits[e] - largest);
    total += room.scores[e];
  }
  total = block_sum(total, room.partial);
  for (int e = int(threadIdx.x); e < n; e += kThreads) room.scores[e] /= total;
}

// `logits` may have been written by other blocks of this launch: volatile, so that none is read early.
GPU_FN void choose(const Choice& choice, const volatile float* logits, int64_t t, ChoosingRoom& room) {
  const Routing& rule = choice.rule;
  const int E = rule.n_experts, K = rule.n_activated, tid = int(threadIdx.x);
  score_experts(rule.score, logits, E, room);
  for (int e = tid; e < E; e += kThreads) {  // each thread its own scores: no barrier yet
    room.selection[e] = choice.bias ? room.scores[e] + choice.bias[e] : room.scores[e];
    room.keys[e] = key_of(room.selection[e]);
  }
  __syncthreads();
  if (rule.n_groups > 1) {
    const int size = E / rule.n_groups;
    for (int g = tid; g < rule.n_groups; g += kThreads) {
      room.group_keys[g] = key_of(group_score(rule.group_score, room.selection + g * size, size));
    }
    __syncthreads();
    for (int e = tid; e < E; e += kThreads) {  // left out is -infinity: zero would beat a negative biased score
      if (place_of(room.group_keys, rule.n_groups, e / size) >= rule.n_limited_groups) room.keys[e] = kLowestOrder;
    }
    __syncthreads();
  }
  for (int e = tid; e < E; e += kThreads) {
    const int k = place_of(room.keys, E, e);
    if (k >= K) continue;
    choice.ids[t * K + k] = e;
    room.chosen[k] = room.scores[e];
  }
  __syncthreads();
  if (tid < K) {
    float weight = room.chosen[tid];
    if (rule.normalize) {
      float total = 1e-20f;
      for (int k = 0; k < K; ++k) total += room.chosen[k];
      weight /= total;
    }
    choice.weights[t * K + tid] = weight * rule.scale;
  }
}

__global__ void __launch_bounds__(kThreads) choose_kernel(Choice choice, const float* logits) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(ChoosingRoom, room, 1);
  const int64_t t = blockIdx.x;
  choose(choice, logits + t * choice.rule.n_experts, t, room[0]);
}

// ---- Few tokens

// Part of a dot product: every kThreads-th of n values, or of n / 4 quadruples.
GPU_FN float part_of_dot(const float* a, const float* b, int64_t n, bool quadruples) {
  float sum = 0;
  if (!quadruples) {
    for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += a[i] * b[i];
    return sum;
  }
  GPU_UNROLL
  for (int64_t i = 4 * threadIdx.x; i < n; i += 4 * kThreads) {
    const float4 u = *reinterpret_cast<const float4*>(a + i), v = *reinterpret_cast<const float4*>(b + i);
    sum += u.x * v.x + u.y * v.y + (u.z * v.z + u.w * v.w);
  }
  return sum;
}

// Grid (E, T). `gate` and x are readable 16 bytes at a time where `quadruples`. `finished` [T]: each token's finished
// logits in this launch.
__global__ void __launch_bounds__(kThreads, 4) route_kernel(Choice choice, const float* gate, Mat<const float> x,
                                                            bool quadruples, float* logits, unsigned* finished) {
  GPU_SHARED(ChoosingRoom, room, 1);
  launch_dependents();
  const int64_t e = blockIdx.x, t = blockIdx.y, E = gridDim.x;
  constexpr int64_t kLine = 16;  // floats that one request brings
  for (int64_t i = kLine * threadIdx.x; i < x.cols; i += kLine * kThreads) prefetch_to_l2(gate + e * x.cols + i);
  wait_for_earlier();
  const float part = part_of_dot(gate + e * x.cols, x.data + t * x.stride, x.cols, quadruples);
  const float logit = block_sum(part, room[0].partial);
  if (threadIdx.x == 0) logits[t * E + e] = logit;
  if (is_last_block(&finished[t], unsigned(E))) choose(choice, logits + t * E, t, room[0]);
}

// ---- One token, and before its logits the residual sum and the norm

// Four values of a row of n from `first` on; behind its end zeros.
template <bool kAligned>
GPU_FN float4 four_of(const float* row, int first, int n) {
  if constexpr (kAligned) return *reinterpret_cast<const float4*>(row + first);
  const auto at = [&](int i) { return i < n ? row[i] : 0.0f; };
  return {at(first), at(first + 1), at(first + 2), at(first + 3)};
}
GPU_FN float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
GPU_FN float dot_of(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w);
}

// Value i of a row with all added.
GPU_FN float summed(const Residual& r, int i) {
  float v = r.x.data[i];
  if (r.y.data) v += r.y.data[i];
  if (r.rest.data) v += r.rest.data[i];
  return v;
}

struct NormedRow {
  Residual residual;
  const float* norm;
  float eps;
  float* h;
  std::byte* rounded;
};

// A block computes kBlockExperts logits. Each reads all of the residual, which costs less than a launch before; each
// stores a part of h, which no other launch has to round either; the last adds the sum to x, which nobody reads any
// more, and chooses. kAligned: all rows are readable 16 bytes at a time.
constexpr int kBlockExperts = 2;
template <bool kAligned>
__global__ void __launch_bounds__(kThreads, 4)
    norm_route_kernel(Choice choice, const float* gate, NormedRow row, float* logits, unsigned* finished) {
  GPU_SHARED(ChoosingRoom, room, 1);
  const int d = int(row.residual.x.cols), E = choice.rule.n_experts, first = int(blockIdx.x) * kBlockExperts;
  const Residual& r = row.residual;
  launch_dependents();
  constexpr int kLine = 16;  // floats that one request brings
  for (int j = 0; j < kBlockExperts && first + j < E; ++j) {
    for (int i = kLine * int(threadIdx.x); i < d; i += kLine * kThreads)
      prefetch_to_l2(gate + int64_t(first + j) * d + i);
  }
  wait_for_earlier();
  const auto sum = [&](int i) {
    float4 v = four_of<kAligned>(r.x.data, i, d);
    if (r.y.data) v = v + four_of<kAligned>(r.y.data, i, d);
    if (r.rest.data) v = v + four_of<kAligned>(r.rest.data, i, d);
    return v;
  };
  float squares = 0;
  GPU_UNROLL_TWICE
  for (int i = 4 * int(threadIdx.x); i < d; i += 4 * kThreads) {
    const float4 v = sum(i);
    squares += dot_of(v, v);
  }
  const float factor = 1.0f / sqrtf(block_sum(squares, room[0].partial) / float(d) + row.eps);

  float parts[kBlockExperts] = {};
  const auto take = [&](int i) {
    const float4 v = sum(i), w = four_of<kAligned>(row.norm, i, d);
    const float4 h = {w.x * (v.x * factor), w.y * (v.y * factor), w.z * (v.z * factor), w.w * (v.w * factor)};
    GPU_UNROLL
    for (int j = 0; j < kBlockExperts; ++j) {
      if (first + j < E) parts[j] += dot_of(h, four_of<kAligned>(gate + int64_t(first + j) * d, i, d));
    }
  };
  if constexpr (kAligned) {
    GPU_UNROLL_TWICE
    for (int i = 4 * int(threadIdx.x); i < d; i += 4 * kThreads) take(i);
  } else {
    GPU_NO_UNROLL
    for (int i = 4 * int(threadIdx.x); i < d; i += 4 * kThreads) take(i);
  }
  // Whole groups of what is rounded.
  const int groups = (d + kGroupValues - 1) / kGroupValues, first_group = groups * int(blockIdx.x) / int(gridDim.x),
            n_mine = groups * int(blockIdx.x + 1) / int(gridDim.x) - first_group;
  for (int at = 4 * int(threadIdx.x); at < (n_mine * kGroupValues + 127) / 128 * 128; at += 4 * kThreads) {
    const int i = first_group * kGroupValues + at;
    const bool mine = at < n_mine * kGroupValues;
    float four[4] = {};
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (!mine || i + j >= d) continue;
      row.h[i + j] = four[j] = row.norm[i + j] * (summed(r, i + j) * factor);
    }
    store_rounded(four, i, mine ? d : 0, row.rounded);
  }
  GPU_UNROLL
  for (int j = 0; j < kBlockExperts; ++j) {
    const float logit = block_sum(parts[j], room[0].partial);
    if (threadIdx.x == 0 && first + j < E) logits[first + j] = logit;
  }
  if (!is_last_block(finished, gridDim.x)) return;
  for (int i = int(threadIdx.x); i < d; i += kThreads) r.x.data[i] = summed(r, i);
  choose(choice, logits, 0, room[0]);
}

// ---- Many tokens: logits [T,E]

// Starts the copy of kTile rows by kStep columns from (row, column); what lies outside becomes zero.
GPU_FN void copy_tile(const float* from, int64_t stride, int64_t rows, int64_t cols, int64_t row, int64_t column,
                      float (*to)[kStep + 4]) {
  const int64_t c = column + lane_of_thread();
  for (int r = warp_of_thread(); r < kTile; r += kTileThreads / 32) {
    const bool inside = row + r < rows && c < cols;
    cp_async_4(&to[r][lane_of_thread()], inside ? from + (row + r) * stride + c : from, inside);
  }
}

// Grid (tiles of experts, tiles of tokens). A thread has 4 tokens by 2 experts. Each step has a sum of its own, so that
// the rounding of long sums stays small. Rows of 36 floats keep quadruples aligned and their banks apart.
__global__ void __launch_bounds__(kTileThreads)
    logits_kernel(const float* gate, int n_experts, Mat<const float> x, float* logits) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(float, tokens, 2 * kTile * (kStep + 4));
  GPU_SHARED(float, experts, 2 * kTile * (kStep + 4));
  const auto token_tile = reinterpret_cast<float(*)[kStep + 4]>(tokens);
  const auto expert_tile = reinterpret_cast<float(*)[kStep + 4]>(experts);
  const int64_t e0 = int64_t(blockIdx.x) * kTile, t0 = int64_t(blockIdx.y) * kTile, d = x.cols;
  const int te = int(threadIdx.x) % 16 * 2, tt = int(threadIdx.x) / 16 * 4;  // this thread's corner of the tile
  const auto copy_step = [&](int64_t column, int stage) {
    if (column < d) {
      copy_tile(x.data, x.stride, x.rows, d, t0, column, token_tile + stage * kTile);
      copy_tile(gate, d, n_experts, d, e0, column, expert_tile + stage * kTile);
    }
    cp_async_commit();  // also when empty, so that the groups can be counted
  };

  float sum[4][2] = {};
  copy_step(0, 0);
  int stage = 0;
  for (int64_t column = 0; column < d; column += kStep, stage ^= 1) {
    copy_step(column + kStep, stage ^ 1);
    cp_async_wait<1>();
    __syncthreads();
    float part[4][2] = {};
    GPU_UNROLL
    for (int c = 0; c < kStep; c += 4) {
      float4 a[4], b[2];
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) {
        a[i] = *reinterpret_cast<const float4*>(&token_tile[stage * kTile + tt + i][c]);
      }
      GPU_UNROLL
      for (int j = 0; j < 2; ++j) {
        b[j] = *reinterpret_cast<const float4*>(&expert_tile[stage * kTile + te + j][c]);
      }
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) {
        GPU_UNROLL
        for (int j = 0; j < 2; ++j) {
          part[i][j] += a[i].x * b[j].x;
          part[i][j] += a[i].y * b[j].y;
          part[i][j] += a[i].z * b[j].z;
          part[i][j] += a[i].w * b[j].w;
        }
      }
    }
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      GPU_UNROLL
      for (int j = 0; j < 2; ++j) sum[i][j] += part[i][j];
    }
    __syncthreads();  // the next copy lands in this stage
  }
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    GPU_UNROLL
    for (int j = 0; j < 2; ++j) {
      const int64_t t = t0 + tt + i, e = e0 + te + j;
      if (t < x.rows && e < n_experts) logits[t * n_experts + e] = sum[i][j];
    }
  }
}

// ---- Launching

struct Layout {
  size_t logits_bytes, gate_bytes;

  Layout(int64_t n_tokens, int64_t n_experts, int64_t dim)
      : logits_bytes(round_up(size_t(n_tokens * n_experts) * sizeof(float), 256)),
        gate_bytes(size_t(n_experts * dim) * sizeof(float)) {}

  float* logits(const Exec& exec) const { return reinterpret_cast<float*>(exec.scratch.data()); }
  // The router as floats: as it is, or decoded by a launch.
  const float* gate(const Exec& exec, const Weight& w) const {
    if (w.format->id == FormatId::f32) return reinterpret_cast<const float*>(w.data);
    float* decoded = reinterpret_cast<float*>(exec.scratch.data() + logits_bytes);
    decode_matrix(exec, w, {decoded, w.n, w.k});
    return decoded;
  }
};

bool in_quadruples(const float* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && stride % 4 == 0;
}

unsigned tiles(int64_t n) {
  return unsigned((n + kTile - 1) / kTile);
}

}  // namespace

size_t route_scratch(const ScratchLimits& limits) {
  const Layout layout(limits.max_tokens, limits.n_experts, limits.dim);
  return layout.logits_bytes + layout.gate_bytes;
}

void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights) {
  if (x.rows == 0) return;
  const Queue& queue = queue_of(exec);
  const int64_t T = x.rows, E = rule.n_experts;
  const Layout layout(T, E, x.cols);
  float* logits = layout.logits(exec);
  const float* gate = layout.gate(exec, gate_inp);
  const Choice choice{rule, bias, ids, weights};
  if (T <= kFusedTokens) {
    const bool quadruples = in_quadruples(gate, x.cols) && in_quadruples(x.data, x.stride) && x.cols % 4 == 0;
    launch_early("route", route_kernel, dim3(unsigned(E), unsigned(T)), dim3(kThreads), 0, queue, choice, gate, x,
                 quadruples, logits, queue.counters);
    return;
  }
  launch_early("route_logits", logits_kernel, dim3(tiles(E), tiles(T)), dim3(kTileThreads), 0, queue, gate, int(E), x,
               logits);
  launch_early("route_choose", choose_kernel, dim3(unsigned(T)), dim3(kThreads), 0, queue, choice,
               static_cast<const float*>(logits));
}

void norm_route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias,
                const Residual& residual, const float* norm, float eps, Mat<float> h, std::byte* rounded, int32_t* ids,
                float* weights) {
  assert(residual.x.rows == 1);
  const Queue& queue = queue_of(exec);
  const int64_t E = rule.n_experts, d = residual.x.cols;
  const Layout layout(1, E, d);
  const float* gate = layout.gate(exec, gate_inp);
  bool aligned = d % 4 == 0;
  for (const float* row :
       {gate, norm, static_cast<const float*>(residual.x.data), residual.y.data, residual.rest.data}) {
    aligned = aligned && in_quadruples(row, 0);
  }
  launch_early("norm_route", aligned ? norm_route_kernel<true> : norm_route_kernel<false>,
               dim3(unsigned((E + kBlockExperts - 1) / kBlockExperts)), dim3(kThreads), 0, queue,
               Choice{rule, bias, ids, weights}, gate, NormedRow{residual, norm, eps, h.data, rounded},
               layout.logits(exec), queue.counters);
}

}  // namespace hearth::gpu
