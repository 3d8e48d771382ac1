// Experts that are copied to the GPU for one layer of one step, when many tokens want them. They pass through the
// staging slots in batches. A batch takes half of the slots; the next but one is copied over it as soon as the GPU has
// computed with it. The first batch of the next layer follows right behind the last of this one, so that copies go on
// while the rest of the layer computes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/routed_experts.h"
#include "runtime/offload/expert_pool.h"

namespace hearth {

class ExpertStage {
 public:
  ExpertStage(ExpertPool& pool, Device& device, const Ops& ops, const Exec& exec)
      : pool_(pool), device_(device), ops_(ops), exec_(exec) {}

  // Before a step: waits for the copies that an aborted one began, and forgets them.
  void reset();
  // Experts in a batch; 0: there is no room to stage any.
  size_t batch_size() const { return size_t(pool_.n_staging() / 2); }

  // Before the layer's turn: these will be wanted (at most a batch of them counts).
  void prefetch(int64_t layer, std::span<const int32_t> experts);
  std::span<const int32_t> on_their_way(int64_t layer) const;

  // In the host's turn: the GPU will compute these experts, including those on their way.
  void begin(int64_t layer, std::span<const int32_t> experts);
  // After the turn: y += what they give; `part` [T,d] is for what lies between. True: the host had to wait for copies.
  bool compute(int64_t layer, const Chosen& chosen, Mat<const float> x, Mat<float> part, Mat<float> y);

  uint64_t bytes_copied() const { return bytes_copied_; }  // so far, begun

 private:
  struct Batch {
    std::vector<int32_t> experts;
    int64_t first_slot = 0, last_copy = -1;  // -1: not begun
  };
  Batch next_batch(std::span<const int32_t> experts);
  void begin_copies(int64_t layer, Batch& batch);

  ExpertPool& pool_;
  Device& device_;
  const Ops& ops_;
  const Exec& exec_;
  std::vector<Batch> batches_;  // of the layer that has begun
  Batch prefetched_;
  int64_t prefetched_layer_ = -1;
  size_t half_ = 0;  // where the next batch goes
  uint64_t bytes_copied_ = 0;
};

}  // namespace hearth
