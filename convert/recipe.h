// Recipes: which format a tensor gets, by its role and layer, as tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/name_map.h"
#include "quant/format.h"

namespace hearth {

struct RecipeFormats {
  FormatId usual;
  FormatId better;  // for the layers that suffer most (see choose_format)
};

struct Recipe {
  const char* name;  // "q4_k_m"
  int file_type;     // general.file_type of llama.cpp-family programs; -1: they have none for it
  RecipeFormats formats[kRoles];
};

std::vector<std::string> recipe_names();
const Recipe& find_recipe(std::string_view name);  // case-insensitive; throws Error(usage) listing the names

struct ChosenFormat {
  const Format* format;
  const Format* wanted;  // what the recipe says; differs from `format` where the rows did not fit
};

// The format, or the first of its fallbacks whose block divides the row.
ChosenFormat fitting_format(const Format& wanted, int64_t row);
// The recipe's format for the tensor, or the first of its fallbacks whose block divides the row.
ChosenFormat choose_format(const Recipe& recipe, const OutputTensor& tensor, int64_t n_layers);

}  // namespace hearth
