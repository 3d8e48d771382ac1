// The T K slots of a mixture of experts (a token and one of its experts) in order of their experts. Made on the device,
// because the routing is there. All pointers are device pointers.
//
// Slots of one expert stay in the order of their tokens, so that every run gives the same bits. From the sorted slots
// follows a list of (expert, tile of slots), whose length depends on the routing: grids have the length that the list
// cannot exceed, and blocks beyond its end return. Experts that are not in this memory get no work.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul/tile_product.h"

namespace hearth::gpu {

struct SlotOrder {
  int32_t* first = nullptr;     // [E] place of an expert's first slot in the sorted order
  int32_t* token_of = nullptr;  // [T K] by place: the slot's token
  int32_t* place_of = nullptr;  // [T K] by slot; -1: its expert is not in this memory
  TileWork* work = nullptr;     // [max_work]
  int32_t* n_work = nullptr;    // [1]

  SlotOrder() = default;
  // In memory of a Scratch (which is each file's own), for tiles of so many slots or more.
  template <class Scratch>
  SlotOrder(Scratch& scratch, int64_t n_slots, int64_t n_experts, int tile)
      : first(scratch.template take<int32_t>(n_experts)),
        token_of(scratch.template take<int32_t>(n_slots)),
        place_of(scratch.template take<int32_t>(n_slots)),
        work(scratch.template take<TileWork>(max_work(n_slots, n_experts, tile))),
        n_work(scratch.template take<int32_t>(1)) {}
  static int64_t max_work(int64_t n_slots, int64_t n_experts, int tile) {
    return std::min(n_slots, n_slots / tile + n_experts);
  }
};

// Queues the sorting of ids [T K]; matrices [E]: an expert's matrix, negative: absent; null: expert e is matrix e.
void sort_slots(const int32_t* ids, const int32_t* matrices, int64_t n_slots, int64_t n_activated, int64_t n_experts,
                int tile, const SlotOrder& order, const Queue& queue);

// Queues y[t, c] = (shared: y[t, c]) + sum_k weights[t,k] * results[place of slot (t, k), c], in the order of k.
void sum_slots(const float* results, const SlotOrder& order, const float* weights, int64_t n_activated, bool shared,
               Mat<float> y, const Queue& queue);

}  // namespace hearth::gpu
