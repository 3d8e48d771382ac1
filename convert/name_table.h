// The one table of names: which tensors of a checkpoint become which of the file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// A row of the table where it applies in a model.
struct PlacedRow {
  const NameRow* row;
  int64_t layer;  // -1: of none
  bool mtp;       // of a multi-token-prediction layer

  std::string hf() const;                   // with the layer's number; {E} stays
  std::string hf_fused() const;             // of the tensor that may hold all experts; empty: none may
  std::string gguf() const;                 // "blk.3.attn_q.weight"
  Shape file_shape(const HfConfig&) const;  // in the GGUF file: of all experts together
};

// All that a model of these sizes has, MTP layers last, in the order of the file. Rows that are optional are among
// them.
std::vector<PlacedRow> placed_rows(const HfConfig& config, int64_t n_mtp_layers);

std::string of_expert(std::string_view hf, int64_t expert);  // {E} becomes the number

}  // namespace hearth
