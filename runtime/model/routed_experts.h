// The routed experts of the MoE layers, as the forward sees them: something that is asked for their sum. Where they
// are, and who computes which of them, is not its business.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "kernels/ops.h"
#include "runtime/model/weights.h"

namespace hearth {

// What the router chose for T tokens: [T, K] each, in the backend's memory, where they may still be on their way.
struct Chosen {
  const int32_t* ids = nullptr;
  const float* weights = nullptr;
  int64_t n_activated = 0;
};

// Told which experts an MoE layer uses: ids [T, K] of T tokens from `position` on.
using RoutingListener = std::function<void(int64_t layer, int64_t position, std::span<const int32_t> ids)>;

class RoutedExperts {
 public:
  virtual ~RoutedExperts() = default;

  // Before the layers of a step: how many tokens, from which position on.
  virtual void begin(int64_t n_tokens, int64_t position) = 0;

  // y = sum over k of weights[t,k] * expert[ids[t,k]](x) + shared(x): x [T,d] -> y [T,d]. What is returned, [T,d] or
  // without data, is still to be added: by the operation that takes y up, which saves one of its own.
  virtual Mat<const float> moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                                   Mat<float> y) = 0;
};

}  // namespace hearth
