#include "runtime/offload/placement.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>

#include "runtime/model/activations.h"
#include "runtime/model/kv_cache.h"
#include "runtime/offload/host_ubatch.h"
#include "runtime/support/size_text.h"

namespace hearth {
namespace {

// In the order in which memory is given away.
constexpr MemoryClass kFixedWeights[] = {MemoryClass::attention,      MemoryClass::norms,     MemoryClass::router,
                                         MemoryClass::shared_experts, MemoryClass::dense_ffn, MemoryClass::head,
                                         MemoryClass::embedding};

struct Candidate {
  double use;  // per token
  int32_t layer, expert;
};

class Planner {
 public:
  Planner(const ModelSizes& model, const PlacementInput& input) : m_(model), c_(model.config), in_(input) {
    assert(input.cpu_scratch && input.gpu_scratch);
    check();
    plan_.n_ctx = in_.n_ctx ? in_.n_ctx : c_.default_context();
    plan_.ubatch = std::min(in_.ubatch, plan_.n_ctx);
    plan_.has_gpu = in_.machine.vram > 0;
    plan_.vram.budget = in_.machine.vram;
    plan_.ram.budget = in_.machine.ram;
  }

  Plan plan() {
    rank();
    plan_.has_gpu ? fill_vram() : fill_ram_alone();
    if (!plan_.all_on_gpu) place_experts(Tier::ram);
    for (LayerPlan& layer : plan_.layers) {
      const ExpertLayer& sizes = m_.experts[size_t(&layer - plan_.layers.data())];
      plan_.disk.classes[MemoryClass::experts] += uint64_t(layer.count(Tier::disk)) * sizes.expert_bytes;
    }
    plan_.disk.budget = plan_.disk.used();
    return std::move(plan_);
  }

 private:
  void check() const {
    require(in_.ubatch >= 1, ErrorKind::usage, "ubatch: expected at least 1, found {}", in_.ubatch);
    require(in_.n_ctx >= 0, ErrorKind::usage, "context: expected at least 1, found {}", in_.n_ctx);
    require(in_.n_ctx <= c_.context_length, ErrorKind::resource,
            "a context of {} tokens is too long: the model's limit is {}", in_.n_ctx, c_.context_length);
    const size_t n_experts = m_.experts.size() * size_t(c_.n_routed_experts);
    require(in_.use.empty() || in_.use.size() == n_experts, ErrorKind::usage,
            "use of experts: expected {} layers of {}, found {} values", m_.experts.size(), c_.n_routed_experts,
            in_.use.size());
    for (const float use : in_.use) {
      require(std::isfinite(use) && use >= 0, ErrorKind::usage, "use of experts: expected counts, found {}", use);
    }
    require(in_.resident_experts.value_or(0) >= 0 && in_.resident_experts.value_or(0) <= int64_t(n_experts),
            ErrorKind::usage, "resident experts: expected 0 to {}, found {}", n_experts,
            in_.resident_experts.value_or(0));
    require(in_.staging_slots >= -1, ErrorKind::usage, "staging slots: expected at least 0, found {}",
            in_.staging_slots);
  }

  // Every layer uses K experts a token, whatever its counts add up to.
  void rank() {
    const int64_t E = c_.n_routed_experts;
    for (size_t l = 0; l < m_.experts.size(); ++l) {
      LayerPlan layer{.layer = m_.experts[l].layer};
      layer.tier.assign(size_t(E), Tier::disk);
      layer.share[int(Tier::disk)] = 1;
      plan_.layers.push_back(layer);
      const auto use = in_.use.empty() ? in_.use : in_.use.subspan(l * size_t(E), size_t(E));
      double sum = 0;
      for (const float u : use) sum += u;
      for (int64_t e = 0; e < E; ++e) {
        const double share = sum > 0 ? use[size_t(e)] / sum : 1.0 / double(E);
        ranked_.push_back({share, int32_t(l), int32_t(e)});
      }
    }
    std::ranges::sort(ranked_, [](const Candidate& a, const Candidate& b) {
      if (a.use != b.use) return a.use > b.use;
      return a.expert != b.expert ? a.expert < b.expert : a.layer < b.layer;
    });
  }

  // The latent cache of all sequences.
  int64_t pages(int64_t n_ctx) const { return in_.n_sequences * LatentPool::pages_for(n_ctx); }
  uint64_t cache_bytes(int64_t n_ctx) const { return LatentPool::bytes_for(c_, in_.cache_format, pages(n_ctx)); }
  // Activations and scratch, and the tables of the cache's pages.
  uint64_t working(int64_t ubatch, int64_t n_ctx, const ScratchBytes& scratch) const {
    const uint64_t tables = std::max<uint64_t>(uint64_t(pages(n_ctx)) * sizeof(int32_t), 64);
    return working_bytes(c_, ubatch, n_ctx, in_.n_threads, scratch) + tables;
  }

  // What the GPU holds besides experts. Where all of the model does, nothing crosses and there are no slots.
  ClassBytes vram_minimum(int64_t n_ctx, bool all) const {
    const int64_t ubatch = std::min(in_.ubatch, n_ctx);
    ClassBytes need = m_.fixed;
    need[MemoryClass::kv_cache] = cache_bytes(n_ctx);
    need[MemoryClass::working] = working(ubatch, n_ctx, in_.gpu_scratch);
    need[MemoryClass::driver] = kDriverBytes;
    if (all) return need;
    need[MemoryClass::working] += gpu_crossing_bytes(c_, ubatch);
    const size_t tables = m_.experts.size() + size_t(in_.staging_slots);
    need[MemoryClass::slot_tables] = aligned_bytes(tables * size_t(c_.n_routed_experts) * sizeof(int32_t));
    need[MemoryClass::staging] = uint64_t(in_.staging_slots) * largest_slot();
    return need;
  }

  // What the host's memory holds besides weights.
  ClassBytes ram_minimum(int64_t n_ctx) const {
    const int64_t ubatch = std::min(in_.ubatch, n_ctx);
    ClassBytes need;
    if (plan_.has_gpu) {
      ScratchLimits limits = scratch_limits(c_, ubatch, n_ctx, in_.n_threads);
      limits.alike = in_.reproducible;
      need[MemoryClass::working] = in_.cpu_scratch(limits) + host_crossing_bytes(c_, ubatch);
      return need;
    }
    need[MemoryClass::kv_cache] = cache_bytes(n_ctx);
    need[MemoryClass::working] = working(ubatch, n_ctx, in_.cpu_scratch);
    return need;
  }

  void fill_vram() {
    ClassBytes whole = vram_minimum(plan_.n_ctx, true);
    whole[MemoryClass::experts] = m_.stacked_experts;
    if (whole.total() <= plan_.vram.budget && (ranked_.empty() || (!in_.resident_experts && !in_.split))) {
      plan_.vram.classes = whole;
      plan_.all_on_gpu = true;
      for (const Candidate& x : ranked_) put(x, Tier::vram);
      return;
    }
    plan_.vram.classes = require_minimum("the GPU's memory", plan_.vram.budget, [&](int64_t n) {
      const bool all = ranked_.empty() || in_.whole;  // nothing of it may be elsewhere
      ClassBytes need = vram_minimum(n, all);
      if (all) need[MemoryClass::experts] = m_.stacked_experts;
      return need;
    });
    plan_.n_staging = in_.staging_slots;
    plan_.ram.classes =
        require_minimum("the host's memory", plan_.ram.budget, [&](int64_t n) { return ram_minimum(n); });
    place_experts(Tier::vram);
    count_slots();
  }

  void fill_ram_alone() {
    require(in_.resident_experts.value_or(0) == 0, ErrorKind::resource,
            "resident experts: expected 0 without a GPU, found {}", in_.resident_experts.value_or(0));
    plan_.ram.classes =
        require_minimum("the host's memory", plan_.ram.budget, [&](int64_t n) { return ram_minimum(n); });
    for (const MemoryClass kind : kFixedWeights) {
      const uint64_t here = std::min(m_.fixed[kind], plan_.ram.budget - plan_.ram.used());
      plan_.ram.classes[kind] = here;
      plan_.disk.classes[kind] = m_.fixed[kind] - here;
    }
  }

  // The next of the ranked experts, as many as there is room for.
  void place_experts(Tier tier) {
    TierPlan& to = tier == Tier::vram ? plan_.vram : plan_.ram;
    uint64_t room = to.budget - to.used();
    const size_t wanted = in_.resident_experts && tier == Tier::vram ? size_t(*in_.resident_experts) : ranked_.size();
    for (; n_placed_ < wanted; ++n_placed_) {
      const ExpertLayer& sizes = m_.experts[size_t(ranked_[n_placed_].layer)];
      const uint64_t bytes = tier == Tier::vram ? sizes.slot.bytes : sizes.expert_bytes;
      if (bytes > room) break;
      room -= bytes;
      to.classes[MemoryClass::experts] += bytes;
      put(ranked_[n_placed_], tier);
    }
    require(!in_.resident_experts || tier != Tier::vram || n_placed_ == wanted, ErrorKind::resource,
            "resident experts: {} of {} fit into the {} of the GPU's memory that are free for them, found {}",
            n_placed_, ranked_.size(), binary_size_text(to.budget - to.used() + to.classes[MemoryClass::experts]),
            wanted);
  }

  void put(const Candidate& x, Tier tier) {
    LayerPlan& layer = plan_.layers[size_t(x.layer)];
    layer.tier[size_t(x.expert)] = tier;
    layer.share[int(tier)] += x.use;
    layer.share[int(Tier::disk)] = std::max(0.0, 1 - layer.share[int(Tier::vram)] - layer.share[int(Tier::ram)]);
    if (layer.count(Tier::disk) == 0) layer.share[int(Tier::disk)] = 0;
    if (tier == Tier::vram) layer.resident.push_back(x.expert);
  }

  void count_slots() {
    for (size_t l = 0; l < plan_.layers.size(); ++l) {
      const size_t bytes = m_.experts[l].slot.bytes;
      auto mine = std::ranges::find(plan_.slots, bytes, &SlotClass::bytes);
      if (mine == plan_.slots.end()) mine = plan_.slots.insert(mine, {bytes, 0});
      plan_.layers[l].slot_class = int(mine - plan_.slots.begin());
      mine->n_slots += int64_t(plan_.layers[l].resident.size());
    }
  }

  uint64_t largest_slot() const {
    uint64_t largest = 0;
    for (const ExpertLayer& layer : m_.experts) largest = std::max<uint64_t>(largest, layer.slot.bytes);
    return largest;
  }

  // need(n_ctx): what must be there for that context.
  template <class Need>
  ClassBytes require_minimum(const char* where, uint64_t budget, const Need& need) const {
    const ClassBytes least = need(plan_.n_ctx);
    if (least.total() <= budget) return least;
    fail(ErrorKind::resource, "{}: {} are too little, the least is {} ({}); {}", where, binary_size_text(budget),
         binary_size_text(least.total()), parts_text(least), what_would_fit(budget, need));
  }

  static std::string parts_text(const ClassBytes& classes) {
    std::string text;
    for (int i = 0; i < kMemoryClasses; ++i) {
      if (classes.bytes[size_t(i)] == 0) continue;
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", memory_class_name(MemoryClass(i)),
                          binary_size_text(classes.bytes[size_t(i)]));
    }
    return text;
  }

  // For a context that does not fit: one that does, or how much is missing for any.
  template <class Need>
  std::string what_would_fit(uint64_t budget, const Need& need) const {
    constexpr int64_t kStep = 256;
    int64_t fits = 0, too_long = (plan_.n_ctx + kStep - 1) / kStep;
    while (too_long - fits > 1) {
      const int64_t middle = (fits + too_long) / 2;
      (need(middle * kStep).total() <= budget ? fits : too_long) = middle;
    }
    if (fits > 0) return fmt::format("a context of {} tokens would fit", fits * kStep);
    const int64_t shortest = std::min(kStep, plan_.n_ctx);
    return fmt::format("{} more would be needed even for a context of {} tokens",
                       binary_size_text(need(shortest).total() - budget), shortest);
  }

  const ModelSizes& m_;
  const ModelConfig& c_;
  const PlacementInput& in_;
  Plan plan_;
  std::vector<Candidate> ranked_;
  size_t n_placed_ = 0;  // of ranked_
};

}  // namespace

int64_t LayerPlan::count(Tier t) const {
  return std::ranges::count(tier, t);
}

int64_t Plan::n_resident() const {
  int64_t n = 0;
  for (const LayerPlan& layer : layers) n += int64_t(layer.resident.size());
  return n;
}

uint64_t Plan::pool_bytes() const {
  return vram.classes[MemoryClass::experts] + vram.classes[MemoryClass::staging] +
         vram.classes[MemoryClass::slot_tables];
}

namespace {

// With as many staging slots as are asked for, or -1: as seems best.
Plan plan_for_ubatch(const ModelSizes& model, const PlacementInput& input) {
  if (input.staging_slots != -1) return Planner(model, input).plan();
  PlacementInput with = input;
  with.staging_slots = 0;
  const Plan without = Planner(model, with).plan();
  if (!without.has_gpu || without.all_on_gpu || without.layers.empty()) return without;
  uint64_t largest = 1;
  for (const ExpertLayer& layer : model.experts) largest = std::max<uint64_t>(largest, layer.slot.bytes);
  const uint64_t left = without.vram.budget - without.vram.used();
  const uint64_t room = input.resident_experts ? left : (left + without.vram.classes[MemoryClass::experts]) / 16;
  const uint64_t slot =
      largest + uint64_t(model.config.n_routed_experts) * sizeof(int32_t) + kWeightAlign;  // its table
  with.staging_slots = std::min<int64_t>(kMostStaging, int64_t(room / slot)) / 2 * 2;
  return Planner(model, with).plan();
}

constexpr int64_t kUsualUbatch = 512, kLeastUbatch = 64;
// On a GPU larger products keep more of it busy. With experts on both sides those that are not there cross the bus once
// for each ubatch, whatever its size: the larger it is, the fewer times.
constexpr int64_t kGpuUbatch = 2048, kHybridUbatch = 4096;

class UbatchChoice {
 public:
  UbatchChoice(const ModelSizes& model, const PlacementInput& input) : model_(model), input_(input) {}

  Plan plan() const {
    if (input_.machine.vram == 0) return with(host_ubatch(model_, input_));
    const Plan usual = smallest_effort();
    for (int64_t ubatch = usual.all_on_gpu ? kGpuUbatch : kHybridUbatch; ubatch > usual.ubatch; ubatch /= 2) {
      const std::optional<Plan> larger = if_it_fits(ubatch);
      if (larger && larger->all_on_gpu == usual.all_on_gpu && is_worth_its_memory(usual, *larger)) return *larger;
    }
    return usual;
  }

 private:
  Plan with(int64_t ubatch) const {
    PlacementInput input = input_;
    input.ubatch = ubatch;
    return plan_for_ubatch(model_, input);
  }
  std::optional<Plan> if_it_fits(int64_t ubatch) const {
    try {
      return with(ubatch);
    } catch (const Error& error) {
      if (error.kind != ErrorKind::resource || ubatch == kLeastUbatch) throw;
      return std::nullopt;
    }
  }
  // The largest ubatch, of at most the usual one, with which the whole model fits onto the GPU; else with which any of
  // it does.
  Plan smallest_effort() const {
    std::optional<Plan> first;
    for (int64_t ubatch = kUsualUbatch; ubatch >= kLeastUbatch; ubatch /= 2) {
      std::optional<Plan> plan = if_it_fits(ubatch);
      if (plan && (plan->all_on_gpu || plan->layers.empty())) return *plan;
      if (!first) first = std::move(plan);
    }
    return *first;
  }
  // Of the GPU's memory a sixteenth may go into it instead of into experts.
  static bool is_worth_its_memory(const Plan& usual, const Plan& larger) {
    if (usual.all_on_gpu) return true;
    const uint64_t more = larger.vram.classes[MemoryClass::working] - usual.vram.classes[MemoryClass::working];
    return more <= usual.vram.budget / 16;
  }

  const ModelSizes& model_;
  const PlacementInput& input_;
};

}  // namespace

Plan plan_placement(const ModelSizes& model, const PlacementInput& input) {
  return input.ubatch == kAutomaticUbatch ? UbatchChoice(model, input).plan() : plan_for_ubatch(model, input);
}

uint64_t working_bytes(const ModelConfig& config, int64_t ubatch, int64_t n_ctx, int n_threads,
                       const ScratchBytes& scratch) {
  return ActivationMemory::bytes_for(config, ubatch) + scratch(scratch_limits(config, ubatch, n_ctx, n_threads)) +
         uint64_t(n_ctx * config.qk_rope_head_dim) * sizeof(float);
}

uint64_t gpu_crossing_bytes(const ModelConfig& config, int64_t ubatch) {
  return aligned_bytes(uint64_t(ubatch * config.dim) * sizeof(float));
}

uint64_t host_crossing_bytes(const ModelConfig& config, int64_t ubatch) {
  return 2 * aligned_bytes(uint64_t(ubatch * config.dim) * sizeof(float)) +
         2 * aligned_bytes(uint64_t(ubatch * config.routing.n_activated) * sizeof(float));
}

}  // namespace hearth
