// What the parts of a model weigh, from the header of its file alone: what placement calculates with.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "quant/gguf.h"
#include "runtime/model/config.h"
#include "runtime/model/tensor_role.h"
#include "runtime/model/weights.h"

namespace hearth {

// What memory is for.
enum class MemoryClass {
  kv_cache,
  working,  // activations, scratch, rotary angles, what crosses between GPU and host
  driver,   // what the GPU's driver takes for itself while a model runs
  staging,  // slots that experts pass through in prefill
  slot_tables,
  attention,
  norms,
  router,
  shared_experts,
  dense_ffn,
  head,
  embedding,
  experts,
};
inline constexpr int kMemoryClasses = int(MemoryClass::experts) + 1;
const char* memory_class_name(MemoryClass kind);  // "kv_cache"

// Bytes by MemoryClass.
struct ClassBytes {
  std::array<uint64_t, kMemoryClasses> bytes{};

  uint64_t& operator[](MemoryClass kind) { return bytes[size_t(kind)]; }
  uint64_t operator[](MemoryClass kind) const { return bytes[size_t(kind)]; }
  uint64_t total() const;
};

// One expert of one layer in a slot of its own: gate rows at 0, up and down rows behind, each at a multiple of
// kWeightAlign.
struct ExpertSlot {
  size_t up_at = 0, down_at = 0, bytes = 0;

  static ExpertSlot of(size_t gate_bytes, size_t up_bytes, size_t down_bytes);
};

struct ExpertLayer {
  int64_t layer = 0;
  ExpertSlot slot;
  uint64_t expert_bytes = 0;  // of one expert, as the file has it
  uint64_t shared_bytes = 0;  // of the layer's shared experts
};

struct ModelSizes {
  ModelConfig config;
  std::vector<WeightSize> weights;
  // The rest follows from these.
  ClassBytes fixed;                  // all weights but routed experts, each rounded up to kWeightAlign
  uint64_t stacked_experts = 0;      // routed experts as the file's tensors, each rounded up to kWeightAlign
  std::vector<ExpertLayer> experts;  // MoE layers, in order
  uint64_t decode_bytes = 0;         // read for every decoded token whatever the router says, shared experts included

  int64_t n_experts() const { return int64_t(experts.size()) * config.n_routed_experts; }  // of all layers together
};

// Throws Error(model) as read_config and load_weights do.
ModelSizes model_sizes(const GgufFile& file);
ModelSizes model_sizes(const ModelConfig& config, std::vector<WeightSize> weights);

}  // namespace hearth
