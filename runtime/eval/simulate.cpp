#include "runtime/eval/simulate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <list>
#include <queue>

#include "quant/error.h"
#include "runtime/offload/residency.h"

namespace hearth {
namespace {

// The recording as policies see it: of each step and layer, which experts it uses, each once.
struct Steps {
  int64_t n_layers = 0, n_experts = 0;
  std::vector<std::vector<int32_t>> used;  // [steps]: layer * n_experts + expert, by rising layer
};

Steps distinct_uses(const ExpertTrace& trace) {
  Steps steps{trace.shape.n_layers, trace.shape.n_experts, {}};
  for (const TraceStep& step : trace.steps) {
    auto& used = steps.used.emplace_back();
    const size_t per_layer = size_t(step.n_tokens * trace.shape.n_activated);
    for (int64_t layer = 0; layer < steps.n_layers; ++layer) {
      for (size_t i = 0; i < per_layer; ++i)
        used.push_back(int32_t(layer * steps.n_experts) + step.ids[size_t(layer) * per_layer + i]);
    }
    std::ranges::sort(used);
    used.erase(std::unique(used.begin(), used.end()), used.end());
  }
  return steps;
}

// Layers by the size of their experts, and how many slots of each size a share of all experts makes.
ResidencyShape shape_with(const TraceShape& trace, double share) {
  ResidencyShape shape{trace.n_layers, trace.n_experts, {}, trace.expert_bytes, {}};
  std::vector<uint64_t> sizes;
  std::vector<int64_t> n_layers;
  for (const uint64_t bytes : trace.expert_bytes) {
    const size_t cls = size_t(std::ranges::find(sizes, bytes) - sizes.begin());
    if (cls == sizes.size()) {
      sizes.push_back(bytes);
      n_layers.push_back(0);
    }
    ++n_layers[cls];
    shape.slot_class.push_back(int(cls));
  }
  for (const int64_t n : n_layers) shape.n_slots.push_back(int64_t(share * double(n * trace.n_experts) + 1e-6));
  return shape;
}

// The host's memory as a cache of experts of the file: the last ones used stay.
class HostMemory {
 public:
  HostMemory(const TraceShape& shape, uint64_t capacity) : shape_(shape), left_(capacity) {
    uint64_t all = 0;
    for (const uint64_t bytes : shape.expert_bytes) all += bytes * uint64_t(shape.n_experts);
    holds_all_ = capacity == 0 || all <= capacity;
    where_.resize(size_t(shape.n_layers * shape.n_experts), order_.end());
  }
  // Bytes that the disk must deliver for it.
  uint64_t read(int32_t expert) {
    if (holds_all_) return 0;
    const uint64_t bytes = bytes_of(expert);
    auto& at = where_[size_t(expert)];
    const bool held = at != order_.end();
    if (held) {
      order_.splice(order_.begin(), order_, at);
      return 0;
    }
    while (left_ < bytes && !order_.empty()) {
      left_ += bytes_of(order_.back());
      where_[size_t(order_.back())] = order_.end();
      order_.pop_back();
    }
    if (left_ >= bytes) {
      left_ -= bytes;
      order_.push_front(expert);
      at = order_.begin();
    }
    return bytes;
  }

 private:
  uint64_t bytes_of(int32_t expert) const { return shape_.expert_bytes[size_t(expert / shape_.n_experts)]; }

  const TraceShape& shape_;
  uint64_t left_;
  bool holds_all_ = true;
  std::list<int32_t> order_;  // the last used first
  std::vector<std::list<int32_t>::iterator> where_;
};

// What a policy did, added up over decode steps; the clock runs through slices of the prompt too.
class Meter {
 public:
  Meter(const TraceShape& shape, const Machine& machine) : shape_(shape), machine_(machine), host_(shape, machine.ram) {
    const bool gpu = machine.vram > 0;
    known_ = machine.ram_bandwidth > 0 && (!gpu || machine.vram_bandwidth > 0);
  }

  // The time of a step that decodes so many tokens (0: a slice of a prompt), uses `used`, finds some of them and has
  // `copied` bytes under way.
  template <class Found>
  double step(const std::vector<int32_t>& used, int64_t n_decoded, uint64_t copied, const Found& found) {
    double gpu[2] = {}, seconds = 0;  // found bytes, missed bytes of the layer at hand
    uint64_t disk = 0, hits = 0, all_disk = 0;
    const double copies = double(copied) / double(shape_.n_layers);
    const auto end_layer = [&] {
      const double on_host =
          over(gpu[1] + copies, machine_.ram_bandwidth) + over(double(disk), machine_.disk_bandwidth);
      seconds += std::max(over(gpu[0], machine_.vram_bandwidth), on_host);
      gpu[0] = gpu[1] = 0;
      disk = 0;
    };
    int64_t layer = 0;
    for (const int32_t expert : used) {
      for (; layer < expert / shape_.n_experts; ++layer) end_layer();
      const bool hit = found(expert);
      gpu[hit ? 0 : 1] += double(shape_.expert_bytes[size_t(layer)]);
      hits += hit;
      if (hit) continue;
      const uint64_t from_disk = host_.read(expert);
      if (from_disk > 0 && machine_.disk_bandwidth == 0) known_ = false;
      disk += from_disk;
      all_disk += from_disk;
    }
    for (; layer < shape_.n_layers; ++layer) end_layer();
    seconds += over(double(shape_.token_bytes), machine_.vram > 0 ? machine_.vram_bandwidth : machine_.ram_bandwidth);
    if (n_decoded > 0) {
      hits_ += hits;
      uses_ += used.size();
      decode_seconds_ += seconds;
      n_decoded_ += n_decoded;
      from_disk_ += all_disk;
    }
    return seconds;
  }
  void add_copied(uint64_t bytes) { copied_ += bytes; }

  SimulatedPolicy result(const char* name) const {
    const bool known = known_ && (machine_.vram > 0 || hits_ == 0);
    return {name, uses_ ? double(hits_) / double(uses_) : 0,
            known && decode_seconds_ > 0 ? double(n_decoded_) / decode_seconds_ : 0, copied_, from_disk_};
  }

 private:
  static double over(double bytes, double bandwidth) { return bandwidth > 0 ? bytes / bandwidth : 0; }

  const TraceShape& shape_;
  const Machine& machine_;
  HostMemory host_;
  bool known_ = true;
  uint64_t hits_ = 0, uses_ = 0, copied_ = 0, from_disk_ = 0;
  int64_t n_decoded_ = 0;
  double decode_seconds_ = 0;
};

SimulatedPolicy run_policy(const ExpertTrace& trace, const Steps& steps, const SimulationInput& input,
                           ExpertPolicy policy, const ResidencyShape& shape) {
  Residency residency(shape, policy);
  if (!input.counts.empty()) residency.use().load(input.counts, input.tokens);
  for (const Swap& swap : residency.fill()) residency.arrived(swap.slot_class, swap.slot);
  Meter meter(trace.shape, input.machine);
  const double bus = input.machine.pcie_bandwidth;
  std::vector<Swap> under_way;
  uint64_t bytes_under_way = 0;
  std::vector<int32_t> ids;
  for (size_t i = 0; i < trace.steps.size(); ++i) {
    const TraceStep& step = trace.steps[i];
    const double seconds = meter.step(steps.used[i], step.n_decoded(), bytes_under_way, [&](int32_t expert) {
      return residency.state(expert / steps.n_experts, expert % steps.n_experts) == Residency::State::resident;
    });
    for (const Swap& swap : under_way) residency.arrived(swap.slot_class, swap.slot);
    const size_t per_layer = size_t(step.n_tokens * trace.shape.n_activated);
    for (int64_t layer = 0; layer < steps.n_layers; ++layer) {
      const auto first = step.ids.begin() + layer * ptrdiff_t(per_layer);
      ids.assign(first, first + ptrdiff_t(per_layer));
      residency.use().note(layer, ids, step.n_tokens, step.decodes);
    }
    residency.use().end_step();
    under_way = residency.begin_swaps(bus > 0 ? SwapLimit{.bytes = uint64_t(bus * seconds)} : SwapLimit{});
    bytes_under_way = 0;
    for (const Swap& swap : under_way) bytes_under_way += shape.expert_bytes[size_t(swap.admit.layer)];
    meter.add_copied(bytes_under_way);
    if (bus > 0) continue;
    for (const Swap& swap : under_way) residency.arrived(swap.slot_class, swap.slot);
    under_way.clear();
    bytes_under_way = 0;
  }
  return meter.result(policy_name(policy).data());
}

SimulatedPolicy run_optimum(const ExpertTrace& trace, const Steps& steps, const Machine& machine,
                            const ResidencyShape& shape) {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  const size_t n = size_t(steps.n_layers * steps.n_experts);
  std::vector<std::vector<int64_t>> when(n);  // steps that use it, the last first; slices of prompts do not count
  const auto counts = [&](size_t step) { return trace.steps[step].decodes; };
  for (size_t i = steps.used.size(); i-- > 0;)
    if (counts(i))
      for (const int32_t expert : steps.used[i]) when[size_t(expert)].push_back(int64_t(i));
  const auto next = [&](int32_t expert) { return when[size_t(expert)].empty() ? kNever : when[size_t(expert)].back(); };
  const auto class_of = [&](int32_t expert) { return size_t(shape.slot_class[size_t(expert / steps.n_experts)]); };
  using Held = std::pair<int64_t, int32_t>;  // used next, expert: outdated once it has been used
  std::vector<std::priority_queue<Held>> held(shape.n_slots.size());
  std::vector<bool> is_held(n);
  std::vector<int32_t> all(n);
  for (size_t i = 0; i < n; ++i) all[i] = int32_t(i);
  std::ranges::stable_sort(all, std::less{}, next);
  std::vector<int64_t> room = shape.n_slots;
  for (const int32_t expert : all) {
    if (room[class_of(expert)]-- <= 0) continue;
    is_held[size_t(expert)] = true;
    held[class_of(expert)].push({next(expert), expert});
  }
  Meter meter(trace.shape, machine);
  for (size_t i = 0; i < steps.used.size(); ++i) {
    meter.step(steps.used[i], trace.steps[i].n_decoded(), 0, [&](int32_t expert) { return is_held[size_t(expert)]; });
    if (!counts(i)) continue;
    for (const int32_t expert : steps.used[i]) when[size_t(expert)].pop_back();
    for (const int32_t expert : steps.used[i])
      if (is_held[size_t(expert)]) held[class_of(expert)].push({next(expert), expert});
    for (const int32_t expert : steps.used[i]) {
      auto& queue = held[class_of(expert)];
      if (is_held[size_t(expert)] || shape.n_slots[class_of(expert)] == 0) continue;
      const auto outdated = [&](const Held& h) { return !is_held[size_t(h.second)] || next(h.second) != h.first; };
      while (outdated(queue.top())) queue.pop();
      if (queue.top().first <= next(expert)) continue;
      is_held[size_t(queue.top().second)] = false;
      queue.pop();
      is_held[size_t(expert)] = true;
      queue.push({next(expert), expert});
      meter.add_copied(trace.shape.expert_bytes[size_t(expert / steps.n_experts)]);
    }
  }
  return meter.result("optimum");
}

void check(const ExpertTrace& trace, const SimulationInput& input) {
  const bool decodes = std::ranges::any_of(trace.steps, &TraceStep::decodes);
  require(decodes, ErrorKind::usage, "the recording holds no decoded token (see --token-by-token)");
  const size_t n = size_t(trace.shape.n_layers * trace.shape.n_experts);
  require(input.counts.empty() || input.counts.size() == n, ErrorKind::usage,
          "statistics: expected {} layers of {} experts", trace.shape.n_layers, trace.shape.n_experts);
  for (const double share : input.shares)
    require(share >= 0 && share <= 1, ErrorKind::usage, "share of experts: expected 0 to 1, found {}", share);
}

}  // namespace

std::vector<double> usual_shares() {
  return {0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
}

Simulation simulate(const ExpertTrace& trace, const SimulationInput& input) {
  check(trace, input);
  const Steps steps = distinct_uses(trace);
  Simulation result;
  for (const TraceStep& step : trace.steps) {
    result.n_decoded += step.n_decoded();
    result.n_slices += !step.decodes;
  }
  for (const uint64_t bytes : trace.shape.expert_bytes)
    result.all_expert_bytes += bytes * uint64_t(trace.shape.n_experts);
  std::vector<double> shares = input.shares;
  if (const uint64_t vram = input.machine.vram; vram > 0) {
    const double room = double(vram - std::min(vram, trace.shape.fixed_bytes));
    result.vram_share = std::min(1.0, room / double(result.all_expert_bytes));
    shares.push_back(*result.vram_share);
  }
  std::ranges::sort(shares);
  shares.erase(std::unique(shares.begin(), shares.end()), shares.end());

  SimulationInput for_static = input;
  result.static_in_hindsight = input.counts.empty();
  if (result.static_in_hindsight) {
    for_static.counts.assign(size_t(steps.n_layers * steps.n_experts), 0);
    for_static.tokens = double(result.n_decoded);
    for (size_t i = 0; i < steps.used.size(); ++i)
      for (const int32_t expert : steps.used[i]) for_static.counts[size_t(expert)] += trace.steps[i].decodes;
  }
  for (const double share : shares) {
    const ResidencyShape shape = shape_with(trace.shape, share);
    SimulatedSize& size = result.sizes.emplace_back();
    size.share = share;
    for (const int64_t n : shape.n_slots) size.n_slots += n;
    for (size_t layer = 0; layer < shape.expert_bytes.size(); ++layer) {  // a class's slots are of one size
      const size_t cls = size_t(shape.slot_class[layer]);
      const bool first = std::ranges::find(shape.slot_class, int(cls)) - shape.slot_class.begin() == ptrdiff_t(layer);
      if (first) size.bytes += uint64_t(shape.n_slots[cls]) * shape.expert_bytes[layer];
    }
    size.policies.push_back(run_policy(trace, steps, for_static, ExpertPolicy::fixed, shape));
    for (const ExpertPolicy policy : {ExpertPolicy::lru, ExpertPolicy::lfu, ExpertPolicy::adaptive})
      size.policies.push_back(run_policy(trace, steps, input, policy, shape));
    size.policies.push_back(run_optimum(trace, steps, input.machine, shape));
  }
  return result;
}

}  // namespace hearth
