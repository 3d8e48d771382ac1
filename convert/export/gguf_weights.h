// The weights that a GGUF file's tensors are in a checkpoint, under their names there.
#pragma once

#include <vector>

#include "convert/export/weight_rows.h"
#include "convert/hf_config.h"
#include "quant/gguf.h"

namespace hearth {

// In the order of the table of names (name_table.h), of a model of these sizes; of MTP layers, all that have tensors.
// Refers to the file. Halves of kv_b are joined and gate beside up is parted, whichever layout the file has. Throws
// Error(model) for tensors that are missing, unknown, of another shape, or of a format that is not computed here.
std::vector<ExportWeight> weights_of_gguf(const GgufFile& file, const HfConfig& config);

}  // namespace hearth
