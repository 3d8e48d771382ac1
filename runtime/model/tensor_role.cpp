#include "runtime/model/tensor_role.h"

#include <charconv>

#include "quant/gguf_keys.h"

namespace hearth {

int64_t layer_of(std::string_view tensor_name) {
  int64_t layer = -1;
  if (tensor_name.starts_with("blk.")) {
    std::from_chars(tensor_name.data() + 4, tensor_name.data() + tensor_name.size(), layer);
  }
  return layer;
}

const char* tensor_role_name(TensorRole role) {
  constexpr const char* kNames[] = {"embedding",      "attention", "router", "dense FFN", "shared experts",
                                    "routed experts", "norms",     "head",   "MTP",       "other"};
  return kNames[size_t(role)];
}

TensorRole tensor_role(std::string_view tensor_name, int64_t n_layers) {
  const int64_t layer = layer_of(tensor_name);
  if (layer >= n_layers) return TensorRole::mtp;
  if (tensor_name == name::kTokenEmbd) return TensorRole::embedding;
  if (tensor_name == name::kOutput) return TensorRole::head;
  if (tensor_name.ends_with("norm.weight")) return TensorRole::norms;
  if (layer < 0) return TensorRole::other;
  const std::string_view role = tensor_name.substr(tensor_name.find('.', 4) + 1);
  if (role.starts_with("attn_")) return TensorRole::attention;
  if (role == name::kFfnGateInp || role == name::kExpProbsB) return TensorRole::router;
  if (role.ends_with("_exps.weight")) return TensorRole::routed_experts;
  if (role.ends_with("_shexp.weight")) return TensorRole::shared_experts;
  if (role.starts_with("ffn_")) return TensorRole::dense_ffn;
  return TensorRole::other;
}

}  // namespace hearth
