// How often each expert was used, kept beside the model (MODEL.gguf.experts) so that the next start is warm. JSON:
//
//   {"version": 1,
//    "model": "0123456789abcdef",        key of the model that was measured, 16 hexadecimal digits
//    "layers": 26, "experts": 64,        MoE layers, experts of each
//    "tokens": 12345.0,                  tokens seen; old ones fade (ExpertUse::counts)
//    "counts": [[12.5, ...], ...]}       [layers][experts]: those of them that used the expert
//
// They are a hint. Nothing goes wrong without them, so that a file that cannot be read or written, is damaged or of
// another model is only worth a line to the user.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "runtime/model/config.h"

namespace hearth {

struct ExpertStats {
  uint64_t model_key = 0;
  int64_t n_layers = 0, n_experts = 0;
  double tokens = 0;
  std::vector<float> counts;  // [n_layers][n_experts]
};

std::string expert_stats_path(const std::string& model_path);

// XXH3-64 of the headers of a file and its parts (everything before the first tensor's bytes) and of their sizes. The
// headers that hearth writes hold the XXH3-64 of every tensor, so this is a key of all their bytes without reading
// them.
uint64_t model_key(const GgufFile& file);

// For a model of which nothing is known yet: no tokens, and no counts.
ExpertStats no_expert_stats(const GgufFile& file, const ModelConfig& config);

// Throws Error(file), Error(format): what is wrong in it.
ExpertStats read_expert_stats(const std::string& path);

struct LoadedExpertStats {
  std::optional<ExpertStats> stats;
  std::string why_not;  // one line for the user; empty where there is no such file yet
};
// Those of this model, `expected` but for tokens and counts. Throws nothing.
LoadedExpertStats load_expert_stats(const std::string& path, const ExpertStats& expected);
// Empty: done; else why not, for example because the folder is read-only. Throws nothing.
std::string save_expert_stats(const std::string& path, const ExpertStats& stats);

}  // namespace hearth
