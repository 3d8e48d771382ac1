// The k largest of each row [T,n], so that a step of the model hands out some of its logits, and not half a megabyte of
// them.
//
// A block takes a row. Every column has a key that no other has: the order of its value, then its number, the lowest
// first. Each thread finds the largest key of every kThreads-th column. At least k keys of the row reach the k-th
// largest of those, and mostly few more: threads whose own largest reaches it go over their columns again and collect
// them. Then each of these counts how many stand before it: the count is its place.
//
// Where more reach that bound than there is room for (the largest values are in the columns of few threads) it is
// raised by bisection, and the row read again in each step of that: slow, and right.
//
// Bound by what one multiprocessor reads: a row of V3's logits is 0.5 MB.
#include "kernels/cuda/largest.h"

#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/order.cuh"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 1024, kRoom = 2048;
static_assert(kMostLargest <= kThreads);

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

struct Room {
  uint64_t largest[kThreads];  // of each thread's columns; 0: it has none
  uint64_t found[kRoom];
  uint64_t bound;
  int n_found;
};

// How many of n keys stand before this one.
GPU_FN int place_of(const uint64_t* keys, int n, uint64_t key) {
  int place = 0;
  for (int i = 0; i < n; ++i) place += keys[i] > key;
  return place;
}

// Collects the keys that reach the bound, as many as there is room for. Returns how many there are. `mine` is the
// largest of this thread.
GPU_FN int collect(const Row& row, uint64_t mine, uint64_t bound, Room& room) {
  __syncthreads();  // threads may still be reading what the call before found
  if (threadIdx.x == 0) room.n_found = 0;
  __syncthreads();
  if (mine >= bound) {
    for (int c = int(threadIdx.x); c < row.n; c += kThreads) {
      const uint64_t key = row.key(c);
      if (key < bound) continue;
      const int slot = atomicAdd(&room.n_found, 1);
      if (slot < kRoom) room.found[slot] = key;
    }
  }
  __syncthreads();
  return room.n_found;
}

__global__ void __launch_bounds__(kThreads)
    largest_kernel(Mat<const float> x, const uint32_t* without, Mat<Entry> best) {
  launch_dependents();
  wait_for_earlier();
  GPU_SHARED(Room, rooms, 1);
  Room& room = rooms[0];
  const Row row = {x.data + int64_t(blockIdx.x) * x.stride, without, int(x.cols)};
  const int k = int(best.cols);
  uint64_t mine = 0;
  GPU_UNROLL
  for (int c = int(threadIdx.x); c < row.n; c += kThreads) {
    const uint64_t key = row.key(c);
    if (key > mine) mine = key;
  }
  room.largest[threadIdx.x] = mine;
  __syncthreads();
  if (mine > 0 && place_of(room.largest, kThreads, mine) == k - 1) room.bound = mine;
  __syncthreads();
  uint64_t bound = room.bound, above = ~uint64_t(0);  // k keys or more reach the one, fewer the other
  int n = collect(row, mine, bound, room);
  while (n > kRoom) {
    const uint64_t middle = bound + (above - bound) / 2;
    const int reach = collect(row, mine, middle, room);
    if (reach >= k) {
      bound = middle;
      n = reach;
    } else {
      above = middle;
    }
  }
  for (int i = int(threadIdx.x); i < n; i += kThreads) {
    const int place = place_of(room.found, n, room.found[i]), column = column_of(room.found[i]);
    if (place < k) best.data[int64_t(blockIdx.x) * best.stride + place] = {column, row.value(column)};
  }
}

}  // namespace

void largest(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best) {
  assert(best.rows == x.rows && best.cols <= x.cols && best.cols <= kMostLargest);
  if (x.rows == 0 || best.cols == 0) return;
  launch_early("largest", largest_kernel, dim3(unsigned(x.rows)), dim3(kThreads), 0, queue_of(exec), x, without, best);
}

}  // namespace hearth::gpu
