// What it is worth to have an expert at hand, from the use of it so far. Pure bookkeeping, the same in the simulator
// and in a running model, so that what is compared is what runs.
//
// The values of the policies, all "higher: keep":
//
//   fixed     expected use as it was loaded; never changes
//   lru       when the expert was last used
//   lfu       how often it was used
//   adaptive  an estimate of the chance that the next token uses it: running means of an expert's use over several
//             half-lives (with one of them it would be LRFU, Lee et al. 2001) and the time since its last use, combined
//             linearly. The weights are those that would have predicted the last few thousand tokens best, by least
//             squares: where the text dwells on a topic short half-lives count, where a few experts are always the
//             busiest the long one does, and where the past says nothing the weights vanish and nothing is moved.
//
// A slice of a prompt is one step whose experts were used by a share of its tokens; it counts as at most kSliceTokens
// tokens, so that a long prompt does not drown what was learned from decoding.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hearth {

enum class ExpertPolicy { fixed, lru, lfu, adaptive };
std::string_view policy_name(ExpertPolicy policy);  // "static", "LRU", "LFU", "adaptive"

class ExpertUse {
 public:
  static constexpr int64_t kSliceTokens = 32;

  ExpertUse(ExpertPolicy policy, int64_t n_layers, int64_t n_experts);

  // Counts of earlier sessions: [n_layers][n_experts], in any unit, of about `tokens` tokens. Before the first step.
  void load(std::span<const float> counts, double tokens);
  // The same for the next session: tokens that used each expert, in the long run and of kMemoryTokens at most.
  std::vector<float> counts() const;
  double tokens() const { return tokens_; }

  // One layer of the step that goes on: ids [T,K]; those outside the model are not looked at. Only steps that decode
  // show what the next one of their kind will use.
  void note(int64_t layer, std::span<const int32_t> ids, int64_t n_tokens, bool decodes);
  // The step is over: values are those for the next one.
  void end_step();

  std::span<const float> values() const { return values_; }  // [n_layers][n_experts]
  // The difference of two values that is worth the copying of an expert.
  float margin() const { return margin_; }

 private:
  static constexpr int kMeans = 5, kRecencies = 3, kFeatures = kMeans + kRecencies;
  static constexpr double kMemoryTokens = 1 << 16;
  using Weights = std::array<double, kFeatures>;

  void learn();
  void fold(double tokens);
  void solve();

  ExpertPolicy policy_;
  int64_t n_layers_, n_experts_, n_;
  double tokens_ = 0, step_ = 0;
  float margin_ = 0;
  int64_t step_tokens_ = 0;       // of the step that goes on
  bool step_decodes_ = false;     // likewise
  std::vector<int32_t> touched_;  // in it, while it goes on, or in the last one
  bool fresh_ = true;             // nothing noted since the last step
  std::vector<float> use_;        // share of its tokens that used each expert
  std::vector<float> values_;
  std::vector<float> last_;                 // the step of its last use; LRU's value
  std::vector<float> features_[kFeatures];  // running means by rising half-life, then the recencies
  std::array<Weights, kFeatures> gram_{};   // sums of products of features, and of features and what followed
  Weights moment_{}, weights_{};
  int64_t next_layer_ = 0, until_solve_ = 0;
};

}  // namespace hearth
