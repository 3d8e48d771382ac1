// Which experts are in fast memory, and which should be instead. Bookkeeping only: no memory, no device, no threads.
// The expert cache carries out what is asked for here, and the simulator only counts it.
//
// Memory comes in slots of one or several sizes. A class of slots serves the layers whose experts have its size, in
// whatever shares use suggests. An expert is `absent`, `arriving` (it has a slot, its copy is under way) or `resident`.
// The one whose slot is given away is absent from that moment on. It changes only where an expert is computed, never
// whether.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "runtime/offload/expert_use.h"

namespace hearth {

struct ResidencyShape {
  int64_t n_layers = 0, n_experts = 0;  // MoE layers, counted from 0; experts of each
  std::vector<int> slot_class;          // [n_layers]
  std::vector<uint64_t> expert_bytes;   // [n_layers]
  std::vector<int64_t> n_slots;         // [classes]
};

struct SwapLimit {
  int64_t count = std::numeric_limits<int64_t>::max();
  uint64_t bytes = std::numeric_limits<uint64_t>::max();
};

// Slot `slot` of a class goes from one expert (expert < 0: it was free) to another.
struct Swap {
  struct Expert {
    int64_t layer = -1, expert = -1;
    bool operator==(const Expert&) const = default;
  };
  int slot_class = 0;
  int64_t slot = 0;
  Expert evict, admit;
};

class Residency {
 public:
  enum class State : uint8_t { absent, arriving, resident };

  // Throws nothing; counts below zero, more slots than experts of a class and layers without class are our mistakes.
  Residency(ResidencyShape shape, ExpertPolicy policy);

  const ResidencyShape& shape() const { return shape_; }
  ExpertUse& use() { return use_; }
  const ExpertUse& use() const { return use_; }

  // Gives the free slots to the experts of the highest values (ExpertUse::load); among equal values the layers take
  // turns. All of them are arriving then.
  std::vector<Swap> fill();

  // Between two steps: the swaps that are worth a copy now, the greatest gain first. They count as begun when this
  // returns: evicted experts are absent, admitted ones arriving.
  std::vector<Swap> begin_swaps(const SwapLimit& limit = {});
  void arrived(int slot_class, int64_t slot);

  State state(int64_t layer, int64_t expert) const;
  int64_t slot(int64_t layer, int64_t expert) const;  // of a resident expert, within its class; else -1

 private:
  struct Move {
    float gain = 0;
    int slot_class = 0;
    int32_t evict = -1, admit = 0;  // layer * n_experts + expert; -1: into a free slot
  };
  void propose(int slot_class, int64_t at_most, std::vector<Move>& moves);
  Swap carry_out(const Move& move);
  Swap::Expert named(int32_t expert) const;

  ResidencyShape shape_;
  ExpertUse use_;
  ExpertPolicy policy_;
  std::vector<std::vector<int32_t>> layers_;     // [classes]: of a class
  std::vector<std::vector<int32_t>> expert_in_;  // [classes][slots]; -1: free
  std::vector<std::vector<int32_t>> free_;       // [classes]: slots
  std::vector<State> state_;                     // [n_layers][n_experts]
  std::vector<int32_t> slot_of_;                 // [n_layers][n_experts], unless absent
  std::vector<int32_t> candidates_, victims_;    // room for propose: experts
};

}  // namespace hearth
