// Multi-head latent attention (DeepSeek-V2 2.1.2, equation numbers of the paper), both ways over one latent cache:
//
//   naive     keys and values of all heads are decompressed from the cache, then ordinary attention
//   absorbed  W^UK is moved into the query and W^UV behind the sum, so attention runs over the latents themselves
#include <algorithm>

#include "runtime/model/step.h"

namespace hearth {
namespace {

// Which costs fewer multiply-adds, per head. Absorbed compares and sums r-wide latents where naive has dn- and dv-wide
// heads, but naive first expands all n_kv latents. With DeepSeek's widths naive wins from 128 tokens on at a context of
// 512, from 171 on at a very long one, and decoding is always absorbed.
// A table whose absorbed form runs on faster units (Ops::absorbed_speed) uses naive later or never, one whose naive
// form does uses it earlier. On AVX-512 both forms are in floats or both in integers, and multiply-adds are what
// counts: in integers they take the same time for 142 tokens at a context of 512 and 178 at one of 2048 with 16 heads,
// 132 and 157 with 128, where this says 129 and 158.
bool naive_is_cheaper(const ModelConfig& c, double absorbed_speed, int64_t n_tokens, int64_t n_kv) {
  const int64_t expand = c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim);  // a latent, or a query and its output
  const int64_t naive = n_kv * expand + n_tokens * n_kv * (c.qk_head_dim() + c.v_head_dim);
  const int64_t absorbed = n_tokens * expand + n_tokens * n_kv * (c.cache_width() + c.kv_lora_rank);
  return n_tokens > 1 && double(naive) * absorbed_speed < double(absorbed);
}

bool use_naive(const Step& s, const LayerWeights& w, const LatentCache& cache, const Segment& segment) {
  if (s.attention != AttentionForm::automatic) return s.attention == AttentionForm::naive;
  const double speed = s.ops.absorbed_speed ? s.ops.absorbed_speed(w.attn_k_b, w.attn_v_b, cache.format) : 1;
  return naive_is_cheaper(s.config, speed, segment.n, segment.end());
}

// The part of every head's query that begins at column `first`: q [T, H (dn + dr)] -> [T, H, width].
Heads<float> head_part(const ModelConfig& c, Mat<float> q, int64_t first, int64_t width) {
  return {q.data + first, q.rows, c.n_heads, width, q.stride, c.qk_head_dim()};
}

Heads<float> as_heads(Mat<float> m, int64_t n_heads) {
  return {m.data, m.rows, n_heads, m.cols / n_heads, m.stride, m.cols / n_heads};
}

// q^C, q^R (12)-(14), (16): through a normalised latent, or straight from x where the model has none (Lite); c^KV and
// k^R (9), (15): all that is kept of a token, into the cache.
void project(const Step& s, const LayerWeights& w, const LatentCache& cache, Mat<const float> x) {
  const Activations& a = s.act;
  if (w.attn_q) {
    s.ops.matmul_pair(s.exec, w.attn_q, w.attn_kv_a_mqa, x, a.q, a.kv_a);
  } else {
    s.ops.matmul_pair(s.exec, w.attn_q_a, w.attn_kv_a_mqa, x, a.q_a, a.kv_a);
    s.ops.rms_norm(s.exec, a.q_a, w.attn_q_a_norm, s.config.norm_eps, a.q_a);
    s.ops.matmul(s.exec, w.attn_q_b, a.q_a, a.q);
  }
  s.ops.rope(s.exec, s.rope, a.positions,
             head_part(s.config, a.q, s.config.qk_nope_head_dim, s.config.qk_rope_head_dim));
  s.ops.store_latent(s.exec, a.kv_a, w.attn_kv_a_norm, s.config.norm_eps, s.rope, cache, s.at);
}

// The queries and outputs of some rows of the step, and where those stand.
struct Queries {
  Heads<const float> nope, rope;
  Heads<float> o;
  Positions at;

  Queries slice(int64_t first, int64_t n) const {
    return {nope.slice(first, n), rope.slice(first, n), o.slice(first, n), at.from(first)};
  }
  int64_t n_tokens() const { return nope.n_tokens; }
};

// k^C = W^UK c^KV, v^C = W^UV c^KV (10)-(11), o (18).
void naive_attention(const Step& s, const LayerWeights& w, const LatentCache& cache, const Queries& q) {
  s.ops.mha_attend(s.exec, q.nope, q.rope, w.attn_k_b, w.attn_v_b, cache, q.at, s.config.softmax_scale(), q.o);
}

// q^C^T (W^UK c) = (W^UK^T q^C)^T c, and sum_p p (W^UV c) = W^UV (sum_p p c).
void absorbed_attention(const Step& s, const LayerWeights& w, const LatentCache& cache, const Queries& all) {
  for (int64_t first = 0; first < all.n_tokens(); first += kAbsorbedTokens) {
    const int64_t n = std::min(kAbsorbedTokens, all.n_tokens() - first);
    const Queries q = all.slice(first, n);
    s.ops.absorbed_attend(s.exec, q.nope, q.rope, w.attn_k_b, w.attn_v_b, cache, q.at, s.config.softmax_scale(),
                          s.act.q_c.slice(0, n), s.act.o_c.slice(0, n), q.o);
  }
}

// How many segments from the i-th on have one token each: these attend together, so that W^UK and W^UV are read once.
size_t single_tokens(std::span<const Segment> segments, size_t i) {
  size_t n = 0;
  while (i + n < segments.size() && segments[i + n].n == 1) ++n;
  return n;
}

}  // namespace

void attention(const Step& s, const LayerWeights& w, const LatentCache& cache, Mat<const float> x, Mat<float> y) {
  project(s, w, cache, x);
  const Queries all = {head_part(s.config, s.act.q, 0, s.config.qk_nope_head_dim),
                       head_part(s.config, s.act.q, s.config.qk_nope_head_dim, s.config.qk_rope_head_dim),
                       as_heads(s.act.o, s.config.n_heads), s.at};
  for (size_t i = 0; i < s.segments.size();) {
    const Segment& segment = s.segments[i];
    const bool naive = use_naive(s, w, cache, segment);
    const size_t n = naive ? 1 : std::max<size_t>(single_tokens(s.segments, i), 1);
    Queries q = all.slice(segment.first_row, n > 1 ? int64_t(n) : segment.n);
    q.at.together = n == 1;
    (naive ? naive_attention : absorbed_attention)(s, w, cache, q);
    i += n;
  }
  s.ops.matmul(s.exec, w.attn_output, s.act.o, y);  // u = W^O [o_1; o_2; ...] (19)
}

Residual attention_of_one_token(const Step& s, const LayerWeights& w, const LatentCache& cache,
                                const Residual& residual, Mat<float> y) {
  const Activations& a = s.act;
  const AttentionWeights weights{.norm = w.attn_norm,
                                 .q = w.attn_q,
                                 .q_a = w.attn_q_a,
                                 .q_b = w.attn_q_b,
                                 .q_a_norm = w.attn_q_a_norm,
                                 .kv_a = w.attn_kv_a_mqa,
                                 .kv_a_norm = w.attn_kv_a_norm,
                                 .k_b = w.attn_k_b,
                                 .v_b = w.attn_v_b,
                                 .output = w.attn_output};
  const Residual left = s.ops.one_token.project(s.exec, weights, s.config.norm_eps, residual, s.rope, cache, s.at, a.h,
                                                a.q_a, a.kv_a, a.q);
  s.ops.one_token.attend(s.exec, weights, a.q, cache, s.at, s.config.softmax_scale(), a.q_c, a.o_c, a.o, y);
  return left;
}

}  // namespace hearth
