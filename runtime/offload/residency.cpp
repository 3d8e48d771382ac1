#include "runtime/offload/residency.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace hearth {
namespace {

// The first n of the list in order: by a heap where they are few of many (four times as fast), else by a partition.
template <class Order, class Key>
void sort_first(std::span<int32_t> list, size_t n, Order order, Key key) {
  const auto end = list.begin() + ptrdiff_t(n);
  if (n * 16 < list.size()) {
    std::ranges::partial_sort(list, end, order, key);
    return;
  }
  std::ranges::nth_element(list, end, order, key);
  std::ranges::sort(list.begin(), end, order, key);
}

}  // namespace

Residency::Residency(ResidencyShape shape, ExpertPolicy policy)
    : shape_(std::move(shape)), use_(policy, shape_.n_layers, shape_.n_experts), policy_(policy) {
  assert(int64_t(shape_.slot_class.size()) == shape_.n_layers);
  assert(int64_t(shape_.expert_bytes.size()) == shape_.n_layers);
  layers_.resize(shape_.n_slots.size());
  for (int64_t layer = 0; layer < shape_.n_layers; ++layer)
    layers_[size_t(shape_.slot_class[size_t(layer)])].push_back(int32_t(layer));
  for (size_t cls = 0; cls < shape_.n_slots.size(); ++cls) {
    const int64_t n = shape_.n_slots[cls];
    assert(n >= 0 && n <= int64_t(layers_[cls].size()) * shape_.n_experts);
    expert_in_.emplace_back(size_t(n), -1);
    free_.emplace_back();
    for (int64_t slot = n; slot-- > 0;) free_[cls].push_back(int32_t(slot));  // the first ones are taken first
  }
  const size_t n_experts = size_t(shape_.n_layers * shape_.n_experts);
  state_.assign(n_experts, State::absent);
  slot_of_.assign(n_experts, -1);
  candidates_.resize(n_experts);
  victims_.resize(n_experts);
}

Swap::Expert Residency::named(int32_t expert) const {
  if (expert < 0) return {};
  return {expert / shape_.n_experts, expert % shape_.n_experts};
}

Residency::State Residency::state(int64_t layer, int64_t expert) const {
  return state_[size_t(layer * shape_.n_experts + expert)];
}

int64_t Residency::slot(int64_t layer, int64_t expert) const {
  return state(layer, expert) == State::resident ? slot_of_[size_t(layer * shape_.n_experts + expert)] : -1;
}

std::vector<Swap> Residency::fill() {
  const auto values = use_.values();
  std::vector<Swap> swaps;
  for (size_t cls = 0; cls < free_.size(); ++cls) {
    std::vector<int32_t> experts;
    for (int64_t e = 0; e < shape_.n_experts; ++e) {
      for (const int32_t layer : layers_[cls]) {
        const int32_t at = layer * int32_t(shape_.n_experts) + int32_t(e);
        if (state_[size_t(at)] == State::absent) experts.push_back(at);
      }
    }
    std::ranges::stable_sort(experts, std::ranges::greater{}, [&](int32_t at) { return values[size_t(at)]; });
    for (size_t i = 0; !free_[cls].empty(); ++i) swaps.push_back(carry_out({0, int(cls), -1, experts[i]}));
  }
  return swaps;
}

Swap Residency::carry_out(const Move& move) {
  const size_t cls = size_t(move.slot_class), admit = size_t(move.admit);
  if (move.evict < 0) {
    slot_of_[admit] = free_[cls].back();
    free_[cls].pop_back();
  } else {
    slot_of_[admit] = std::exchange(slot_of_[size_t(move.evict)], -1);
    state_[size_t(move.evict)] = State::absent;
  }
  state_[admit] = State::arriving;
  expert_in_[cls][size_t(slot_of_[admit])] = move.admit;
  return {move.slot_class, slot_of_[admit], named(move.evict), named(move.admit)};
}

// The best absent experts of a class take its free slots, and then those of its worst ones, one by one, as long as that
// gains more than a copy costs. All experts are looked at, without branches on what cannot be predicted: 9440 of them
// take some 60 us.
void Residency::propose(int slot_class, int64_t at_most, std::vector<Move>& moves) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float* const value = use_.values().data();
  const float margin = use_.margin();
  const size_t n_free = free_[size_t(slot_class)].size();
  const auto each_expert = [&](const auto& look) {
    for (const int32_t layer : layers_[size_t(slot_class)]) {
      const int32_t first = layer * int32_t(shape_.n_experts), end = first + int32_t(shape_.n_experts);
      for (int32_t at = first; at < end; ++at) look(at, state_[size_t(at)], value[at]);
    }
  };
  float lowest = kInfinity, highest = -kInfinity;
  each_expert([&](int32_t, State state, float v) {
    lowest = state == State::resident && v < lowest ? v : lowest;
    highest = state == State::absent && v > highest ? v : highest;
  });
  const float enough = n_free > 0 ? -kInfinity : lowest + margin;
  if (!(highest > enough)) return;
  size_t n_candidates = 0, n_victims = 0;
  each_expert([&](int32_t at, State state, float v) {
    candidates_[n_candidates] = at;
    n_candidates += size_t(state == State::absent) & size_t(v > enough);
    victims_[n_victims] = at;
    n_victims += size_t(state == State::resident) & size_t(v + margin < highest);
  });
  const size_t n = std::min({size_t(at_most), n_candidates, n_free + n_victims});
  const auto value_of = [&](int32_t at) { return value[at]; };
  sort_first(std::span(candidates_).first(n_candidates), n, std::ranges::greater{}, value_of);
  sort_first(std::span(victims_).first(n_victims), n - std::min(n, n_free), std::ranges::less{}, value_of);
  for (size_t i = 0; i < n; ++i) {
    const float in = value[candidates_[i]];
    if (i < n_free) {
      moves.push_back({kInfinity, slot_class, -1, candidates_[i]});
    } else if (const int32_t victim = victims_[i - n_free]; in > value[victim] + margin) {
      moves.push_back({in - value[victim], slot_class, victim, candidates_[i]});
    }
  }
}

std::vector<Swap> Residency::begin_swaps(const SwapLimit& limit) {
  std::vector<Swap> swaps;
  if (policy_ == ExpertPolicy::fixed || limit.count <= 0) return swaps;
  std::vector<Move> moves;
  for (size_t cls = 0; cls < free_.size(); ++cls) propose(int(cls), limit.count, moves);
  std::ranges::stable_sort(moves, std::ranges::greater{}, &Move::gain);
  uint64_t bytes = 0;
  for (const Move& move : moves) {
    const uint64_t more = shape_.expert_bytes[size_t(move.admit / shape_.n_experts)];
    if (int64_t(swaps.size()) == limit.count || more > limit.bytes - bytes) break;
    bytes += more;
    swaps.push_back(carry_out(move));
  }
  return swaps;
}

void Residency::arrived(int slot_class, int64_t slot) {
  const int32_t expert = expert_in_[size_t(slot_class)][size_t(slot)];
  assert(expert >= 0);
  state_[size_t(expert)] = State::resident;
}

}  // namespace hearth
