// How fast a plan can decode at best: every token reads its weights and the cache, and memory delivers no faster than
// it does. For one token, with B the bytes of the part in question and share[tier] from the plan,
//
//   seconds = (B of attention, norms, router, dense layers, head, and of the cache) / bandwidth of where they are
//           + sum over MoE layers of max(gpu, host + disk), where
//     gpu  = (K expert share[vram] + shared experts) / vram_bandwidth
//     host = K expert (share[ram] + share[disk]) / ram_bandwidth
//     disk = K expert share[disk] / disk_bandwidth
//
// The GPU works while the host does; the host waits for what comes from disk before it computes with it. Without a GPU
// the host computes the shared experts too, and all weights whose place is the disk are read for every token.
// Arithmetic, what crosses between the two, and waiting are left out. A real token takes longer.
#pragma once

#include "runtime/offload/machine.h"
#include "runtime/offload/placement.h"

namespace hearth {

struct DecodeFloor {
  double tok_s = 0;                                            // 0: a bandwidth that it depends on is not known
  double vram_bytes = 0, ram_bytes = 0, disk_bytes = 0;        // read for a token
  double vram_seconds = 0, ram_seconds = 0, disk_seconds = 0;  // each by itself
};

// With `depth` tokens in the cache. Only the bandwidths of `machine` count.
DecodeFloor decode_floor(const ModelSizes& model, const Plan& plan, const Machine& machine, FormatId cache_format,
                         int64_t depth);

}  // namespace hearth
