// The GPU's share of the routed experts: slots of its memory, each for one expert of one layer (its gate, up and down),
// and for each layer the table that says which expert is in which slot.
//
// Experts of one size are a class, and share its slots whichever layer they are of: files have one or two (q4_k_m
// stores some layers' down in more bits). All experts stay in the mapped file too, where the host's operations read
// those that have no slot.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"
#include "runtime/buffer.h"
#include "runtime/weights.h"

namespace hearth {

struct SlotClass {
  size_t slot_bytes = 0;
  int64_t n_experts = 0;  // of all its layers
};

struct SlotClasses {
  std::vector<SlotClass> classes;
  std::vector<int> of_layer;  // [n_layers]; -1: without experts
};
SlotClasses slot_classes(std::span<const LayerWeights> layers);

class ExpertPool {
 public:
  // n_slots [classes]; n_staging more, large enough for any expert, which no table mentions. Throws Error(resource).
  ExpertPool(const Ops& ops, std::span<const LayerWeights> layers, std::span<const int64_t> n_slots, int64_t n_staging);
  // What that takes of the backend's memory, which is asked for in one piece.
  static size_t bytes_for(const SlotClasses& classes, std::span<const int64_t> n_slots, int64_t n_staging,
                          int64_t n_experts);

  const SlotClasses& classes() const { return classes_; }
  int64_t n_slots(int cls) const { return n_slots_[size_t(cls)]; }
  int64_t n_staging() const { return n_staging_; }
  size_t bytes() const { return memory_.bytes(); }
  // Bytes that move when an expert of that layer is loaded.
  size_t expert_bytes(int64_t layer) const;

  // The experts as the two sides see them: disjoint, and together all.
  FfnWeights on_gpu(int64_t layer) const;
  FfnWeights on_host(int64_t layer) const;
  bool resident(int64_t layer, int64_t expert) const { return gpu_slots(layer)[size_t(expert)] >= 0; }

  // Begins to copy an expert into a slot of its class that no table mentions; Ops::fetch's number.
  int64_t load(int64_t layer, int64_t expert, int64_t slot);
  // From the next step on the expert is computed where it is said to be: in a slot, which holds it by now; or on the
  // host (slot -1).
  void set(int64_t layer, int64_t expert, int32_t slot);
  // Gives the backend the tables, if they changed; between two steps.
  void publish(const Exec& exec);

  // The same for staging slots, for one call: experts[i] of the layer is in staging slot first + i. The view is valid
  // until the next one that begins at `first`.
  int64_t stage(int64_t layer, int64_t expert, int64_t staging_slot);
  FfnWeights staged(const Exec& exec, int64_t layer, std::span<const int32_t> experts, int64_t first);

 private:
  struct Parts {  // of a slot: where the matrices of an expert begin
    size_t up = 0, down = 0;
  };
  std::span<const int32_t> gpu_slots(int64_t layer) const;
  int64_t copy_into(int64_t layer, int64_t expert, std::byte* slot);
  FfnWeights view(int64_t layer, std::byte* slots, size_t slot_bytes, int64_t n, const int32_t* table) const;
  static Parts parts_of(const FfnWeights& w);

  const Ops& ops_;
  std::span<const LayerWeights> layers_;
  SlotClasses classes_;
  std::vector<int64_t> n_slots_;
  int64_t n_experts_ = 0;
  size_t staging_bytes_ = 0;  // of a slot
  int64_t n_staging_ = 0;
  Buffer memory_;
  std::vector<std::byte*> slots_;  // [classes]
  std::byte* staging_ = nullptr;
  int32_t* tables_ = nullptr;          // the backend's: [n_layers][n_experts]
  int32_t* staging_tables_ = nullptr;  // [n_staging][n_experts]: one for each slot that a view can begin with
  std::vector<int32_t> gpu_tables_, host_tables_;
  bool changed_ = true;
};

}  // namespace hearth
