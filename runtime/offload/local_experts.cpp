#include "runtime/offload/local_experts.h"

#include "kernels/watch.h"

namespace hearth {

Mat<const float> LocalExperts::moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                                       Mat<float> y) {
  if (watch_stopped()) return {};  // what the router chose is not to be told
  const std::span ids(chosen.ids, size_t(x.rows * chosen.n_activated));
  if (listener_) listener_(layer, step_, ids);
  if (read_ahead_.wanted()) read_ahead_.experts(w.experts, ids);
  ops_.moe_ffn(exec_, w.experts, w.shared, chosen.ids, chosen.weights, chosen.n_activated, x, y);
  return {};
}

}  // namespace hearth
