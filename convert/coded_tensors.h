// Finds the tensors of an integer weight in a checkpoint, and checks that they fit together.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/coded_weight.h"
#include "convert/hf_config.h"

namespace hearth {

using TensorsByName = std::map<std::string, SourceTensor, std::less<>>;  // as Checkpoint::tensors

// Whether the checkpoint has the weight, as "X.weight" or in integers ("X.weight_packed", "X.qweight"), under whichever
// name. `weight` is "X.weight".
bool has_weight(const TensorsByName& tensors, const std::string& weight);

struct CodedTensors {
  std::unique_ptr<CodedWeight> weight;  // null: the checkpoint does not hold the weight in integers
  std::vector<std::string> names;       // of the tensors that belong to it
};

// The integer weight [rows, cols] named `weight` ("X.weight"). Every shape and type is checked, and every index of a
// group. Throws Error(model) naming the tensor, what was expected and what was found: for tensors that are missing, for
// groups that do not divide a row, and for weights that are as no scheme of config.json.
CodedTensors find_coded_weight(const TensorsByName& tensors, const HfQuantization& quantization,
                               const std::string& weight, int64_t rows, int64_t cols);

}  // namespace hearth
