// The k largest of each row [T,n], so that a step of the model hands out some of its logits, and not half a megabyte of
// them.
//
// Every column has a key that no other has: the order of its value, then its number, the lowest first. The columns are
// cut into 1024 groups, and many blocks find each group's largest key. A second launch has a block for each row. It
// finds a bound that those of k groups reach, by bisection of the key's bits. Then at least k keys of the row reach the
// bound, in those groups, and mostly few more: they are collected, and each counts how many stand before it. The count
// is its place.
//
// Eight neighbouring columns, what memory gives at once, are of one group, the next eight of the next group: a group is
// read quickly, and of equal values, the first of which are wanted, few more reach the bound than are. Where more do
// than there is room for (the largest values are in few groups) the bound is raised by bisection, and these groups read
// again in each step of that: slow, and right.
//
// Bound by latency: two launches, up to 64 barriers of the bisection (some 20 in practice) and three reads one after
// the other.
#include "kernels/cuda/largest.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/order.cuh"
#include "kernels/cuda/scratch_sizes.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 1024, kRoom = 2048;
constexpr int kRun = 8;  // neighbouring columns of a group: 32 bytes
constexpr int kGroupThreads = 256, kGroupsOfBlock = kGroupThreads / kRun;
constexpr int kGroups = kLargestGroups;
static_assert(kGroups == kThreads);  // at most: a thread of the second launch has one
static_assert(kMostLargest <= kGroups && kMostLargest * kRun <= kRoom);

struct Row {
  const float* values;
  const uint32_t* without;
  int n;

  GPU_FN float value(int column) const {
    return without[column / 32] >> (column % 32) & 1 ? -INFINITY : values[column];
  }
  GPU_FN uint64_t key(int column) const {
    const float v = value(column);
    return uint64_t(v == v ? order_of(v) : 0xffffffffu) << 32 | uint32_t(~column);
  }
};

GPU_FN int column_of(uint64_t key) {
  return int(~uint32_t(key));
}

// Grid (blocks of kGroupsOfBlock groups, rows) -> largest [rows, kGroups], the key of each group; 0: it has no columns.
__global__ void __launch_bounds__(kGroupThreads)
    group_kernel(Mat<const float> x, const uint32_t* without, uint64_t* largest) {
  launch_dependents();
  wait_for_earlier();
  const Row row = {x.data + int64_t(blockIdx.y) * x.stride, without, int(x.cols)};
  const int thread = int(blockIdx.x) * kGroupThreads + int(threadIdx.x);
  uint64_t mine = 0;
  GPU_UNROLL
  for (int c = thread; c < row.n; c += int(gridDim.x) * kGroupThreads) {
    const uint64_t key = row.key(c);
    if (key > mine) mine = key;
  }
  GPU_UNROLL
  for (int offset = kRun / 2; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(kAllLanes, mine, offset);
    if (other > mine) mine = other;
  }
  if (thread % kRun == 0) largest[int64_t(blockIdx.y) * kGroups + thread / kRun] = mine;
}

struct Room {
  int groups[kGroups];  // whose largest reach the bound
  int n_groups;
  uint64_t found[kRoom];
  int n_found;
};

// How many of n keys stand before this one.
GPU_FN int place_of(const uint64_t* keys, int n, uint64_t key) {
  int place = 0;
  for (int i = 0; i < n; ++i) place += keys[i] > key;
  return place;
}

// A bound that k of the block's keys reach, one of each thread. 0: fewer than k are not 0.
GPU_FN uint64_t bound_of(uint64_t mine, int k) {
  uint64_t bound = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t higher = bound | uint64_t(1) << bit;
    const int reach = __syncthreads_count(mine >= higher);
    if (reach >= k) bound = higher;
    if (reach == k) break;  // nor does it matter what the other bits are
  }
  return bound;
}

// Collects the keys of room.groups that reach the bound, as many as there is room for. Returns how many there are.
// Eight threads take a group, `apart` columns from one run of it to the next.
GPU_FN int collect(const Row& row, int apart, uint64_t bound, Room& room) {
  constexpr int kBatch = 8;  // runs that are read at once
  __syncthreads();           // threads may still be reading what the call before found
  if (threadIdx.x == 0) room.n_found = 0;
  __syncthreads();
  for (int i = int(threadIdx.x) / kRun; i < room.n_groups; i += kThreads / kRun) {
    for (int c = room.groups[i] * kRun + int(threadIdx.x) % kRun; c < row.n; c += kBatch * apart) {
      uint64_t keys[kBatch];
      GPU_UNROLL
      for (int j = 0; j < kBatch; ++j) keys[j] = c + j * apart < row.n ? row.key(c + j * apart) : 0;
      GPU_UNROLL
      for (int j = 0; j < kBatch; ++j) {
        if (keys[j] < bound || keys[j] == 0) continue;
        const int slot = atomicAdd(&room.n_found, 1);
        if (slot < kRoom) room.found[slot] = keys[j];
      }
    }
  }
  __syncthreads();
  return room.n_found;
}

__global__ void __launch_bounds__(kThreads) largest_kernel(Mat<const float> x, const uint32_t* without,
                                                           const uint64_t* largest, int n_groups, Mat<Entry> best) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(Room, rooms, 1);
  Room& room = rooms[0];
  const Row row = {x.data + int64_t(blockIdx.x) * x.stride, without, int(x.cols)};
  const int k = int(best.cols), thread = int(threadIdx.x);
  if (thread == 0) room.n_groups = 0;
  const uint64_t mine = thread < n_groups ? largest[int64_t(blockIdx.x) * kGroups + thread] : 0;
  uint64_t bound = bound_of(mine, k), above = ~uint64_t(0);  // k keys or more reach the one, fewer the other
  if (mine > 0 && mine >= bound) room.groups[atomicAdd(&room.n_groups, 1)] = thread;
  int n = collect(row, n_groups * kRun, bound, room);
  while (n > kRoom) {
    const uint64_t middle = bound + (above - bound) / 2;
    const int reach = collect(row, n_groups * kRun, middle, room);
    if (reach >= k) {
      bound = middle;
      n = reach;
    } else {
      above = middle;
    }
  }
  for (int i = thread; i < n; i += kThreads) {
    const int place = place_of(room.found, n, room.found[i]), column = column_of(room.found[i]);
    if (place < k) best.data[int64_t(blockIdx.x) * best.stride + place] = {column, row.value(column)};
  }
}

}  // namespace

size_t largest_scratch(const ScratchLimits& limits) {
  return size_t(std::min(limits.max_tokens, kLargestRows)) * kGroups * sizeof(uint64_t);
}

void largest(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best) {
  assert(best.rows == x.rows && best.cols <= x.cols && best.cols <= kMostLargest);
  if (best.cols == 0) return;
  const Queue& queue = queue_of(exec);
  const auto blocks =
      unsigned(std::min<int64_t>((x.cols + kGroupThreads - 1) / kGroupThreads, kGroups / kGroupsOfBlock));
  auto* groups = reinterpret_cast<uint64_t*>(exec.scratch.data());
  for (int64_t t = 0; t < x.rows; t += kLargestRows) {
    const int64_t n = std::min(x.rows - t, kLargestRows);
    const Mat<const float> rows = x.slice(t, n);
    assert(size_t(n) * kGroups * sizeof(uint64_t) <= exec.scratch.size());
    launch_early("largest_groups", group_kernel, dim3(blocks, unsigned(n)), dim3(kGroupThreads), 0, queue, rows,
                 without, groups);
    launch_early("largest", largest_kernel, dim3(unsigned(n)), dim3(kThreads), 0, queue, rows, without, groups,
                 int(blocks) * kGroupsOfBlock, best.slice(t, n));
  }
}

}  // namespace hearth::gpu
