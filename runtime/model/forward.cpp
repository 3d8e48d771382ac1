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
void add_and_normalize(const Step& s, Mat<const float> rest, const float* norm) {
  s.ops.add_rms_norm(s.exec, s.act.y, rest, s.act.x, norm, s.config.norm_eps, s.act.h);
}

}  // namespace

void forward(const Step& s, const Weights& weights, const LatentPool& cache,
             const std::function<bool(int64_t layer)>& goes_on) {
  const Activations& a = s.act;
  s.ops.embed(s.exec, weights.token_embd, a.tokens, a.x);
  Mat<const float> rest;  // of what the last layer's FFN gave
  for (int64_t i = 0; i < s.config.n_layers; ++i) {
    if (!goes_on(i)) return;
    const LayerWeights& w = weights.layers[size_t(i)];
    if (i == 0) {
      s.ops.rms_norm(s.exec, a.x, w.attn_norm, s.config.norm_eps, a.h);
    } else {
      add_and_normalize(s, rest, w.attn_norm);  // takes up what the last layer's FFN gave
    }
    attention(s, w, cache.layer(i), a.h, a.y);
    add_and_normalize(s, {}, w.ffn_norm);
    rest = feed_forward(s, i, w, a.h, a.y);
  }
  s.ops.add(s.exec, a.y, a.x);
  if (rest.data) s.ops.add(s.exec, rest, a.x);
}

// The head is the model's largest matrix, and of a prompt only the last row is wanted: so it has its norm to itself.
void head(const Step& s, const Weights& weights, std::span<const WantedRow> wanted) {
  const size_t row_bytes = size_t(s.config.vocab_size) * sizeof(float);
  for (size_t done = 0; done < wanted.size(); done += size_t(kHeadTokens)) {
    const auto some = wanted.subspan(done, std::min(size_t(kHeadTokens), wanted.size() - done));
    const int64_t n = int64_t(some.size());
    const Mat<float> h = s.act.h.slice(0, n), y = s.act.logits.slice(0, n);
    for (int64_t i = 0, run; i < n; i += run) {  // rows that follow one another have their norm at once
      for (run = 1; i + run < n && some[size_t(i + run)].row == some[size_t(i)].row + run;) ++run;
      s.ops.rms_norm(s.exec, s.act.x.slice(some[size_t(i)].row, run), weights.output_norm, s.config.norm_eps,
                     h.slice(i, run));
    }
    s.ops.matmul(s.exec, weights.output, h, y);
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
