// The forward pass. One for all backends, and for experts wherever they are.
#pragma once

#include <functional>
#include <span>

#include "runtime/model/kv_cache.h"
#include "runtime/model/step.h"

namespace hearth {

// act.tokens [T] -> act.x [T,d], the residual stream behind the last layer; the cache's rows at the step's positions
// are written. `goes_on` is asked before each layer, and false ends the step there: then act.x is not to be used.
void forward(const Step& step, const Weights& weights, const LatentPool& cache,
             const std::function<bool(int64_t layer)>& goes_on);

// A row of act.x whose logits are wanted, and where, in the host's memory, after Device::finish: all, or some of the
// best.
struct WantedRow {
  int64_t row = 0;
  float* logits = nullptr;     // [V]
  std::span<Entry> best = {};  // [k]
};
// By rising rows.
void head(const Step& step, const Weights& weights, std::span<const WantedRow> wanted);

}  // namespace hearth
