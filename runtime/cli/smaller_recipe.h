// What a model would weigh in another of the converter's recipes.
#pragma once

#include <optional>
#include <string>

#include "runtime/offload/model_sizes.h"

namespace hearth::cli {

struct SmallerRecipe {
  std::string name;
  ModelSizes model;
};

// The largest recipe that takes at least a tenth off; none: the model is as small as recipes make it.
std::optional<SmallerRecipe> smaller_recipe(const ModelSizes& model);

}  // namespace hearth::cli
