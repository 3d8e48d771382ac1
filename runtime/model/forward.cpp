// DeepSeek-V2 from tokens to logits. Every layer is
//
//   u = x + Attention(RMSNorm(x))            attention.cpp   equations (9)-(19)
//   x = u + FFN(RMSNorm(u))                  ffn.cpp         equations (20)-(22)
//
// x [T, d] is the residual stream, and the only thing that walks through the layers. h is x after a norm, y what a
// sublayer gives. Numbers are those of the DeepSeek-V2 paper (arXiv:2405.04434); the shapes' letters stand in
// quant/gguf_keys.h.
#include "runtime/model/forward.h"

#include <algorithm>

namespace hearth {
namespace {

// x += y + rest, h = RMSNorm(x): in one operation, because both read all of x.
void normalize(const Step& s, const Residual& r, const float* norm) {
  if (r.y.data) {
    s.ops.add_rms_norm(s.exec, r.y, r.rest, r.x, norm, s.config.norm_eps, s.act.h);
  } else {
    s.ops.rms_norm(s.exec, r.x, norm, s.config.norm_eps, s.act.h);
  }
}

// A layer; what it gives is still to be added to x.
Residual layer(const Step& s, int64_t i, const LayerWeights& w, const LatentCache& cache, const Residual& before) {
  const Activations& a = s.act;
  normalize(s, before, w.attn_norm);
  attention(s, w, cache, a.h, a.y);
  normalize(s, {a.x, a.y, {}}, w.ffn_norm);
  if (w.ffn_gate_inp) route(s, w, a.h);
  return {a.x, a.y, feed_forward(s, i, w, a.h, nullptr, a.y)};
}

// The same for one token, in the operations that the table has for that.
Residual layer_of_one_token(const Step& s, int64_t i, const LayerWeights& w, const LatentCache& cache,
                            const Residual& before) {
  const Activations& a = s.act;
  Residual r = attention_of_one_token(s, w, cache, before, a.attended);
  (r.y.data ? r.rest : r.y) = a.attended;
  if (w.ffn_gate_inp) {
    s.ops.one_token.route(s.exec, s.config.routing, w.ffn_gate_inp, w.exp_probs_b, r, w.ffn_norm, s.config.norm_eps,
                          a.h, a.rounded, a.ids, a.weights);
  } else {
    s.ops.one_token.norm(s.exec, r, w.ffn_norm, s.config.norm_eps, a.h, a.rounded);
  }
  return {a.x, a.y, feed_forward(s, i, w, a.h, a.rounded, a.y)};
}

// Rows that follow one another have their norm at once: h [n, d].
void norm_of_rows(const Step& s, const float* norm, std::span<const WantedRow> wanted, Mat<float> h) {
  const auto n = int64_t(wanted.size());
  for (int64_t i = 0, run; i < n; i += run) {
    const int64_t first = wanted[size_t(i)].row;
    for (run = 1; i + run < n && wanted[size_t(i + run)].row == first + run;) ++run;
    s.ops.rms_norm(s.exec, s.act.x.slice(first, run), norm, s.config.norm_eps, h.slice(i, run));
  }
}

}  // namespace

void forward(const Step& s, const Weights& weights, const LatentPool& cache,
             const std::function<bool(int64_t layer)>& goes_on) {
  const Activations& a = s.act;
  const bool one_token = s.n_tokens() == 1 && s.ops.one_token.project && s.attention != AttentionForm::naive;
  s.ops.embed(s.exec, weights.token_embd, a.tokens, a.x);
  Residual r{a.x, {}, {}};
  for (int64_t i = 0; i < s.config.n_layers; ++i) {
    if (!goes_on(i)) return;
    r = (one_token ? layer_of_one_token : layer)(s, i, weights.layers[size_t(i)], cache.layer(i), r);
  }
  for (const Mat<const float>& left : {r.y, r.rest}) {
    if (left.data) s.ops.add(s.exec, left, a.x);
  }
}

// The head is the model's largest matrix, and of a prompt only the last row is wanted: so it has its norm to itself.
void head(const Step& s, const Weights& weights, std::span<const WantedRow> wanted) {
  const size_t row_bytes = size_t(s.config.vocab_size) * sizeof(float);
  for (size_t done = 0; done < wanted.size(); done += size_t(kHeadTokens)) {
    const auto some = wanted.subspan(done, std::min(size_t(kHeadTokens), wanted.size() - done));
    const int64_t n = int64_t(some.size());
    const Mat<float> h = s.act.h.slice(0, n), y = s.act.logits.slice(0, n);
    Exec exec = s.exec;
    if (n == 1 && s.ops.one_token.norm) {
      exec.rounded = s.act.rounded;
      s.ops.one_token.norm(s.exec, {s.act.x.slice(some[0].row, 1), {}, {}}, weights.output_norm, s.config.norm_eps, h,
                           s.act.rounded);
    } else {
      norm_of_rows(s, weights.output_norm, some, h);
    }
    s.ops.matmul(exec, weights.output, h, y);
    const auto n_best = [](const WantedRow& wanted) { return int64_t(wanted.best.size()); };
    const Mat<Entry> best = s.act.best.slice(0, n).columns(0, n_best(std::ranges::max(some, {}, n_best)));
    if (best.cols > 0) s.ops.largest(s.exec, y, s.act.left_out, best);
    for (int64_t i = 0; i < n; ++i) {
      const WantedRow& to = some[size_t(i)];
      if (to.logits) s.device.move(y.row(i), to.logits, row_bytes);
      if (!to.best.empty()) s.device.move(best.row(i), to.best.data(), to.best.size_bytes());
    }
  }
}

}  // namespace hearth
