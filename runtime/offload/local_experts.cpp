#include "runtime/offload/local_experts.h"

#include "kernels/watch.h"

namespace hearth {

uint64_t LocalExperts::bytes_of(const FfnWeights& experts, std::span<const int32_t> ids) {
  seen_.assign(size_t(experts.gate.count), false);
  uint64_t n = 0;
  for (const int32_t id : ids) {
    n += !seen_[size_t(id)];
    seen_[size_t(id)] = true;
  }
  const auto bytes = [](const Weight& w) { return uint64_t(w.n) * w.row_bytes; };
  return n * (bytes(experts.gate) + bytes(experts.up) + bytes(experts.down));
}

Mat<const float> LocalExperts::moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                                       Mat<float> y) {
  if (watch_stopped()) return {};  // what the router chose is not to be told
  const std::span ids(chosen.ids, size_t(x.rows * chosen.n_activated));
  if (listener_) listener_(layer, step_, ids);
  if (on_host_) bytes_read_ += bytes_of(w.experts, ids);
  if (read_ahead_.wanted()) read_ahead_.experts(w.experts, ids);
  Exec exec = exec_;
  exec.rounded = chosen.rounded;
  ops_.moe_ffn(exec, w.experts, w.shared, chosen.ids, chosen.weights, chosen.n_activated, x, y);
  return {};
}

}  // namespace hearth
