// The forward pass. One for all backends, and for experts wherever they are.
#pragma once

#include <functional>

#include "runtime/model/kv_cache.h"
#include "runtime/model/step.h"

namespace hearth {

// act.tokens [T] -> act.x [T,d], the residual stream behind the last layer; the cache's rows at the step's positions
// are written. `goes_on` is asked before each layer, and false ends the step there: then act.x is not to be used.
void forward(const Step& step, const Weights& weights, const KvCache& cache,
             const std::function<bool(int64_t layer)>& goes_on);

// Logits of n_rows rows of act.x from first_row on -> logits [n_rows, V], in the host's memory after Device::finish.
void head(const Step& step, const Weights& weights, int64_t first_row, int64_t n_rows, float* logits);

}  // namespace hearth
