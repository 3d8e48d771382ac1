#include "runtime/offload/expert_stage.h"

#include <algorithm>
#include <thread>

namespace hearth {

ExpertStage::Batch ExpertStage::next_batch(std::span<const int32_t> experts) {
  Batch batch{{experts.begin(), experts.end()}, int64_t(half_ * batch_size())};
  half_ = 1 - half_;
  return batch;
}

void ExpertStage::begin_copies(int64_t layer, Batch& batch) {
  int64_t slot = batch.first_slot;
  for (const int32_t expert : batch.experts) {
    batch.last_copy = pool_.stage(layer, expert, slot++);
    bytes_copied_ += pool_.expert_bytes(layer);
  }
}

void ExpertStage::reset() {
  if (prefetched_layer_ < 0) return;
  while (!device_.fetched(prefetched_.last_copy)) std::this_thread::yield();
  prefetched_layer_ = -1;
}

void ExpertStage::prefetch(int64_t layer, std::span<const int32_t> experts) {
  if (experts.empty() || batch_size() == 0) return;
  device_.order_fetch();  // what is queued still reads those slots
  prefetched_ = next_batch(experts.first(std::min(experts.size(), batch_size())));
  prefetched_layer_ = layer;
  begin_copies(layer, prefetched_);
}

std::span<const int32_t> ExpertStage::on_their_way(int64_t layer) const {
  return prefetched_layer_ == layer ? std::span<const int32_t>(prefetched_.experts) : std::span<const int32_t>();
}

// All that was queued is done: both halves are free but for what was prefetched.
void ExpertStage::begin(int64_t layer, std::span<const int32_t> experts) {
  batches_.clear();
  std::vector<int32_t> rest(experts.begin(), experts.end());
  if (prefetched_layer_ == layer) {
    std::erase_if(rest,
                  [&](int32_t e) { return std::ranges::find(prefetched_.experts, e) != prefetched_.experts.end(); });
    batches_.push_back(std::move(prefetched_));
  }
  prefetched_layer_ = -1;
  for (size_t at = 0; at < rest.size(); at += batch_size())
    batches_.push_back(next_batch(std::span(rest).subspan(at, std::min(batch_size(), rest.size() - at))));
  for (size_t i = 0; i < std::min<size_t>(2, batches_.size()); ++i)
    if (batches_[i].last_copy < 0) begin_copies(layer, batches_[i]);
}

bool ExpertStage::compute(int64_t layer, const Chosen& chosen, Mat<const float> x, Mat<float> part, Mat<float> y) {
  bool waited = false;
  for (size_t i = 0; i < batches_.size(); ++i) {
    Batch& batch = batches_[i];
    waited = waited || !device_.fetched(batch.last_copy);
    device_.await_fetch(batch.last_copy);
    const FfnWeights experts = pool_.staged(layer, batch.experts, batch.first_slot);
    ops_.moe_ffn(exec_, experts, {}, chosen.ids, chosen.weights, chosen.n_activated, x, part);
    ops_.add(exec_, part, y);
    if (i + 2 >= batches_.size()) continue;
    device_.order_fetch();
    begin_copies(layer, batches_[i + 2]);
  }
  batches_.clear();
  return waited;
}

}  // namespace hearth
