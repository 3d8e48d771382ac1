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
#include "runtime/model/buffer.h"
#include "runtime/model/weights.h"
#include "runtime/offload/model_sizes.h"
#include "runtime/offload/placement.h"

namespace hearth {

class ExpertPool {
 public:
  // layers: of the whole model, experts in the mapped file. Slots as planned, all in one piece of the backend's memory,
  // which takes exactly the plan's bytes for experts, staging and slot tables. Throws Error(resource).
  ExpertPool(Device& device, std::span<const LayerWeights> layers, const ModelSizes& sizes, const Plan& plan);

  int64_t n_staging() const { return staging_.n_slots; }
  size_t bytes() const { return memory_.bytes(); }
  // Bytes that move when an expert of that layer is loaded.
  size_t expert_bytes(int64_t layer) const { return layer_of(layer).expert_bytes; }
  size_t largest_expert() const;

  // The experts as the two sides see them: disjoint, and together all.
  FfnWeights on_gpu(int64_t layer) const;
  FfnWeights on_host(int64_t layer) const;
  bool resident(int64_t layer, int64_t expert) const { return gpu_slots(layer)[size_t(expert)] >= 0; }

  // Begins to copy an expert into a slot of its class that no table mentions; Device::fetch's number.
  int64_t load(int64_t layer, int64_t expert, int64_t slot);
  // From the next step on the expert is computed where it is said to be: in a slot, which holds it by now; or on the
  // host (slot -1).
  void set(int64_t layer, int64_t expert, int32_t slot);
  // Gives the backend the tables, if they changed; between two steps.
  void publish();

  // The same for staging slots, for one call: experts[i] of the layer is in staging slot first + i. The view is valid
  // until the next one that begins at `first`.
  int64_t stage(int64_t layer, int64_t expert, int64_t staging_slot);
  FfnWeights staged(int64_t layer, std::span<const int32_t> experts, int64_t first);

 private:
  struct Class {
    std::byte* slots = nullptr;
    size_t slot_bytes = 0;
    int64_t n_slots = 0;
  };
  struct Layer {  // an MoE layer
    FfnWeights file;
    ExpertSlot slot;
    size_t expert_bytes = 0;
    int cls = 0;
  };
  const Layer& layer_of(int64_t layer) const { return layers_[size_t(layer - n_dense_)]; }
  size_t table_at(int64_t layer) const { return size_t((layer - n_dense_) * n_experts_); }
  std::span<const int32_t> gpu_slots(int64_t layer) const;
  int64_t copy_into(int64_t layer, int64_t expert, std::byte* slot);
  FfnWeights view(int64_t layer, const Class& slots, const int32_t* table) const;

  Device& device_;
  int64_t n_dense_ = 0, n_experts_ = 0;
  std::vector<Layer> layers_;
  std::vector<Class> classes_;
  Class staging_;
  Buffer memory_;
  int32_t* tables_ = nullptr;          // the backend's: [MoE layers][n_experts]
  int32_t* staging_tables_ = nullptr;  // [n_staging][n_experts]: one for each slot that a view can begin with
  std::vector<int32_t> gpu_tables_, host_tables_;
  bool changed_ = true;
};

}  // namespace hearth
