// How fast a model runs here, and how near that is to what memory allows.
//
// The floor of decoding is bytes: every token reads the active weights and the cache once, so no decoder is faster than
// read bandwidth / bytes per token. Bandwidth changes from minute to minute on shared machines; it is measured right
// before and after each decoding run, and the medians are compared.
// With experts on both sides the floor is the host's: what it reads for a token, by its bandwidth. The GPU's memory is
// several times faster, and full.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "runtime/engine/model.h"
#include "runtime/eval/bandwidth.h"
#include "runtime/eval/timeline.h"

namespace hearth {

struct BenchOptions {
  int64_t prefill = 512, decode = 128;  // tokens of each; 0: not measured
  int64_t depth = 0;                    // tokens in the cache beforehand
  int repetitions = 5;
  std::function<bool(std::string_view what, int done, int total)> progress;  // false: interrupted
  std::function<bool()> stop_now;  // asked all the time, also in the middle of a layer; true: interrupted
};

// The same thing measured several times.
struct Samples {
  std::vector<double> values;  // in the order measured

  bool empty() const { return values.empty(); }
  double median() const;  // 0 when empty
  double min() const;
  double max() const;
};

struct BenchResult {
  Samples prefill, decode;        // tok/s
  Samples read_bandwidth;         // bytes/s of the memory that holds the weights: ReadBandwidth or CopyBandwidth
  uint64_t active_bytes = 0;      // weights read per decoded token
  uint64_t cache_bytes = 0;       // latent cache read per decoded token, at the middle of the decoding run
  bool hybrid = false;            // experts on both sides: the two are what the host reads, which is experts only
  double decode_floor = 0;        // tok/s: bandwidth / (active_bytes + cache_bytes); 0: nothing is read there
  double decode_share = 0;        // decode / decode_floor; above 1 where the model fits the processor's caches
  double decode_bytes_per_s = 0;  // (active_bytes + cache_bytes) * decode
  Timeline timeline;              // hybrid: of one token more; empty where the GPU keeps no recorded steps
};

// One unmeasured run warms up: it brings the weights into memory. Throws Error(usage): counts out of range, or more
// tokens than the context holds; Error(interrupted).
BenchResult bench(Model& model, const BenchOptions& options);

}  // namespace hearth
