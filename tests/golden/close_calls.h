// Where the router decides by so little that rounding may turn it: there a token goes to another expert, and logits of
// two right programs differ by half their range. Told by the scalar table, which does not round.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "runtime/engine/model.h"

namespace hearth::test {

// Can the choice change if each of a token's router logits [E] moves by up to `off`? It cannot where even then every
// group that was kept ranks before all others, and every expert chosen before the rest of the groups kept.
inline bool is_close_call(const Routing& rule, std::span<const float> logits, const float* bias,
                          std::span<const int32_t> chosen, double off) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const int E = rule.n_experts, size = E / rule.n_groups;
  // A softmax keeps the order of the logits; where sums of two or a bias count, the rule is sigmoid's.
  const auto score = [&](int e, double by) {
    const double moved = double(logits[size_t(e)]) + by;
    return (rule.score == Routing::Score::sigmoid ? 1 / (1 + std::exp(-moved)) : moved) + (bias ? bias[e] : 0.0f);
  };
  const auto group_score = [&](int g, double by) {
    double first = -kInfinity, second = -kInfinity;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      second = std::max(second, std::min(first, score(e, by)));
      first = std::max(first, score(e, by));
    }
    return rule.group_score == Routing::GroupScore::top2_sum && size > 1 ? first + second : first;
  };
  std::vector<int> groups(static_cast<size_t>(rule.n_groups));
  for (int g = 0; g < rule.n_groups; ++g) groups[size_t(g)] = g;
  std::ranges::stable_sort(groups, [&](int a, int b) { return group_score(a, 0) > group_score(b, 0); });

  double lowest_in = kInfinity, highest_out = -kInfinity;
  if (rule.n_groups > 1) {
    for (int i = 0; i < rule.n_groups; ++i) {
      const int g = groups[size_t(i)];
      if (i < rule.n_limited_groups) {
        lowest_in = std::min(lowest_in, group_score(g, -off));
      } else {
        highest_out = std::max(highest_out, group_score(g, off));
      }
    }
    if (lowest_in <= highest_out) return true;
    groups.resize(size_t(rule.n_limited_groups));
  }
  lowest_in = kInfinity, highest_out = -kInfinity;
  for (const int g : groups) {
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (std::ranges::find(chosen, e) != chosen.end()) {
        lowest_in = std::min(lowest_in, score(e, -off));
      } else {
        highest_out = std::max(highest_out, score(e, off));
      }
    }
  }
  return lowest_in <= highest_out;
}

// Looks on while a model runs with ops(), one after the other: one layer's calls for all tokens, then the next.
class CloseCalls {
 public:
  // Calls that turn if router logits are off by that much of the largest one of their token.
  explicit CloseCalls(double tolerance) {
    watched().tolerance = tolerance;
    watched().layers.clear();
  }
  // The scalar table, watched.
  static const Ops& ops() {
    static const Ops table = [] {
      Ops ops = scalar_ops();
      ops.route = route;
      return ops;
    }();
    return table;
  }
  // Of the tokens of one run: which have no close call, and attend to none with one. What a layer makes of a token is
  // seen by later tokens in the next layer, so a close call in the last layer is its own token's matter.
  static std::vector<bool> clear_tokens() {
    const auto& layers = watched().layers;
    std::vector<bool> clear(layers.empty() ? 0 : layers.front().size());
    bool spread = false;
    for (size_t t = 0; t < clear.size(); ++t) {
      bool close = false;
      for (size_t layer = 0; layer < layers.size(); ++layer) {
        close = close || layers[layer][t];
        spread = spread || (layers[layer][t] && layer + 1 < layers.size());
      }
      clear[t] = !close && !spread;
    }
    return clear;
  }
  // Which have a close call of their own.
  static std::vector<bool> on_edge() {
    std::vector<bool> any;
    for (const std::vector<bool>& layer : watched().layers) {
      any.resize(layer.size());
      for (size_t t = 0; t < layer.size(); ++t) any[t] = any[t] || layer[t];
    }
    return any;
  }

 private:
  struct Watched {
    double tolerance = 0;
    std::vector<std::vector<bool>> layers;  // [layers][T]
  };
  static Watched& watched() {
    static Watched w;
    return w;
  }
  static void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias,
                    Mat<const float> x, int32_t* ids, float* weights) {
    scalar_ops().route(exec, rule, gate_inp, bias, x, ids, weights);
    std::vector<float> row(static_cast<size_t>(gate_inp.k)), logits(static_cast<size_t>(rule.n_experts));
    std::vector<bool> close;
    for (int64_t t = 0; t < x.rows; ++t) {
      double largest = 0;
      for (int e = 0; e < rule.n_experts; ++e) {
        gate_inp.format->decode(gate_inp.row(0, e), row.data(), gate_inp.k);
        logits[size_t(e)] = float(scalar::dot(row.data(), x.row(t), gate_inp.k));
        largest = std::max(largest, double(std::abs(logits[size_t(e)])));
      }
      const std::span<const int32_t> chosen(ids + t * rule.n_activated, size_t(rule.n_activated));
      close.push_back(is_close_call(rule, logits, bias, chosen, watched().tolerance * largest));
    }
    watched().layers.push_back(std::move(close));
  }
};

}  // namespace hearth::test
