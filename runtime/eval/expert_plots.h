// Pictures of experts: what a simulation found, and which experts a model uses.
#pragma once

#include <string>
#include <vector>

#include "runtime/eval/simulate.h"
#include "runtime/offload/expert_stats.h"

namespace hearth {

// Hit rate against the size of the GPU's pool, one line for each policy. `of`: what was simulated, a subtitle.
std::string plot_hit_rates(const Simulation& simulation, const std::string& of);

// Layers as rows, experts as columns; colour: an expert's use relative to the average one's.
std::string plot_heat_map(const ExpertStats& stats);

struct ExpertShares {
  double top_10 = 0, top_30 = 0;  // of all use, what the busiest tenth and three tenths of all experts have
  int64_t never = 0;              // experts that no token used
  struct Expert {
    int64_t layer = 0, expert = 0;
    double share = 0;  // of the tokens
  };
  std::vector<Expert> most, least;  // a few of each, in order
};
ExpertShares expert_shares(const ExpertStats& stats, size_t n_named = 5);

}  // namespace hearth
