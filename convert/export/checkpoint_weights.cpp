#include "convert/export/checkpoint_weights.h"

#include <map>

#include "convert/export/checkpoint_rows.h"
#include "convert/name_table.h"

namespace hearth {

std::vector<ExportWeight> weights_of_checkpoint(const HfConfig& config, const NameMap& names, CarryLoss& loss) {
  std::map<std::string, const OutputTensor*> by_name;
  for (const OutputTensor& tensor : names.tensors) by_name[tensor.name] = &tensor;
  std::vector<ExportWeight> weights;
  for (const PlacedRow& placed : placed_rows(config, names.n_mtp_layers)) {
    const auto found = by_name.find(placed.gguf());
    if (found == by_name.end() || placed.row->transform == Transform::v_part) continue;
    const Shape shape = placed.row->shape(config);
    int64_t expert = 0;
    for (const WeightSource& source : found->second->sources) {
      ExportWeight weight{of_expert(placed.hf(), expert++), placed.row->role, shape, {}};
      weight.rows = std::make_unique<CheckpointRows>(source, shape, weight.role, loss);
      weights.push_back(std::move(weight));
    }
  }
  return weights;
}

}  // namespace hearth
