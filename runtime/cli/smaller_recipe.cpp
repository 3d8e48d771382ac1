#include "runtime/cli/smaller_recipe.h"

#include <string_view>

#include "convert/recipe.h"
#include "quant/gguf_keys.h"

namespace hearth::cli {
namespace {

// As convert/name_map.cpp has it; nullopt: a tensor whose format no recipe chooses.
std::optional<Role> role_of(const WeightSize& w, int64_t n_layers) {
  const std::string_view role = std::string_view(w.name).substr(w.layer < 0 ? 0 : w.name.find('.', 4) + 1);
  const bool down = role.starts_with("ffn_down");
  switch (tensor_role(w.name, n_layers)) {
    case TensorRole::embedding:
      return Role::embedding;
    case TensorRole::head:
      return Role::head;
    case TensorRole::attention:
      if (role == name::kAttnOutput) return Role::attn_output;
      return role.starts_with("attn_q") ? Role::query : Role::latent;
    case TensorRole::dense_ffn:
      return down ? Role::dense_down : Role::dense_in;
    case TensorRole::shared_experts:
      return down ? Role::shared_down : Role::shared_in;
    case TensorRole::routed_experts:
      return down ? Role::expert_down : Role::expert_in;
    default:
      return std::nullopt;
  }
}

ModelSizes in_recipe(const ModelSizes& model, const Recipe& recipe) {
  std::vector<WeightSize> weights = model.weights;
  for (WeightSize& w : weights) {
    const auto role = role_of(w, model.config.n_layers);
    if (!role) continue;
    OutputTensor tensor;
    tensor.role = *role;
    tensor.layer = w.layer;
    tensor.shape = w.shape;
    w.format = choose_format(recipe, tensor, model.config.n_layers).format;
  }
  return model_sizes(model.config, std::move(weights));
}

uint64_t bytes_of(const ModelSizes& model) {
  return model.fixed.total() + model.stacked_experts;
}

}  // namespace

std::optional<SmallerRecipe> smaller_recipe(const ModelSizes& model) {
  std::optional<SmallerRecipe> best;
  for (const std::string& name : recipe_names()) {
    ModelSizes other = in_recipe(model, find_recipe(name));
    if (bytes_of(other) > bytes_of(model) / 10 * 9) continue;
    if (!best || bytes_of(other) > bytes_of(best->model)) best = SmallerRecipe{name, std::move(other)};
  }
  return best;
}

}  // namespace hearth::cli
