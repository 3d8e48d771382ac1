// How tokens are given to experts: from keys, tensors, and the custom of the model's class.
#pragma once

#include "runtime/model/config.h"
#include "runtime/model/config_reader.h"

namespace hearth {

// What the published models of a class have where a file says nothing.
struct ClassCustom {
  const char* whose;  // "DeepSeek-V3's"
  int n_groups, n_limited_groups;
  bool normalize;
  float scale;
  float yarn_log_multiplier;
};

// The class is told by the gate, which read_experts has set: sigmoid is V3's. Among softmax models, 160 experts and a
// query latent tell V2 from V2-Lite. `c` has its widths.
const ClassCustom& class_custom(const ModelConfig& c);

// Sets all of `c` that is about experts; expects its layers and widths of attention. Throws Error(model).
void read_experts(ConfigReader& in, ModelConfig& c);

}  // namespace hearth
