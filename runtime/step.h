// The two sublayers of a decoder layer. model.cpp strings them together.
#pragma once

#include "kernels/ops.h"
#include "runtime/activations.h"
#include "runtime/config.h"
#include "runtime/model.h"
#include "runtime/weights.h"

namespace hearth {

class Hybrid;
class ReadAhead;

// Some tokens of one sequence on their way through the model: who computes, with what, and at which positions.
struct Step {
  const ModelConfig& config;
  const Ops& ops;
  const Exec& exec;
  const RopeTable& rope;
  Activations act;  // rows of this step
  Positions at;     // where these tokens stand
  const ModelOptions& options;
  const ReadAhead& read_ahead;
  Hybrid* hybrid = nullptr;  // null: all experts are where `ops` are

  int64_t n_tokens() const { return act.n_tokens(); }
};

// Multi-head latent attention: x [T,d] -> y [T,d], and T rows more in the cache.
void attention(const Step& step, const LayerWeights& w, const LatentCache& cache, Mat<const float> x, Mat<float> y);

// The dense FFN, or routed and shared experts: x [T,d] -> y [T,d].
void feed_forward(const Step& step, int64_t layer, const LayerWeights& w, Mat<const float> x, Mat<float> y);

}  // namespace hearth
