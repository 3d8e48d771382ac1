// One MoE layer on two devices at once (docs/experts.md). The GPU routes; the experts it holds, and the
// shared ones, are its own work; the others are the host's, from the mapped file, at the same time:
//
//   x, ids, weights  -> host        one crossing, when the router is done
//   y  = experts in slots + shared  GPU   | meanwhile: sum of the other experts, CPU
//   y += what the host found        one crossing back
//
// Every chosen expert is computed by exactly one of the two: their tables of slots are complements. With many tokens
// some of the host's experts are worth copying to the GPU for this one step (prefill_share.h, expert_stage.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/awake.h"
#include "runtime/model/buffer.h"
#include "runtime/model/routed_experts.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/expert_pool.h"
#include "runtime/offload/expert_stage.h"
#include "runtime/offload/prefill_share.h"
#include "runtime/offload/read_ahead.h"

namespace hearth {

// What the two sides did since the last reset.
struct HybridCounts {
  uint64_t chosen = 0, on_gpu = 0, on_host = 0;  // pairs of a token and an expert
  uint64_t gpu_bytes = 0, host_bytes = 0;        // of experts that either read; the GPU, where they are resident
  double host_seconds = 0;                       // that its operations took
  uint64_t staged = 0;                           // pairs whose expert was copied for the step
  uint64_t staged_bytes = 0;
};

// How a prompt's experts are shared, and from which rates on (0: not known); who is told what the router chose;
// whether what experts give is not to depend on where they are (ModelOptions::reproducible).
struct HybridOptions {
  PrefillPolicy prefill = PrefillPolicy::automatic;
  PrefillRates rates = {};
  RoutingListener listener = {};
  bool reproducible = false;
};

class Hybrid : public RoutedExperts {
 public:
  struct Sides {
    Device& device;
    const Ops& gpu;
    const Exec& gpu_exec;
    const Ops& host;
    int n_threads;
  };
  // limits: as for scratch. Throws Error(resource).
  Hybrid(const ModelConfig& config, const Sides& sides, const ScratchLimits& limits, ExpertPool& pool,
         ExpertCache& cache, const ReadAhead& read_ahead, HybridOptions options);

  void begin(const StepKind& step) override;
  Mat<const float> moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                           Mat<float> y) override;
  // What went wrong in a turn of the host's since somebody last asked; empty: nothing.
  std::string take_failure();

  const HybridCounts& counts() const { return counts_; }
  const PrefillRates& rates() const { return meter_.rates(); }
  size_t gpu_bytes() const { return part_.bytes(); }
  size_t host_bytes() const { return crossing_.bytes() + scratch_.bytes(); }

 private:
  struct Turn {
    Hybrid* self;
    int64_t layer;
  };
  void host_turn(int64_t layer);
  FfnWeights share_with_gpu(int64_t layer, std::span<const int32_t> ids);
  void compute_on_host(int64_t layer, const FfnWeights& experts, std::span<const int32_t> ids);
  void add_copied(int64_t layer, const Chosen& chosen, Mat<const float> x, Mat<float> y);
  std::vector<int32_t> absent_experts(int64_t layer) const;

  const ModelConfig& config_;
  Sides sides_;
  ExpertPool& pool_;
  ExpertCache& cache_;
  const ReadAhead& read_ahead_;
  std::optional<AwakeTeam> awake_;  // while single tokens are decoded
  const HybridOptions options_;
  SharedBuffer crossing_;
  float *x_ = nullptr, *y_ = nullptr, *weights_ = nullptr;  // in it: [T,d], [T,d], [T,K]
  int32_t* ids_ = nullptr;                                  // [T,K]
  Buffer part_;                                             // the GPU's: y_ once it is there
  Buffer scratch_;                                          // the host's operations'
  std::vector<Turn> turns_;
  ExpertStage stage_;
  PrefillRateMeter meter_;
  StepKind step_;
  // Of the layer at hand:
  std::vector<int32_t> host_table_;  // its experts without those that are copied
  size_t n_copied_ = 0;
  uint64_t copied_before_ = 0;
  std::chrono::steady_clock::time_point copies_began_;

  HybridCounts counts_;
  std::string failure_;
};

}  // namespace hearth
