// The routed experts of the MoE layers, as the forward sees them: something that is asked for their sum. Where they
// are, and who computes which of them, is not its business.
#pragma once

#include <cstddef>
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
  const std::byte* rounded = nullptr;  // of one token: x as Exec::rounded has it
};

// What the tokens of a step are to one another.
struct StepKind {
  int64_t n_tokens = 0;
  bool decodes = false;  // each is the next token of another sequence; otherwise they are a slice of prompts
  int64_t position = 0;  // of the first token
};

// Told which experts an MoE layer uses: ids [T, K] of the step's T tokens.
using RoutingListener = std::function<void(int64_t layer, const StepKind& step, std::span<const int32_t> ids)>;

class RoutedExperts {
 public:
  virtual ~RoutedExperts() = default;

  // Before the layers of a step.
  virtual void begin(const StepKind& step) = 0;

  // y = sum over k of weights[t,k] * expert[ids[t,k]](x) + shared(x): x [T,d] -> y [T,d]. What is returned, [T,d] or
  // without data, is still to be added: by the operation that takes y up, which saves one of its own.
  virtual Mat<const float> moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                                   Mat<float> y) = 0;
};

}  // namespace hearth
