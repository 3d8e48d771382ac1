#include "runtime/engine/logit_row.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <functional>

#include "quant/error.h"
#include "runtime/engine/exponential.h"

namespace hearth {

namespace {

// The best of n logits; NaN is none. `numbers` becomes false where one is NaN or +inf. Compiler's vectors: the compiler
// itself does not vectorise a maximum, for the sake of zeros' signs.
float best_of(const float* logits, size_t n, bool& numbers) {
  Lanes best = Lanes{} + kImpossible;
  auto below = best < -kImpossible;
  for (size_t i = 0; i < n; i += kLanes) {
    const Lanes lanes = load_lanes(logits + i);
    best = lanes > best ? lanes : best;
    below &= lanes < -kImpossible;
  }
  float most = best[0];
  bool all = below[0];
  for (size_t lane = 1; lane < kLanes; ++lane) {
    most = best[lane] > most ? best[lane] : most;
    all &= bool(below[lane]);
  }
  numbers &= all;
  return most;
}

}  // namespace

void require_number(TokenLogit logit) {
  require(logit.logit < -kImpossible, ErrorKind::model,
          "the model's output is not a number: the logit of token {} is {}; `hearth verify` tells whether the file is "
          "damaged",
          logit.token, std::isnan(logit.logit) ? "nan" : "inf");
}

void LogitRow::read(std::span<const float> logits, std::span<const Token> forbidden,
                    std::span<const uint64_t> allowed) {
  assert(allowed.empty() || allowed.size() == (logits.size() + kBlock - 1) / kBlock);
  const size_t n_blocks = (logits.size() + kBlock - 1) / kBlock;
  if (blocks_.size() != n_blocks) {
    blocks_.resize(n_blocks);
    bests_.resize(n_blocks);
    sums_.resize(n_blocks);
    copies_ = std::make_unique_for_overwrite<float[]>(n_blocks * kBlock);
  }
  size_ = logits.size();
  for (size_t b = 0; b < n_blocks; ++b) blocks_[b] = logits.data() + b * kBlock;
  if (const size_t rest = size_ % kBlock; rest != 0) {
    float* const last = copies_.get() + (n_blocks - 1) * kBlock;
    std::copy_n(blocks_.back(), rest, last);
    std::fill(last + rest, last + kBlock, kImpossible);
    blocks_.back() = last;
  }
  for (const Token token : forbidden)
    if (has(token)) copied(size_t(token) / kBlock)[size_t(token) % kBlock] = kImpossible;
  for (size_t b = 0; b < allowed.size(); ++b) allow(b, allowed[b]);

  bool numbers = true;
  for (size_t b = 0; b < n_blocks; ++b) bests_[b] = best_of(blocks_[b], kBlock, numbers);
  for (size_t i = 0; !numbers && i < size_; ++i) require_number({Token(i), (*this)[Token(i)]});
}

// Mostly nothing of a block is allowed, or all of it.
void LogitRow::allow(size_t block, uint64_t tokens) {
  static_assert(kBlock == 64, "a word of the mask is a block");
  static constexpr auto kNone = [] {
    std::array<float, kBlock> none;
    none.fill(kImpossible);
    return none;
  }();
  if (tokens == 0) {
    blocks_[block] = kNone.data();
  } else if (tokens != ~uint64_t(0)) {
    float* const logits = copied(block);
    for (size_t i = 0; i < kBlock; ++i)
      if ((tokens >> i & 1) == 0) logits[i] = kImpossible;
  }
}

float* LogitRow::copied(size_t block) {
  float* const copy = copies_.get() + block * kBlock;
  if (blocks_[block] != copy) {
    std::copy_n(blocks_[block], kBlock, copy);
    blocks_[block] = copy;
  }
  return copy;
}

void LogitRow::set(Token token, float logit) {
  const size_t b = size_t(token) / kBlock;
  float* const block = copied(b);
  block[size_t(token) % kBlock] = logit;
  bool numbers = true;  // what somebody sets is his
  bests_[b] = best_of(block, kBlock, numbers);
}

float LogitRow::best() const {
  float best = kImpossible;
  for (const float b : bests_) best = b > best ? b : best;
  return best;
}

Token LogitRow::first(float best) const {
  const size_t b = size_t(std::ranges::find(bests_, best) - bests_.begin());
  return Token(b * kBlock + size_t(std::find(blocks_[b], blocks_[b] + kBlock, best) - blocks_[b]));
}

// A logit that at least `count` others reach too, if there are as many blocks: the best ones of so many blocks do.
float LogitRow::reached_by(size_t count) const {
  if (count == 0 || count > bests_.size()) return kImpossible;
  std::vector<float> bests = bests_;
  std::nth_element(bests.begin(), bests.begin() + ptrdiff_t(count - 1), bests.end(), std::greater());
  return bests[count - 1];
}

std::vector<TokenLogit> LogitRow::best_from(float least, size_t count) const {
  std::vector<TokenLogit> found;
  each_from(std::max(least, reached_by(count)), [&](TokenLogit logit) { found.push_back(logit); });
  if (found.size() <= count) return found;
  std::vector<TokenLogit> sorted = found;
  std::nth_element(sorted.begin(), sorted.begin() + ptrdiff_t(count), sorted.end(), BetterLogit());
  std::erase_if(found, [&, worse = sorted[count]](const TokenLogit& t) { return !BetterLogit()(t, worse); });
  return found;
}

double LogitRow::weigh(float best, float temperature) {
  best_ = best, temperature_ = temperature;
  double total = 0;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    sums_[b] = 0;
    if ((bests_[b] - best) / temperature < kNegligible) continue;  // all of the block
    Lanes sum = {};
    for (size_t i = 0; i < kBlock; i += kLanes) sum += exponential((load_lanes(blocks_[b] + i) - best) / temperature);
    sums_[b] = (double(sum[0]) + sum[1]) + (double(sum[2]) + sum[3]);
    total += sums_[b];
  }
  return total;
}

Token LogitRow::reaching(double weight) const {
  double left = weight;
  size_t b = 0;
  while (b + 1 < sums_.size() && left >= sums_[b]) left -= sums_[b++];
  while (b > 0 && sums_[b] == 0) --b;  // beyond the end, by rounding
  Token last = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const float likely = exponential((Lanes{} + blocks_[b][i] - best_) / temperature_)[0];
    if (likely > 0) last = Token(b * kBlock + i);
    left -= likely;
    if (left < 0) break;
  }
  return last;
}

}  // namespace hearth
