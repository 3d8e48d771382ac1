// The router (docs/model.md section 4): scores, groups, the K best experts, their weights. float32 as in the reference;
// the sums inside a dot product and a softmax are double.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"
#include "kernels/scratch.h"

namespace hearth {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The index of the largest value whose flag is not set, the lowest such index among equals. If values are NaN, it is
// any index whose flag is not set.
template <class Taken>
int best_index(const float* values, int n, const Taken& taken) {
  int best = -1;
  for (int i = 0; i < n; ++i) {
    if (!taken(i) && (best < 0 || values[i] > values[best])) best = i;
  }
  return best;
}

void score_experts(Routing::Score score, const float* logits, int n, float* p) {
  if (score == Routing::Score::sigmoid) {
    for (int e = 0; e < n; ++e) p[e] = float(1.0 / (1.0 + std::exp(-double(logits[e]))));
    return;
  }
  const float largest = *std::max_element(logits, logits + n);
  double total = 0;
  for (int e = 0; e < n; ++e) total += std::exp(double(logits[e]) - largest);
  for (int e = 0; e < n; ++e) p[e] = float(std::exp(double(logits[e]) - largest) / total);
}

// V2: the group's largest score. V3: the sum of its two largest.
float group_score(Routing::GroupScore rule, const float* scores, int n) {
  float first = kLowest, second = kLowest;
  for (int i = 0; i < n; ++i) {
    if (scores[i] > first) {
      second = first;
      first = scores[i];
    } else if (scores[i] > second) {
      second = scores[i];
    }
  }
  return rule == Routing::GroupScore::top2_sum && n > 1 ? first + second : first;
}

// Sets the scores of all but the n_limited_groups best groups to -inf: zero would beat a negative biased score.
void limit_groups(const Routing& rule, float* scores, float* group_scores) {
  const int size = rule.n_experts / rule.n_groups;
  for (int g = 0; g < rule.n_groups; ++g) {
    group_scores[g] = group_score(rule.group_score, scores + g * size, size);
  }
  for (int g = 0; g < rule.n_groups; ++g) {
    int better = 0;  // groups that rank before this one
    for (int other = 0; other < rule.n_groups; ++other) {
      better += group_scores[other] > group_scores[g] || (group_scores[other] == group_scores[g] && other < g);
    }
    if (better >= rule.n_limited_groups) std::fill_n(scores + g * size, size, kLowest);
  }
}

}  // namespace

void select_experts(const Routing& rule, const float* logits, const float* bias, float* scratch, int32_t* ids,
                    float* weights) {
  const int E = rule.n_experts, K = rule.n_activated;
  assert(K <= E && rule.n_groups >= 1 && E % rule.n_groups == 0);
  float* p = scratch;        // scores: the weights are taken from these
  float* selection = p + E;  // biased scores: experts are chosen by these
  score_experts(rule.score, logits, E, p);
  for (int e = 0; e < E; ++e) selection[e] = bias ? p[e] + bias[e] : p[e];
  if (rule.n_groups > 1) limit_groups(rule, selection, selection + E);

  for (int k = 0; k < K; ++k) {
    ids[k] = best_index(selection, E, [&](int e) { return std::find(ids, ids + k, e) != ids + k; });
    weights[k] = p[ids[k]];
  }
  if (rule.normalize) {
    double total = 1e-20;
    for (int k = 0; k < K; ++k) total += weights[k];
    for (int k = 0; k < K; ++k) weights[k] = float(weights[k] / total);
  }
  for (int k = 0; k < K; ++k) weights[k] *= rule.scale;
}

namespace scalar {
namespace {

// The logits of all tokens, and for each thread one weight row and the scratch of select_experts.
struct Layout {
  float *logits, *row, *work;

  Layout(Scratch& scratch, int64_t n_threads, int64_t n_tokens, int64_t n_experts, int64_t dim) {
    logits = scratch.take<float>(n_tokens * n_experts);
    row = scratch.take<float>(n_threads * dim);
    work = scratch.take<float>(n_threads * 3 * n_experts);
  }
};

}  // namespace

size_t route_scratch(const ScratchLimits& l) {
  Scratch measure;
  Layout(measure, l.n_threads, l.max_tokens, l.n_experts, l.dim);
  return measure.used();
}

void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights) {
  const int64_t E = rule.n_experts, K = rule.n_activated;
  assert(gate_inp.n == E && gate_inp.k == x.cols);
  Scratch scratch(exec);
  const Layout layout(scratch, exec.n_threads, x.rows, E, x.cols);
  parallel_for(exec.n_threads, E, 4, [&](int64_t begin, int64_t end, int thread) {
    float* row = layout.row + thread * x.cols;
    for (int64_t e = begin; e < end; ++e) {
      gate_inp.format->decode(gate_inp.row(0, e), row, x.cols);
      for (int64_t t = 0; t < x.rows; ++t) layout.logits[t * E + e] = float(dot(row, x.row(t), x.cols));
    }
  });
  parallel_for(exec.n_threads, x.rows, 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t t = begin; t < end; ++t) {
      select_experts(rule, layout.logits + t * E, bias, layout.work + thread * 3 * E, ids + t * K, weights + t * K);
    }
  });
}

}  // namespace scalar
}  // namespace hearth
