// Routed experts that all lie where the rest of the model does.
#pragma once

#include <vector>

#include "runtime/model/config.h"
#include "runtime/model/routed_experts.h"
#include "runtime/offload/read_ahead.h"

namespace hearth {

class LocalExperts : public RoutedExperts {
 public:
  // All of these must outlive this. Who listens, or reads ahead, needs ids that the host can read as soon as `route`
  // returns.
  LocalExperts(const Ops& ops, const Exec& exec, const ReadAhead& read_ahead, const RoutingListener& listener,
               bool on_host)
      : ops_(ops), exec_(exec), read_ahead_(read_ahead), listener_(listener), on_host_(on_host) {}

  void begin(const StepKind& step) override { step_ = step; }
  Mat<const float> moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                           Mat<float> y) override;
  // Of the experts of each step, each counted once, since the beginning. 0 on a GPU, which tells nobody its choices.
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  uint64_t bytes_of(const FfnWeights& experts, std::span<const int32_t> ids);

  const Ops& ops_;
  const Exec& exec_;
  const ReadAhead& read_ahead_;
  const RoutingListener& listener_;
  bool on_host_;
  StepKind step_;
  std::vector<bool> seen_;  // [E]: memory of bytes_of
  uint64_t bytes_read_ = 0;
};

}  // namespace hearth
