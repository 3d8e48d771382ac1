// The feed-forward sublayer: dense in the first layers, DeepSeekMoE in the others (DeepSeek-V2 2.2, equations
// (20)-(22)).
#include "kernels/watch.h"
#include "runtime/hybrid.h"
#include "runtime/layer.h"
#include "runtime/read_ahead.h"

namespace hearth {

void feed_forward(const Step& s, int64_t layer, const LayerWeights& w, Mat<const float> x, Mat<float> y) {
  if (!w.ffn_gate_inp) {
    s.ops.ffn(s.exec, w.ffn, x, y);
    return;
  }
  const Routing& rule = s.config.routing;
  s.ops.route(s.exec, rule, w.ffn_gate_inp, w.exp_probs_b, x, s.act.ids, s.act.weights);
  if (s.hybrid) {
    s.hybrid->moe_ffn(s, layer, w.shared, x, y);
    return;
  }
  if (watch_stopped()) return;  // what the router chose is not to be told
  if (s.options.routed) s.options.routed(layer, s.at.first, {s.act.ids, size_t(s.n_tokens() * rule.n_activated)});
  if (s.read_ahead.wanted()) s.read_ahead.experts(w.experts, {s.act.ids, size_t(s.n_tokens() * rule.n_activated)});
  s.ops.moe_ffn(s.exec, w.experts, w.shared, s.act.ids, s.act.weights, rule.n_activated, x, y);
}

}  // namespace hearth
