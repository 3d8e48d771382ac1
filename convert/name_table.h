// The one table of names: which tensors of a checkpoint become which of the file.
#pragma once

#include <span>

#include "convert/name_map.h"

namespace hearth {

// Where a row of the table applies.
enum class When {
  begin,        // once, before the layers
  end,          // once, after the layers
  end_untied,   // once, unless the embedding serves as head
  mtp_begin,    // before each MTP layer
  mtp_end,      // after each MTP layer
  layer,        // every layer
  query_plain,  // every layer, where queries have no latent
  query_latent,
  dense,   // dense layers
  expert,  // MoE layers
  shared,  // MoE layers with shared experts
  biased,  // MoE layers with a selection bias
};

// Where transformers 5 keeps a matrix of all experts: in one tensor, which may hold two matrices of each expert, one
// below the other. The name may end in .weight or not.
struct Fused {
  const char* hf = nullptr;
  int part = 0, parts = 1;
};

struct NameRow {
  const char* hf;    // {L}: layer, {E}: expert
  const char* gguf;  // within the layer where there is one
  Role role;
  Transform transform;
  When when;
  Shape (*shape)(const HfConfig&);  // in the checkpoint
  bool optional = false;
  Fused fused = {};
};

// In the order of the file's tensors, which is that of the forward.
std::span<const NameRow> name_table();

}  // namespace hearth
