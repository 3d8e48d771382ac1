// What is in a file: sizes by role and format, parameter counts, the model and its vocabulary in words. Reads the
// header only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "runtime/model/config.h"
#include "runtime/model/tensor_role.h"

namespace hearth {

struct Fact {
  std::string name, value;
};

// All tensors of one role in one format.
struct TensorGroup {
  TensorRole role = TensorRole::other;
  const Format* format = nullptr;
  int64_t n_tensors = 0;
  uint64_t n_parameters = 0, bytes = 0;

  double bits_per_weight() const { return n_parameters ? 8.0 * double(bytes) / double(n_parameters) : 0; }
};

struct InspectReport {
  uint64_t file_bytes = 0, tensor_bytes = 0;
  int64_t n_tensors = 0, n_parts = 1;
  std::vector<TensorGroup> groups;   // in the order of the forward pass, then by bytes
  uint64_t n_parameters = 0;         // of the model itself, without MTP layers
  uint64_t n_active_parameters = 0;  // used per token: K of E experts, the head, without the embedding's lookup
  double bits_per_weight = 0;
  std::string kv_layout;                        // which tensors hold W^UK and W^UV: kv_layout_name
  std::optional<ModelConfig> config;            // absent: another architecture, or a vocabulary without a model
  std::string why_not;                          // why the model does not run here; empty: it does
  std::vector<Fact> model, vocabulary, origin;  // for people
};

// Throws nothing about the model: a file that cannot be run can still be looked at.
InspectReport inspect(const GgufFile& file);

}  // namespace hearth
