// The feed-forward sublayer: dense in the first layers, DeepSeekMoE in the others (DeepSeek-V2 2.2, equations
// (20)-(22)).
#include "runtime/model/step.h"

namespace hearth {

// g: affinities s_i = score(x^T e_i) (22), of which the K largest count (21).
void route(const Step& s, const LayerWeights& w, Mat<const float> x) {
  s.ops.route(s.exec, s.config.routing, w.ffn_gate_inp, w.exp_probs_b, x, s.act.ids, s.act.weights);
}

Mat<const float> feed_forward(const Step& s, int64_t layer, const LayerWeights& w, Mat<const float> x,
                              const std::byte* rounded, Mat<float> y) {
  if (!w.ffn_gate_inp) {
    Exec exec = s.exec;
    exec.rounded = rounded;
    s.ops.ffn(exec, w.ffn, x, y);
    return {};
  }
  // sum of g_i FFN_i(x) over the chosen experts, and of the shared ones (20).
  return s.experts.moe_ffn(layer, w, {s.act.ids, s.act.weights, s.config.routing.n_activated, rounded}, x, y);
}

}  // namespace hearth
