// Which part of a model lies where: on the GPU, in the host's memory, on disk.
//
// A pure function of sizes and budgets. The GPU takes first what every token needs: the cache of the whole context, the
// working memory, then attention, norms, router, shared experts, dense layers, head and embedding. What is left is a
// pool of slots, each for one expert of one layer. The host's memory takes the other experts, read in place from the
// mapped file, and the disk, which is the same mapping, what is left over.
//
// Experts are ranked by expected use, all layers together. The bytes that a resident expert spares every token are its
// use times its size, and they cost its size of memory: per byte of memory what counts is its use, whatever its size.
// Experts of equal use go in turns through the layers, so that a model of which nothing is known is split evenly. Each
// tier takes the next ones of that list until one does not fit: a larger budget only ever adds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "runtime/offload/machine.h"
#include "runtime/offload/model_sizes.h"

namespace hearth {

// Ops::scratch_bytes of the back end in question.
using ScratchBytes = std::function<size_t(const ScratchLimits& limits)>;
inline ScratchBytes scratch_of(const Ops& ops, const Device& device) {
  return [&ops, multiprocessors = device.multiprocessors()](ScratchLimits limits) {
    limits.multiprocessors = multiprocessors;
    return ops.scratch_bytes(limits);
  };
}

// What a GPU's driver takes for itself while a model runs: kernels as they are first launched, recorded steps, and the
// rest of the pages (2 MiB) of each of our few allocations.
inline constexpr uint64_t kDriverBytes = uint64_t(64) << 20;

// Tokens of a prompt that are run at once: on a GPU 2048, with experts on both sides up to 4096, fewer where memory
// does not allow it; on the CPU what host_ubatch says (host_ubatch.h), 512 to 4096.
inline constexpr int64_t kAutomaticUbatch = 0;

struct PlacementInput {
  Machine machine;    // budgets: vram is what is free on the GPU, 0: none; ram what may be filled
  int64_t n_ctx = 0;  // 0: the model's default
  int64_t n_sequences = 1;
  FormatId cache_format = FormatId::bf16;
  int64_t ubatch = 512;  // or kAutomaticUbatch
  int n_threads = 1;
  bool reproducible = false;                                  // ModelOptions::reproducible: more of the host's scratch
  ScratchBytes gpu_scratch = nullptr, cpu_scratch = nullptr;  // both are asked, whatever the budgets
  std::span<const float> use;  // [MoE layers][E], how often each is expected to be chosen, in any unit; empty: equally
  std::optional<int64_t> resident_experts;  // exactly so many slots, all layers together, instead of what fits
  // For experts that pass through in prefill; -1: a sixteenth of what is left for experts, and no more than
  // kMostStaging.
  int64_t staging_slots = 0;
  bool whole = false;  // all of it on the GPU, or nothing
  bool split = false;  // in two parts even where all of it fits: the host sees the routing then
};

// Two batches (expert_stage.h) of a hundred megabytes each in the largest models.
inline constexpr int64_t kMostStaging = 16;

enum class Tier { vram, ram, disk };

struct TierPlan {
  uint64_t budget = 0;
  ClassBytes classes;

  uint64_t used() const { return classes.total(); }
};

// Slots of one size; a layer's experts fit into those of one class.
struct SlotClass {
  size_t bytes = 0;
  int64_t n_slots = 0;
};

struct LayerPlan {
  int64_t layer = 0;
  int slot_class = 0;             // of Plan::slots
  std::vector<Tier> tier;         // [E]
  std::vector<int32_t> resident;  // experts in VRAM at the start, the most used first
  double share[3] = {};           // by Tier: of the layer's experts that a token uses, how many are expected there

  int64_t count(Tier t) const;
};

struct Plan {
  int64_t n_ctx = 0, ubatch = 0;  // as they will be
  TierPlan vram, ram, disk;
  std::vector<LayerPlan> layers;  // MoE layers, in order
  std::vector<SlotClass> slots;  // in the order of their first layers; empty where everything is on the GPU, or nothing
  int64_t n_staging = 0;         // more of them, each as large as the largest
  bool has_gpu = false;

  // No expert is anywhere else: the weights lie there as in the file, tensor by tensor, and there are no slots.
  bool all_on_gpu = false;

  int64_t n_resident() const;
  // Slots, staging slots and the tables that say who is where.
  uint64_t pool_bytes() const;
};

// Throws Error(resource): a budget too small for what must be there (the message says how much that is, of what, and
// the longest context that would fit), resident_experts more than fit, a context beyond the model's limit;
// Error(usage): counts out of range, `use` of another model or not finite.
Plan plan_placement(const ModelSizes& model, const PlacementInput& input);

// What steps need besides weights and cache: activations, scratch, rotary angles.
uint64_t working_bytes(const ModelConfig& config, int64_t ubatch, int64_t n_ctx, int n_threads,
                       const ScratchBytes& scratch);
// And where experts are on both sides: of the GPU's memory what the host's experts give, [T, d]; of the host's, which
// the GPU copies from and to, tokens, routing and that sum, [T, 2 d] and [T, 2 K].
uint64_t gpu_crossing_bytes(const ModelConfig& config, int64_t ubatch);
uint64_t host_crossing_bytes(const ModelConfig& config, int64_t ubatch);

}  // namespace hearth
