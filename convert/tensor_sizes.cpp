#include "convert/tensor_sizes.h"

#include <fmt/format.h>

#include "convert/coded_tensors.h"

namespace hearth {

namespace {

// The number of rows of a weight in the first layer that has it, by its name without ".weight"; 0 if none has.
int64_t rows_in_a_layer(const Checkpoint& checkpoint, int64_t first, int64_t end, const char* name) {
  for (int64_t layer = first; layer < end; ++layer) {
    const std::string stem = fmt::format("model.layers.{}.{}.", layer, name);
    for (const char* rows_first : {"weight", "weight_packed"}) {
      const SourceTensor* tensor = checkpoint.find(stem + rows_first);
      if (tensor && tensor->shape.rank == 2) return tensor->shape.dim[0];
    }
    // GPTQ and AWQ have the rows last, in the scales too.
    const SourceTensor* scales = checkpoint.find(stem + "scales");
    if (scales && scales->shape.rank == 2) return scales->shape.dim[1];
  }
  return 0;
}

}  // namespace

void read_sizes_off_tensors(const Checkpoint& checkpoint, HfConfig& c) {
  const auto say = [&](const char* key, int64_t value, const char* none) {
    c.notes.push_back(
        fmt::format("config.json leaves out {}: {} by the tensors", key, value > 0 ? fmt::to_string(value) : none));
  };
  if (c.n_dense_layers == HfConfig::kAskTensors) {
    c.n_dense_layers = 0;
    const auto has_router = [&](int64_t layer) {
      return has_weight(checkpoint.tensors(), fmt::format("model.layers.{}.mlp.gate.weight", layer));
    };
    while (c.n_dense_layers < c.n_layers && !has_router(c.n_dense_layers)) ++c.n_dense_layers;
    say("first_k_dense_replace", c.n_dense_layers, "0");
  }
  if (c.q_lora_rank == HfConfig::kAskTensors) {
    c.q_lora_rank = rows_in_a_layer(checkpoint, 0, c.n_layers, "self_attn.q_a_proj");
    say("q_lora_rank", c.q_lora_rank, "none");
  }
  if (c.n_shared_experts == HfConfig::kAskTensors) {
    const int64_t rows = rows_in_a_layer(checkpoint, c.n_dense_layers, c.n_layers, "mlp.shared_experts.gate_proj");
    c.n_shared_experts = rows / c.moe_inter_dim;
    say("n_shared_experts", c.n_shared_experts, "none");
  }
}

}  // namespace hearth
