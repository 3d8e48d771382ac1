// Sorts slots by expert, by counting, and adds what experts gave to each token. Of few slots one block counts and
// places all; of more, one counts, and one for each expert places. That takes some microseconds; the sum moves 8 bytes
// per slot and column.
#include "kernels/cuda/matmul/slot_order.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/kernel.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int kSortThreads = 1024, kSumThreads = 256;
constexpr int64_t kFewSlots = 512;  // 64 tokens with 8 experts each
[[maybe_unused]] constexpr int64_t kMostExperts = kMaxSharedBytes / 2 / sizeof(int32_t);

// One block, with a thread for each expert and for each slot. In shared memory: the slots' experts, and what is added
// up over the experts, of each two numbers in one: its slots, and its tiles in the upper half.
__global__ void __launch_bounds__(kSortThreads)
    order_kernel(const int32_t* ids, const int32_t* matrices, int n_slots, int n_activated, int n_experts, int tile,
                 SlotOrder order) {
  GPU_DYNAMIC_SHARED(int32_t, shared);
  GPU_SHARED(int32_t, expert_of, kFewSlots);
  const int thread = int(threadIdx.x), n_threads = int(blockDim.x);
  int32_t* sums = shared;
  sums[thread] = 0;
  if (thread < n_slots) expert_of[thread] = ids[thread];
  __syncthreads();
  const bool there = thread < n_slots && (!matrices || matrices[expert_of[thread]] >= 0);
  if (there) atomicAdd(&sums[expert_of[thread]], 1);
  __syncthreads();
  const int count = sums[thread], own = count | (count + tile - 1) / tile << 16;
  int32_t* next = shared + n_threads;
  int sum = own;
  for (int apart = 1; apart < n_threads;
       apart *= 2) {  // sums of the `apart` experts up to one become those of twice as many
    next[thread] = sum;
    __syncthreads();
    if (thread >= apart) sum += next[thread - apart];
    int32_t* const other = sums;
    sums = next;
    next = other;
  }
  __syncthreads();
  const int before = sum - own, first = before & 0xffff, n_before = before >> 16;
  next[thread] = first;
  if (thread < n_experts) {
    order.first[thread] = first;
    for (int at = 0, i = n_before; at < count; at += tile, ++i) {
      order.work[i] = {matrices ? matrices[thread] : thread, first + at, min(tile, count - at)};
    }
    if (thread == n_experts - 1) *order.n_work = sum >> 16;
  }
  __syncthreads();
  if (thread >= n_slots) return;
  if (!there) {
    order.place_of[thread] = -1;
    return;
  }
  int place = next[expert_of[thread]];
  for (int i = 0; i < thread; ++i) place += expert_of[i] == expert_of[thread];
  order.token_of[place] = thread / n_activated;
  order.place_of[thread] = place;
}

// One block. counts [E] are in shared memory; each thread adds up the counts before those of its experts.
__global__ void __launch_bounds__(kSortThreads)
    count_kernel(const int32_t* ids, const int32_t* matrices, int n_slots, int n_experts, int tile, SlotOrder order) {
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
    place_kernel(const int32_t* ids, const int32_t* matrices, int n_slots, int n_activated, SlotOrder order) {
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

}  // namespace

void sort_slots(const int32_t* ids, const int32_t* matrices, int64_t n_slots, int64_t n_activated, int64_t n_experts,
                int tile, const SlotOrder& order, const Queue& queue) {
  assert(n_experts <= kMostExperts);
  if (n_slots <= kFewSlots && n_experts <= kSortThreads) {
    const unsigned n = unsigned(round_up(std::max(n_slots, n_experts), 32));
    launch("order_slots", order_kernel, dim3(1), dim3(n), 2 * n * sizeof(int32_t), queue, ids, matrices, int(n_slots),
           int(n_activated), int(n_experts), tile, order);
    return;
  }
  const dim3 threads(unsigned(std::min(int64_t(kSortThreads), round_up(n_slots, 32))));
  launch("count_slots", count_kernel, dim3(1), threads, size_t(n_experts) * sizeof(int32_t), queue, ids, matrices,
         int(n_slots), int(n_experts), tile, order);
  launch("place_slots", place_kernel, dim3(unsigned(n_experts)), threads, 0, queue, ids, matrices, int(n_slots),
         int(n_activated), order);
}

void sum_slots(const float* results, const SlotOrder& order, const float* weights, int64_t n_activated, bool shared,
               Mat<float> y, const Queue& queue) {
  launch("sum_slots", sum_kernel, dim3(unsigned(y.rows), unsigned((y.cols + kSumThreads - 1) / kSumThreads)),
         dim3(kSumThreads), 0, queue, results, order.place_of, weights, int(n_activated), shared, y);
}

}  // namespace hearth::gpu
