#include "runtime/offload/expert_cache.h"

#include <algorithm>
#include <thread>

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;

ResidencyShape shape_of(const ModelSizes& sizes, const Plan& plan) {
  ResidencyShape shape;
  shape.n_layers = int64_t(sizes.experts.size());
  shape.n_experts = sizes.config.n_routed_experts;
  for (const LayerPlan& layer : plan.layers) shape.slot_class.push_back(layer.slot_class);
  for (const ExpertLayer& layer : sizes.experts) shape.expert_bytes.push_back(layer.expert_bytes);
  for (const SlotClass& cls : plan.slots) shape.n_slots.push_back(cls.n_slots);
  return shape;
}

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

ExpertCache::ExpertCache(ExpertPool& pool, Device& device, const ModelSizes& sizes, const Plan& plan,
                         ExpertPolicy policy, std::span<const float> use, double use_tokens, Now now)
    : pool_(pool),
      device_(device),
      now_(now),
      n_dense_(sizes.config.n_dense_layers),
      residency_(shape_of(sizes, plan), policy),
      changes_(policy != ExpertPolicy::fixed),
      last_step_(now()) {
  if (!use.empty()) residency_.use().load(use, use_tokens);
}

// Copies must not go on into memory that somebody else may get.
ExpertCache::~ExpertCache() {
  land(true);
}

void ExpertCache::begin(const Swap& swap) {
  if (swap.evict.expert >= 0) pool_.set(swap.evict.layer + n_dense_, swap.evict.expert, -1);
  const int64_t layer = swap.admit.layer + n_dense_;
  copies_.push_back({swap, pool_.load(layer, swap.admit.expert, swap.slot), pool_.expert_bytes(layer)});
  bytes_under_way_ += copies_.back().bytes;
}

// Copies arrive in order.
void ExpertCache::land(bool wait) {
  while (!copies_.empty()) {
    const Copy& copy = copies_.front();
    while (wait && !device_.fetched(copy.number)) std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (!device_.fetched(copy.number)) break;
    const Swap& swap = copy.swap;
    residency_.arrived(swap.slot_class, swap.slot);
    pool_.set(swap.admit.layer + n_dense_, swap.admit.expert, int32_t(swap.slot));
    bytes_under_way_ -= copy.bytes;
    landed_since_ += copy.bytes;
    counts_.bytes_moved += copy.bytes;
    ++counts_.swaps;
    copies_.pop_front();
  }
}

void ExpertCache::fill(const std::function<void(uint64_t done, uint64_t total)>& progress) {
  device_.order_fetch();                           // the memory is being cleared
  constexpr uint64_t kAtOnce = uint64_t(1) << 30;  // if `progress` throws, the destructor waits for the copies begun
  const std::vector<Swap> swaps = residency_.fill();
  uint64_t total = 0, begun = 0;
  for (const Swap& swap : swaps) total += pool_.expert_bytes(swap.admit.layer + n_dense_);
  const Clock::time_point start = now_();
  for (size_t next = 0; next < swaps.size() || !copies_.empty();) {
    for (; next < swaps.size() && bytes_under_way_ < kAtOnce; ++next) {
      begun += pool_.expert_bytes(swaps[next].admit.layer + n_dense_);
      begin(swaps[next]);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    land(false);
    if (progress) progress(begun - bytes_under_way_, total);
  }
  counts_ = {};
  landed_since_ = 0;
  last_step_ = now_();
  if (total > 0) bandwidth_ = double(total) / std::max(seconds_between(start, last_step_), 1e-6);
}

// Copies share the host's memory with the experts that are computed there, so only a share of what could be copied in
// the time of a step may be under way: as many bytes as arrive in it at half of the speed that was seen.
uint64_t ExpertCache::allowance() {
  constexpr double kShare = 0.5, kFirstGuess = 4e9;
  const Clock::time_point now = now_();
  if (landed_since_ > 0) {
    const double seen = double(landed_since_) / std::max(seconds_between(copies_since_, now), 1e-6);
    bandwidth_ = std::max(seen, bandwidth_);  // steps are coarse: seen is what it was at least
    counts_.copy_seconds += seconds_between(copies_since_, now);
    landed_since_ = 0;
    copies_since_ = now;
  }
  const double step = seconds_between(last_step_, now), rate = bandwidth_ > 0 ? bandwidth_ : kFirstGuess;
  last_step_ = now;
  const uint64_t allowed = uint64_t(kShare * rate * std::min(step, 1.0));
  return allowed > bytes_under_way_ ? allowed - bytes_under_way_ : 0;
}

void ExpertCache::begin_step() {
  residency_.use().end_step();
  land(false);
  const uint64_t allowed = allowance();
  if (!changes_) return;
  SwapLimit limit;
  limit.bytes = allowed;
  if (copies_.empty()) {  // at least one expert may move, even where its copy takes longer than a step
    copies_since_ = last_step_;
    limit.bytes = std::max<uint64_t>(allowed, pool_.largest_expert());
  }
  const std::vector<Swap> swaps = residency_.begin_swaps(limit);
  if (swaps.empty()) return;
  device_.order_fetch();  // steps that are still queued read those slots
  for (const Swap& swap : swaps) begin(swap);
}

void ExpertCache::note(int64_t layer, std::span<const int32_t> ids, const StepKind& step) {
  residency_.use().note(layer - n_dense_, ids, step.n_tokens, step.decodes);
}

}  // namespace hearth
