// A step: some tokens of one or several sequences on their way through the model, and the two sublayers that they pass
// in every layer (forward.cpp strings these together).
#pragma once

#include "kernels/device.h"
#include "kernels/ops.h"
#include "runtime/model/activations.h"
#include "runtime/model/config.h"
#include "runtime/model/routed_experts.h"
#include "runtime/model/weights.h"

namespace hearth {

// How attention over the latent cache is computed: in the form that costs less, or, for tests, always in one of them.
enum class AttentionForm { automatic, absorbed, naive };

// Rows of a step that are consecutive tokens of one sequence.
struct Segment {
  int64_t first_row = 0, n = 0;
  int64_t position = 0;  // of the first of them

  int64_t end() const { return position + n; }
};

// Who computes, with what, and at which positions.
struct Step {
  const ModelConfig& config;
  const Ops& ops;
  const Exec& exec;
  Device& device;
  const RopeTable& rope;
  RoutedExperts& experts;
  AttentionForm attention = AttentionForm::automatic;
  Activations act;  // rows of this step
  Positions at;     // where these tokens stand, all segments together
  std::span<const Segment> segments;

  int64_t n_tokens() const { return act.n_tokens(); }
};

// Multi-head latent attention: x [T,d] -> y [T,d], and a row more in the cache for each token.
void attention(const Step& step, const LayerWeights& w, const LatentCache& cache, Mat<const float> x, Mat<float> y);

// The same for one token, by Ops::one_token, with the residual sum and the norm before it: y [1,d] is what attention
// gives. Returns what is left of the residual.
Residual attention_of_one_token(const Step& step, const LayerWeights& w, const LatentCache& cache,
                                const Residual& residual, Mat<float> y);

// Which experts an MoE layer uses: x [T,d] -> act.ids, act.weights.
void route(const Step& step, const LayerWeights& w, Mat<const float> x);

// The dense FFN, or shared experts and those that were chosen: x [T,d], of one token also as Exec::rounded has it, or
// null -> y [T,d]. Returns what is still to be added to y (RoutedExperts::moe_ffn).
Mat<const float> feed_forward(const Step& step, int64_t layer, const LayerWeights& w, Mat<const float> x,
                              const std::byte* rounded, Mat<float> y);

}  // namespace hearth
