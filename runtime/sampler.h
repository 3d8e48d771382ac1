// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/tokenizer.h"

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

class Sampler {
 public:
  // Throws Error(usage) naming the option, the value and the accepted range.
  explicit Sampler(const SamplerOptions& options);
  // Tokens that must never be chosen (unused rows of the vocabulary).
  void forbid(std::vector<Token> tokens);
  // logits [V]; `recent`: the sequence so far. Ties go to the lowest id. NaN logits are never chosen; throws
  // Error(model) when nothing is left.
  Token sample(std::span<const float> logits, std::span<const Token> recent);

 private:
  SamplerOptions options_;
  std::vector<Token> forbidden_;
  std::mt19937_64 random_;
};

}  // namespace hearth
