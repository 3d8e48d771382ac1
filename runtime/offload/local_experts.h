// Routed experts that all lie where the rest of the model does.
#pragma once

#include "runtime/model/config.h"
#include "runtime/model/routed_experts.h"
#include "runtime/offload/read_ahead.h"

namespace hearth {

class LocalExperts : public RoutedExperts {
 public:
  // All of these must outlive this. Who listens, or reads ahead, needs ids that the host can read as soon as `route`
  // returns.
  LocalExperts(const Ops& ops, const Exec& exec, const ReadAhead& read_ahead, const RoutingListener& listener)
      : ops_(ops), exec_(exec), read_ahead_(read_ahead), listener_(listener) {}

  void begin(const StepKind& step) override { step_ = step; }
  Mat<const float> moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                           Mat<float> y) override;

 private:
  const Ops& ops_;
  const Exec& exec_;
  const ReadAhead& read_ahead_;
  const RoutingListener& listener_;
  StepKind step_;
};

}  // namespace hearth
