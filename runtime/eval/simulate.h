// A recording of the router replayed on a machine that need not be there: how often the experts of a token are found in
// the GPU's memory, and how fast that makes decoding. For every size of that memory's pool and every policy:
//
//   time of a step =  token_bytes / vram_bandwidth
//                   + sum over MoE layers of max(found * expert_bytes / vram_bandwidth,
//                                                 missed * expert_bytes / ram_bandwidth
//                                                 + copied / layers / ram_bandwidth + from_disk / disk_bandwidth)
//
// found, missed: different experts that the layer's tokens use and the pool holds, or does not. copied: bytes on their
// way to the GPU during the step, which are read from the same memory as the CPU reads; they are limited to what the
// bus moves in the time of the step before, and are found from the step after next on. Where the bus's bandwidth is not
// known (0) copies are free, unlimited and there at once: what a policy would be worth as such. from_disk: experts that
// the host needs and does not have: its memory keeps those last used, up to machine.ram. Without a GPU (vram 0) all of
// it is the host's. Reading bytes is all that decoding is taken to cost; launches, attention over a long context and
// arithmetic come on top.
//
// The optimum knows the future: of what it holds and what the token just used, it keeps what is used again soonest
// (Belady 1966). Its copies are always free and there at once: it is a bound, not a policy.
#pragma once

#include <optional>
#include <vector>

#include "runtime/eval/expert_trace.h"
#include "runtime/offload/expert_use.h"
#include "runtime/offload/machine.h"

namespace hearth {

struct SimulationInput {
  Machine machine;
  std::vector<float> counts;   // [layers][experts] of earlier sessions, which policies begin with; empty: none
  double tokens = 0;           // seen for them
  std::vector<double> shares;  // of all experts: sizes of the pool
};

struct SimulatedPolicy {
  const char* name = "";  // "static", "LRU", "LFU", "adaptive", "optimum"
  double hit_rate = 0;    // of the different experts that decode steps use
  double tok_s = 0;       // decoded; 0: a bandwidth that matters is not known
  uint64_t bytes_copied = 0, bytes_from_disk = 0;
};

struct SimulatedSize {
  double share = 0;  // of all experts
  int64_t n_slots = 0;
  uint64_t bytes = 0;
  std::vector<SimulatedPolicy> policies;
};

struct Simulation {
  int64_t n_decoded = 0, n_slices = 0;  // tokens; slices of prompts
  bool static_in_hindsight = false;     // no counts: the static set is that of this very recording
  uint64_t all_expert_bytes = 0;
  std::optional<double> vram_share;  // of all experts, what machine.vram holds besides fixed_bytes
  std::vector<SimulatedSize> sizes;
};

// 0, 5, 10, 20 ... 100 %.
std::vector<double> usual_shares();

// Sizes are those asked for and, where the machine has a GPU, what its memory holds. Throws Error(usage): no decode
// step in the recording; shares outside [0, 1]; counts of another shape.
Simulation simulate(const ExpertTrace& trace, const SimulationInput& input);

}  // namespace hearth
