// Rotary positions with YaRN (Peng et al. 2023, as DeepSeek uses it: docs/model.md section 3).
#pragma once

#include <vector>

#include "runtime/model/config.h"

namespace hearth {

// Radians per position of each pair: [qk_rope_head_dim / 2].
std::vector<double> rope_frequencies(const ModelConfig& config);

// (cos, sin) of position * frequency for the pairs of positions 0 .. n_ctx - 1: [n_ctx, qk_rope_head_dim / 2, 2], what
// a RopeTable points to. Angles are computed in double: in float32 they are off by 0.006 at position 100000.
std::vector<float> rope_angles(const ModelConfig& config, int64_t n_ctx);

}  // namespace hearth
