// Mixture of experts for many tokens: y [T,d] = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x).
//
// The T K slots (a token and one of its experts) are sorted by expert on the device, by counting. Slots of one expert
// stay in the order of their tokens, so that every run gives the same bits. From the sorted slots follows a list of
// (expert, tile of slots), whose length depends on the routing: grids have the length that the list cannot exceed,
// T K / tile + E, and blocks beyond its end return. Experts that are not in this memory get no work. Then come gate and
// up with gathered tokens, down, and a sum over the K slots of each token.
//
// Outputs of down wait in scratch as float32 until that sum, which adds them in the order of the slots. They can be
// large (DeepSeek-V3, 2048 tokens: 470 MB), so down and the sum go through the columns of y in slices.
//
// Bound: the products (tile_product.cuh). Counting and placing take some microseconds; the sum moves 8 bytes per slot
// and column.
#include "kernels/cuda/matmul/moe_tile.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/matmul_tile.h"
#include "kernels/cuda/matmul/tile_input.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int kSortThreads = 1024, kSumThreads = 256;
[[maybe_unused]] constexpr int64_t kMostExperts = kMaxSharedBytes / 2 / sizeof(int32_t);

// The slots in order of their experts.
struct Order {
  int32_t* first;     // [E] place of an expert's first slot in the sorted order
  int32_t* token_of;  // [T K] by place: the slot's token
  int32_t* place_of;  // [T K] by slot; -1: its expert is not in this memory
  TileWork* work;     // [max_work]
  int32_t* n_work;    // [1]
};

// One block. counts [E] are in shared memory; each thread adds up the counts before those of its experts.
__global__ void __launch_bounds__(kSortThreads)
    count_kernel(const int32_t* ids, const int32_t* matrices, int n_slots, int n_experts, int tile, Order order) {
  GPU_DYNAMIC_SHARED(int32_t, counts);
  for (int e = int(threadIdx.x); e < n_experts; e += int(blockDim.x)) counts[e] = 0;
  __syncthreads();
  for (int slot = int(threadIdx.x); slot < n_slots; slot += int(blockDim.x)) {
    if (!matrices || matrices[ids[slot]] >= 0) atomicAdd(&counts[ids[slot]], 1);
  }
  __syncthreads();
  for (int e = int(threadIdx.x); e < n_experts; e += int(blockDim.x)) {
    int first = 0, n_before = 0;
    for (int before = 0; before < e; ++before) {
      first += counts[before];
      n_before += (counts[before] + tile - 1) / tile;
    }
    order.first[e] = first;
    for (int at = 0; at < counts[e]; at += tile) {
      order.work[n_before++] = {matrices ? matrices[e] : e, first + at, min(tile, counts[e] - at)};
    }
    if (e == n_experts - 1) *order.n_work = n_before;
  }
}

// A block finds the slots of one expert; each thread looks at one slot at a time.
__global__ void __launch_bounds__(kSortThreads)
    place_kernel(const int32_t* ids, const int32_t* matrices, int n_slots, int n_activated, Order order) {
  GPU_SHARED(int32_t, found, 32);  // slots that each warp found
  const bool absent = matrices && matrices[blockIdx.x] < 0;
  const int warp = warp_of_thread(), n_warps = int(blockDim.x) / 32;
  int place = order.first[blockIdx.x];
  for (int first = 0; first < n_slots; first += int(blockDim.x)) {
    const int slot = first + int(threadIdx.x);
    const bool mine = slot < n_slots && ids[slot] == int(blockIdx.x);
    const uint32_t lanes = __ballot_sync(kAllLanes, mine);
    if (lane_of_thread() == 0) found[warp] = __popc(lanes);
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < n_warps; ++w) {
      if (w < warp) before += found[w];
      all += found[w];
    }
    if (mine && absent) {
      order.place_of[slot] = -1;
    } else if (mine) {
      const int to = place + before + __popc(lanes & ((1u << lane_of_thread()) - 1));
      order.token_of[to] = slot / n_activated;
      order.place_of[slot] = to;
    }
    place += all;
    __syncthreads();
  }
}

// y[t, c] = (shared: y[t, c]) + sum_k weights[t,k] * results[place of slot (t, k), c]
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const float* results, const int32_t* place_of, const float* weights, int n_activated, bool shared,
               Mat<float> y) {
  const int64_t c = int64_t(blockIdx.y) * kSumThreads + threadIdx.x, t = blockIdx.x;
  if (c >= y.cols) return;
  float* const to = y.data + t * y.stride + c;
  float sum = shared ? *to : 0.0f;
  for (int k = 0; k < n_activated; ++k) {
    const int64_t slot = t * n_activated + k, place = place_of[slot];
    if (place >= 0) sum += weights[slot] * results[place * y.cols + c];
  }
  *to = sum;
}

int64_t slice_columns(int64_t n_slots, int64_t d, int64_t slice_bytes) {
  return std::min(d, std::max(kSliceColumns, slice_bytes / 4 / n_slots / kSliceColumns * kSliceColumns));
}

// At least n_slots * slice_columns(..), and it does not decrease with n_slots.
int64_t result_values(int64_t n_slots, int64_t d, int64_t slice_bytes) {
  return std::min(n_slots * d, std::max(slice_bytes / 4, n_slots * kSliceColumns));
}

int64_t max_work(int64_t n_slots, int64_t n_experts, int64_t tile) {
  return std::min(n_slots, n_slots / tile + n_experts);
}

struct Layout {
  uint16_t* x;
  Order order;
  std::byte* hidden;
  float* results;

  Layout(Scratch& scratch, int64_t T, int64_t E, int64_t K, int64_t d, int64_t n, int64_t slice_bytes) {
    x = scratch.take<uint16_t>(rounded_values(T, 1, d));
    order.first = scratch.take<int32_t>(E);
    order.token_of = scratch.take<int32_t>(T * K);
    order.place_of = scratch.take<int32_t>(T * K);
    order.work = scratch.take<TileWork>(max_work(T * K, E, tile_tokens(TileShape::tiny)));
    order.n_work = scratch.take<int32_t>(1);
    hidden = scratch.take<std::byte>(Hidden::bytes(std::max<int64_t>(T, 2) * K, n));  // half of one token is one token
    results = scratch.take<float>(result_values(T * K, d, slice_bytes));
  }
};

void sort_slots(const int32_t* ids, const int32_t* matrices, int64_t n_slots, int64_t n_activated, int64_t n_experts,
                int tile, const Order& order, const Queue& queue) {
  assert(n_experts <= kMostExperts);
  const dim3 threads(unsigned(std::min(int64_t(kSortThreads), round_up(n_slots, 32))));
  launch("count_slots", count_kernel, dim3(1), threads, size_t(n_experts) * sizeof(int32_t), queue, ids, matrices,
         int(n_slots), int(n_experts), tile, order);
  launch("place_slots", place_kernel, dim3(unsigned(n_experts)), threads, 0, queue, ids, matrices, int(n_slots),
         int(n_activated), order);
}

// Multiplies with down and sums over the slots, some columns of y at a time.
void down_and_sum(const Weight& down, TileShape shape, TileProduct p, const Layout& layout, const float* weights,
                  int64_t n_activated, bool shared, Mat<float> y, int64_t slice_bytes, const Queue& queue) {
  const int64_t slice = slice_columns(p.n_tokens, y.cols, slice_bytes);
  for (int64_t first = 0; first < y.cols; first += slice) {
    const Mat<float> part = y.columns(first, std::min(slice, y.cols - first));
    Weight rows = down;
    rows.data += size_t(first) * down.row_bytes;
    rows.n = part.cols;
    p.w = WeightRows(rows);
    p.n = int(part.cols);
    p.y = layout.results;
    p.y_stride = part.cols;
    tile_product(down.format->id, shape, p, queue);
    launch("sum_slots", sum_kernel, dim3(unsigned(part.rows), unsigned((part.cols + kSumThreads - 1) / kSumThreads)),
           dim3(kSumThreads), 0, queue, layout.results, layout.order.place_of, weights, int(n_activated), shared, part);
  }
}

}  // namespace

size_t moe_tile_scratch(const ScratchLimits& l, int64_t slice_bytes) {
  if (l.n_experts == 0) return 0;
  Scratch measure;
  Layout(measure, l.max_tokens, l.n_experts, l.n_activated, l.dim, l.moe_inter_dim, slice_bytes);
  return std::max(measure.used(), ffn_tile_scratch(l));
}

void moe_tile(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
              const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y, int64_t slice_bytes) {
  assert(experts.down.k == experts.gate.n && experts.down.n == y.cols && experts.gate.k == x.cols);
  if (shared.gate) ffn_tile(exec, shared, x, y);
  const Queue& queue = queue_of(exec);
  const int64_t E = experts.n_experts(), K = n_activated;
  const int64_t slice = Hidden::in_halves(experts) ? std::max(int64_t(1), x.rows / 2) : x.rows;
  for (int64_t first = 0; first < x.rows; first += slice) {
    const int64_t T = std::min(slice, x.rows - first), n_slots = T * K;
    Scratch scratch(exec);
    const Layout layout(scratch, x.rows, E, K, x.cols, experts.gate.n, slice_bytes);
    const TileShape shape = choose_expert_tile(n_slots, E, exec.alike);
    sort_slots(ids + first * K, experts.slots, n_slots, K, E, tile_tokens(shape), layout.order, queue);

    TileProduct p;
    p.n_tokens = int(n_slots);
    p.work = layout.order.work;
    p.n_work = layout.order.n_work;
    p.max_work = int(max_work(n_slots, E, tile_tokens(shape)));
    p.x_rows = layout.order.token_of;
    const Hidden hidden(experts, n_slots, layout.hidden);
    const TileInput tokens = round_tokens(one_head(x.slice(first, T)), layout.x, queue);
    gated_product(experts, shape, p, tokens, hidden, queue);

    p.x_rows = nullptr;
    hidden.input(experts).give(experts.down, p);
    down_and_sum(experts.down, shape, p, layout, weights + first * K, K, bool(shared.gate), y.slice(first, T),
                 slice_bytes, queue);
  }
}

}  // namespace hearth::gpu
