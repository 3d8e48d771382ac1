// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/engine/logit_row.h"
#include "runtime/support/token.h"

namespace hearth {

struct TokenBias {
  Token token = 0;
  float bias = 0;
};

struct SamplerOptions {
  float temperature = 0.3f;         // 0: greedy (then top-k, top-p and min-p do nothing)
  int top_k = 0;                    // 0: all
  float top_p = 0.95f;              // 1: off
  float min_p = 0.0f;               // 0: off; share of the best token's probability
  float repetition_penalty = 1.0f;  // 1: off; divides positive and multiplies negative logits of recent tokens
  int repetition_window = 64;
  // 0: off. A generated token's logit falls by the first for each time it came, and by the second if it came at all.
  float frequency_penalty = 0.0f, presence_penalty = 0.0f;
  std::vector<TokenBias> logit_bias;  // added: -100 forbids and 100 forces, as logits go
  uint64_t seed = 0;                  // the same seed gives the same text
};

// How many of the best logits of a row are enough to choose as from all of them, so that a device need not hand out the
// others; 0: all. The best are those of tokens that are not forbidden; of equal ones those of the lowest ids.
int64_t enough_logits(const SamplerOptions& options);

// The sequence so far.
struct Past {
  std::span<const Token> tokens;
  size_t n_generated = 0;  // of those, the last: what is before them is the prompt
};

// In this order: forbidden tokens and logits of -inf go; repetition penalty; frequency and presence penalty; bias;
// temperature; the top_k best; of those the fewest that hold top_p of their probability; of those the ones with min_p
// of the best one's probability; a draw among them.
class Sampler {
 public:
  // Throws Error(usage) naming the option, the value and the accepted range.
  explicit Sampler(const SamplerOptions& options);
  // Tokens that must never be chosen (unused rows of the vocabulary).
  void forbid(std::vector<Token> tokens);
  std::span<const Token> forbidden() const { return forbidden_; }
  const SamplerOptions& options() const { return options_; }
  // logits [V]. Ties go to the lowest id; tokens of the past and of the bias that the row does not have do nothing.
  // allowed: LogitRow's; none: all that are not forbidden.
  // Throws Error(model): a logit that is NaN or +inf (the weights are broken, and whatever would be chosen is garbage);
  // nothing left to choose.
  Token sample(std::span<const float> logits, const Past& past, std::span<const uint64_t> allowed = {});
  // The same token, of the enough_logits() best ones of a row or more, the best first (fewer where the row is shorter).
  // Whether the row's others are numbers is for the device to find out.
  Token sample_best(std::span<const TokenLogit> best);

 private:
  struct Candidate : TokenLogit {
    float weight;  // e^((logit - best logit) / temperature): its probability, up to a common factor
  };
  void penalise(const Past& past);
  template <class F>
  void for_each_distinct(std::span<const Token> tokens, F&& f);
  float least_logit(float best, double weight) const;
  double collect(float best, double weight);
  double weigh(float best);
  Token choose(float best, double total);
  void keep_share(float best, double weight);
  double uniform();

  SamplerOptions options_;
  std::vector<Token> forbidden_;
  std::mt19937_64 random_;
  // Memory of `sample`.
  LogitRow row_;
  std::vector<Candidate> candidates_, sorted_;  // by token; partly sorted
  std::vector<uint32_t> counts_;                // [V], all 0
};

}  // namespace hearth
