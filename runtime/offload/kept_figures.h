// What was measured of this machine and seen of models that ran on it, in bytes/s, kept in a file for the next time.
//
// It is FOLDER/bandwidth.json, and a hint: a file that is damaged or somebody else's counts for nothing, and one that
// cannot be written is not missed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/offload/prefill_share.h"

namespace hearth {

// The conditions of figures: what was taken under others counts for nothing.
struct MeasuredOn {
  int n_threads = 1;
  std::string cpu, gpu;  // in words
  std::string folder;    // of the file; empty: nothing is kept
};

// $XDG_CACHE_HOME/hearth, or ~/.cache/hearth; empty: neither variable is an absolute path.
std::string cache_folder();

struct KeptFigure {
  double value = 0;
  int64_t at = 0;  // seconds since 1970
};
// By name: "ram", "vram GPU" and "pcie GPU" for each GPU, "disk 8:1" for each disk by its device number, and "prefill
// KEY GPU host" and "... copy" for each model's key ("... pairs" is pairs/s), "decode KEY" and "decode KEY GPU" what a
// model read.
using KeptFigures = std::map<std::string, KeptFigure>;

KeptFigures read_kept(const MeasuredOn& machine);
void keep(const MeasuredOn& machine, const KeptFigures& figures);

// The fastest that is seen of anything is below; above it is damage.
inline constexpr double kFastest = 1e15;
std::string decode_figure(uint64_t model_key, const std::string& gpu);  // a name

// What a model that runs has seen of this machine, in bytes/s; 0: nothing.
struct SeenBandwidths {
  double memory = 0;    // measured beside it
  double decoding = 0;  // that it read itself: more than memory gives where it fits the processor's caches
  bool on_gpu = false;  // of the GPU's memory
};
// Raises what is kept under the same conditions; figures of other conditions stay. `model_key`: of expert_stats.h.
void keep_seen(const MeasuredOn& machine, uint64_t model_key, const SeenBandwidths& seen);

// The rates at which prompts of a model run here, as earlier sessions saw them; 0: not known.
PrefillRates kept_rates(const MeasuredOn& machine, uint64_t model_key);
void keep_rates(const MeasuredOn& machine, uint64_t model_key, const PrefillRates& rates);

}  // namespace hearth
