// The weights of a checkpoint, for another form of the same.
#pragma once

#include <vector>

#include "convert/carry.h"
#include "convert/export/weight_rows.h"
#include "convert/name_map.h"

namespace hearth {

// All of `names`, whose halves of kv_b are joined, in its order. Refers to all that is given. Throws Error(format) for
// scales that are not finite.
std::vector<ExportWeight> weights_of_checkpoint(const HfConfig& config, const NameMap& names, CarryLoss& loss);

}  // namespace hearth
