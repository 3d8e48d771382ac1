#include "runtime/offload/model_sizes.h"

#include <numeric>
#include <string_view>

#include "quant/gguf_keys.h"
#include "runtime/model/read_config.h"

namespace hearth {
namespace {

// For weights that the forward uses; there are no others here (weights.cpp refuses them).
MemoryClass class_of(TensorRole role) {
  switch (role) {
    case TensorRole::embedding:
      return MemoryClass::embedding;
    case TensorRole::router:
      return MemoryClass::router;
    case TensorRole::dense_ffn:
      return MemoryClass::dense_ffn;
    case TensorRole::shared_experts:
      return MemoryClass::shared_experts;
    case TensorRole::routed_experts:
      return MemoryClass::experts;
    case TensorRole::norms:
      return MemoryClass::norms;
    case TensorRole::head:
      return MemoryClass::head;
    case TensorRole::attention:
    case TensorRole::mtp:
    case TensorRole::other:
      break;
  }
  return MemoryClass::attention;
}

// Gate, up and down of one expert of a layer, in bytes.
struct ExpertParts {
  uint64_t gate = 0, up = 0, down = 0;

  void add(std::string_view role, uint64_t bytes) {
    if (role == name::kFfnGateUpExps) gate = up = bytes / 2;
    if (role == name::kFfnGateExps) gate = bytes;
    if (role == name::kFfnUpExps) up = bytes;
    if (role == name::kFfnDownExps) down = bytes;
  }
};

}  // namespace

const char* memory_class_name(MemoryClass kind) {
  constexpr const char* kNames[] = {"kv_cache",  "working",   "driver", "staging",        "slot_tables",
                                    "attention", "norms",     "router", "shared_experts", "dense_ffn",
                                    "head",      "embedding", "experts"};
  static_assert(std::size(kNames) == kMemoryClasses);
  return kNames[size_t(kind)];
}

uint64_t ClassBytes::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t(0));
}

ExpertSlot ExpertSlot::of(size_t gate_bytes, size_t up_bytes, size_t down_bytes) {
  ExpertSlot slot;
  slot.up_at = aligned_bytes(gate_bytes);
  slot.down_at = slot.up_at + aligned_bytes(up_bytes);
  slot.bytes = slot.down_at + aligned_bytes(down_bytes);
  return slot;
}

ModelSizes model_sizes(const ModelConfig& config, std::vector<WeightSize> weights) {
  ModelSizes model{.config = config, .weights = std::move(weights)};
  std::vector<ExpertParts> parts(static_cast<size_t>(config.n_moe_layers()));
  model.experts.resize(parts.size());
  bool tied = true;
  for (const WeightSize& w : model.weights) {
    const MemoryClass kind = class_of(tensor_role(w.name, config.n_layers));
    const size_t moe = size_t(w.layer - config.n_dense_layers);  // of the MoE layers, where it is one
    if (kind == MemoryClass::experts) {
      model.stacked_experts += aligned_bytes(w.bytes());
      parts.at(moe).add(std::string_view(w.name).substr(w.name.find('.', 4) + 1),
                        w.bytes() / uint64_t(config.n_routed_experts));
      continue;
    }
    model.fixed[kind] += aligned_bytes(w.bytes());
    model.decode_bytes += kind == MemoryClass::embedding ? w.row_bytes() : w.bytes();
    if (kind == MemoryClass::shared_experts) model.experts.at(moe).shared_bytes += w.bytes();
    tied = tied && kind != MemoryClass::head;
  }
  if (tied) {
    for (const WeightSize& w : model.weights) model.decode_bytes += w.name == name::kTokenEmbd ? w.bytes() : 0;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto [gate, up, down] = parts[i];
    model.experts[i].layer = config.n_dense_layers + int64_t(i);
    model.experts[i].slot = ExpertSlot::of(gate, up, down);
    model.experts[i].expert_bytes = gate + up + down;
  }
  return model;
}

ModelSizes model_sizes(const GgufFile& file) {
  const ModelConfig config = read_config(file);
  return model_sizes(config, weight_sizes(file, config));
}

}  // namespace hearth
