#include "runtime/engine/logprobs.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/error.h"
#include "tests/support/no_numbers.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Logits = std::vector<float>;
using Tokens = std::vector<Token>;

// In the plainest way.
std::vector<double> plain(const Logits& logits) {
  const float best = *std::ranges::max_element(logits);
  long double total = 0;
  for (const float l : logits) total += std::exp((long double)(l)-best);
  std::vector<double> logprobs;
  for (const float l : logits) logprobs.push_back(double((long double)(l)-best - std::log(total)));
  return logprobs;
}

Tokens likeliest_of(const GeneratedToken& token) {
  Tokens tokens;
  for (const TokenLogprob& l : token.likeliest) tokens.push_back(l.token);
  return tokens;
}

bool close(double found, double expected) {
  return std::abs(found - expected) <= 1e-6 + 6e-8 * std::abs(expected);
}

}  // namespace

TEST_CASE("logarithms of probabilities, whatever the logits are like") {
  std::mt19937 random(1);
  for (const size_t n : {1, 2, 7, 64, 100, 5000, 129280}) {
    for (const float spread : {0.0f, 0.01f, 2.0f, 30.0f}) {
      for (const float middle : {0.0f, -80.0f, 500.0f}) {
        CAPTURE(n);
        CAPTURE(spread);
        CAPTURE(middle);
        std::normal_distribution<float> normal(middle, std::max(spread, 1e-9f));
        Logits logits(n);
        for (float& l : logits) l = normal(random);
        const std::vector<double> expected = plain(logits);
        Tokens order(n);
        for (size_t i = 0; i < n; ++i) order[i] = Token(i);
        std::ranges::stable_sort(order, [&](Token a, Token b) { return logits[size_t(a)] > logits[size_t(b)]; });
        order.resize(std::min<size_t>(n, 20));

        const Token token = Token(random() % n);
        const GeneratedToken found = with_logprobs(token, logits, {}, 20);
        CHECK(found.token == token);
        CHECK(close(found.logprob, expected[size_t(token)]));
        CHECK(likeliest_of(found) == order);
        for (const TokenLogprob& l : found.likeliest) CHECK(close(l.logprob, expected[size_t(l.token)]));
      }
    }
  }
}

TEST_CASE("as many of the likeliest as are wanted, ties to the lowest ids") {
  const Logits logits{1, 3, 2, 3, 0, 3};
  CHECK(likeliest_of(with_logprobs(4, logits, {}, 0)).empty());
  CHECK(likeliest_of(with_logprobs(4, logits, {}, -1)).empty());
  CHECK(likeliest_of(with_logprobs(4, logits, {}, 1)) == Tokens{1});
  CHECK(likeliest_of(with_logprobs(4, logits, {}, 2)) == Tokens{1, 3});
  CHECK(likeliest_of(with_logprobs(4, logits, {}, 4)) == Tokens{1, 3, 5, 2});
  CHECK(likeliest_of(with_logprobs(4, logits, {}, 20)) == Tokens{1, 3, 5, 2, 0, 4});
  CHECK(with_logprobs(4, logits, {}, 0).logprob == with_logprobs(4, logits, {}, 20).likeliest[5].logprob);
}

TEST_CASE("what cannot come has no share and is none of the likeliest") {
  const GeneratedToken one = with_logprobs(1, Logits{-kInf, 5, -kInf}, {}, 20);
  CHECK(one.logprob == 0);
  CHECK(likeliest_of(one) == Tokens{1});
  CHECK(with_logprobs(0, Logits{-kInf, 5, -kInf}, {}, 0).logprob == -kInf);
  // Forbidden rows, as if they were not there, whatever they hold.
  const GeneratedToken two = with_logprobs(0, Logits{1, 90, 1, kNan, kInf}, Tokens{1, 3, 4, 77, -1}, 20);
  CHECK(close(two.logprob, std::log(0.5)));
  CHECK(likeliest_of(two) == Tokens{0, 2});
  CHECK(with_logprobs(1, Logits{1, 90, 1}, Tokens{1}, 0).logprob == -kInf);
}

TEST_CASE("where nothing can come, or the logits are no numbers, that is refused") {
  CHECK_THROWS_WITH_AS(with_logprobs(0, Logits{-kInf, 1, -kInf}, Tokens{1}, 3),
                       "no token can come: all 3 logits are -inf or of forbidden tokens", Error);
  CHECK_THROWS_AS(with_logprobs(0, Logits{1, kNan}, {}, 3), Error);
  CHECK_THROWS_AS(with_logprobs(0, Logits{1, kInf}, {}, 3), Error);
}
