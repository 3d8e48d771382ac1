// Which experts are on the GPU, while the model runs. Residency (residency.h) says what would be worth having there;
// the cache has it copied in the background and lets the pool's tables follow. All of it changes only where an expert
// is computed, never whether: tables change between two steps, an expert that goes leaves them before its slot is
// written, and one that comes enters them when it has arrived.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "runtime/model/routed_experts.h"
#include "runtime/offload/expert_pool.h"
#include "runtime/offload/residency.h"

namespace hearth {

struct CacheCounts {
  uint64_t swaps = 0, bytes_moved = 0;
  double copy_seconds = 0;  // while some copy was under way
};

class ExpertCache {
 public:
  using Now = std::chrono::steady_clock::time_point (*)();

  // use: counts of earlier sessions, [MoE layers][E] of so many tokens; empty: none. now: the clock, but in tests.
  ExpertCache(ExpertPool& pool, Device& device, const ModelSizes& sizes, const Plan& plan, ExpertPolicy policy,
              std::span<const float> use, double use_tokens, Now now = std::chrono::steady_clock::now);
  ~ExpertCache();
  ExpertCache(const ExpertCache&) = delete;
  ExpertCache& operator=(const ExpertCache&) = delete;

  // Fills all slots and waits for it; `progress` is told the bytes that have arrived, of how many.
  void fill(const std::function<void(uint64_t done, uint64_t total)>& progress);

  // Between two steps: experts that have arrived are used from now on, and the swaps that the last steps suggest begin.
  void begin_step();
  // What the router of a layer chose in the step at hand: ids [T,K].
  void note(int64_t layer, std::span<const int32_t> ids, const StepKind& step);

  const ExpertUse& use() const { return residency_.use(); }
  const CacheCounts& counts() const { return counts_; }
  // Bytes/s, as copies were seen to arrive; 0: there were none.
  double bandwidth() const { return bandwidth_; }

 private:
  struct Copy {
    Swap swap;
    int64_t number = 0;  // Device::fetch's
    uint64_t bytes = 0;
  };
  void begin(const Swap& swap);
  void land(bool wait);
  uint64_t allowance();

  ExpertPool& pool_;
  Device& device_;
  const Now now_;
  int64_t n_dense_;
  Residency residency_;
  bool changes_;
  std::deque<Copy> copies_;  // under way, oldest first
  uint64_t bytes_under_way_ = 0;
  std::chrono::steady_clock::time_point last_step_, copies_since_;
  double bandwidth_ = 0;
  uint64_t landed_since_ = 0;
  CacheCounts counts_;
};

}  // namespace hearth
