// The logits of one row, for those who choose among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "runtime/support/token.h"

namespace hearth {

inline constexpr float kImpossible = -std::numeric_limits<float>::infinity();  // the logit of what cannot be chosen

struct TokenLogit {
  Token token = 0;
  float logit = 0;
};
struct BetterLogit {  // a type, so that sorting inlines it
  bool operator()(const TokenLogit& a, const TokenLogit& b) const {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }
};

// Throws Error(model): a model's logit that is NaN or +inf (the weights are broken, and whatever would be chosen is
// garbage).
void require_number(TokenLogit logit);

// The row is looked at where it lies, in blocks: one pass finds the best of each, and most blocks are never looked at
// again. Only blocks in which something is forbidden or changed are copied, and the last one if it is not full: what it
// lacks is -inf.
class LogitRow {
 public:
  // logits [V], which are to stay where they are. Forbidden tokens' logits are -inf from here on; ids outside the row
  // do nothing. allowed [V / 64, rounded up], unless it is empty: a bit for each token, and those without are forbidden
  // too. Throws as require_number, but for what is forbidden.
  void read(std::span<const float> logits, std::span<const Token> forbidden, std::span<const uint64_t> allowed = {});

  size_t size() const { return size_; }
  bool has(Token token) const { return size_t(token) < size_; }
  float operator[](Token token) const { return blocks_[size_t(token) / kBlock][size_t(token) % kBlock]; }
  void set(Token token, float logit);

  float best() const;  // kImpossible: of all
  Token first(float best) const;

  // Calls f(TokenLogit) for all logits of at least `least`, which is more than -inf, by token.
  template <class F>
  void each_from(float least, F&& f) const {
    for (size_t b = 0; b < blocks_.size(); ++b) {
      if (bests_[b] < least) continue;
      const float* const block = blocks_[b];
      for (size_t i = 0; i < kBlock; ++i)
        if (block[i] >= least) f(TokenLogit{Token(b * kBlock + i), block[i]});
    }
  }
  // The `count` best of those, by token. Ties go to the lowest ids.
  std::vector<TokenLogit> best_from(float least, size_t count) const;

  // The sum of all weights, e^((logit - best) / temperature): their probabilities, up to a common factor. Of sixteen
  // weights in float, of those sums in double. temperature > 0; best is a number.
  double weigh(float best, float temperature);
  // After `weigh`: the first token up to which the weights, by token, add up to more than `weight`.
  Token reaching(double weight) const;

 private:
  static constexpr size_t kBlock = 64;

  float* copied(size_t block);
  void allow(size_t block, uint64_t tokens);
  float reached_by(size_t count) const;

  size_t size_ = 0;
  std::vector<const float*> blocks_;  // the row's, or in copies_
  std::vector<float> bests_;          // of each block
  std::unique_ptr<float[]> copies_;   // room for all blocks
  float best_ = 0, temperature_ = 1;  // of `weigh`
  std::vector<double> sums_;          // of a block's weights
};

}  // namespace hearth
