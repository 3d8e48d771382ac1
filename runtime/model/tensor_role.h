// What a tensor of a file is for, by its name.
#pragma once

#include <cstdint>
#include <string_view>

namespace hearth {

enum class TensorRole {
  embedding,
  attention,
  router,
  dense_ffn,
  shared_experts,
  routed_experts,
  norms,
  head,
  mtp,
  other
};
const char* tensor_role_name(TensorRole role);

// Layers from n_layers on are mtp.
TensorRole tensor_role(std::string_view tensor_name, int64_t n_layers);

// "blk.12.attn_q.weight" -> 12; -1: of no layer.
int64_t layer_of(std::string_view tensor_name);

}  // namespace hearth
