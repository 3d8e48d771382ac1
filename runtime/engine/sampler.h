// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

struct SamplerOptions {
  float temperature = 0.3f;         // 0: greedy (then top-k, top-p and min-p do nothing)
  int top_k = 0;                    // 0: all
  float top_p = 0.95f;              // 1: off
  float min_p = 0.0f;               // 0: off; share of the best token's probability
  float repetition_penalty = 1.0f;  // 1: off; divides positive and multiplies negative logits of recent tokens
  int repetition_window = 64;
  uint64_t seed = 0;  // the same seed gives the same text
};

// In this order: forbidden tokens and logits of -inf go; repetition penalty; temperature; the top_k best; of those the
// fewest that hold top_p of their probability; of those the ones with min_p of the best one's probability; a draw among
// them.
class Sampler {
 public:
  // Throws Error(usage) naming the option, the value and the accepted range.
  explicit Sampler(const SamplerOptions& options);
  // Tokens that must never be chosen (unused rows of the vocabulary).
  void forbid(std::vector<Token> tokens);
  // logits [V]; `recent`: the sequence so far. Ties go to the lowest id. Throws Error(model): a logit that is NaN or
  // +inf (the weights are broken, and whatever would be chosen is garbage); nothing left to choose.
  Token sample(std::span<const float> logits, std::span<const Token> recent);

 private:
  struct Candidate {
    Token token;
    float relative;  // (logit - best logit) / temperature
    float weight;    // exp(relative): its probability, up to a common factor
  };
  struct Better {  // a type, so that sorting inlines it
    bool operator()(const Candidate& a, const Candidate& b) const {
      return a.relative != b.relative ? a.relative > b.relative : a.token < b.token;
    }
  };
  void require_numbers() const;
  void penalise(std::span<const Token> recent);
  void keep_best(size_t count);
  void keep_share(float share);
  void drop_worse_than(const Candidate& last);
  Token draw();

  SamplerOptions options_;
  std::vector<Token> forbidden_;
  std::mt19937_64 random_;
  // Memory of `sample`.
  std::vector<float> logits_;                   // changed
  std::vector<Candidate> candidates_, sorted_;  // by token; partly sorted
};

}  // namespace hearth
