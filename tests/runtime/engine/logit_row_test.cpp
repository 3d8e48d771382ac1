#include "runtime/engine/logit_row.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <ranges>
#include <vector>

#include "quant/error.h"
#include "runtime/engine/exponential.h"
#include "tests/support/no_numbers.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Logits = std::vector<float>;

Logits random_logits(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  Logits logits(n);
  for (float& l : logits) l = normal(random);
  return logits;
}

std::vector<Token> ids(const std::vector<TokenLogit>& found) {
  std::vector<Token> ids;
  for (const TokenLogit& t : found) ids.push_back(t.token);
  return ids;
}

float exponential_of(float x) {
  return exponential(Lanes{} + x)[0];
}

const size_t kSizes[] = {1, 2, 5, 63, 64, 65, 128, 1000, 129280};

}  // namespace

TEST_CASE("the exponential is within a few units of the last place, and 0 where nothing counts") {
  double worst = 0;
  for (float x = 0; x > kNegligible; x -= 0.00037f)
    worst = std::max(worst, std::abs(double(exponential_of(x)) / std::exp(double(x)) - 1));
  MESSAGE("largest relative error " << worst);
  CHECK(worst < 2e-7);
  CHECK(exponential_of(0) == 1);
  CHECK(exponential_of(-0.0f) == 1);
  CHECK(exponential_of(std::nextafter(kNegligible, 0.0f)) > 0);
  for (const float x : {kNegligible, -41.0f, -88.0f, -3e38f, -kInf}) CHECK(exponential_of(x) == 0);
  const Lanes four = exponential(Lanes{-1, -50, 0, -39});
  for (size_t lane = 0; lane < kLanes; ++lane) CHECK(four[lane] == exponential_of(Lanes{-1, -50, 0, -39}[lane]));
}

TEST_CASE("the best and its first token, wherever they are in the row") {
  LogitRow row;
  for (const size_t n : kSizes) {
    for (const size_t at : {size_t(0), n / 3, n / 2, n - 1}) {
      CAPTURE(n);
      CAPTURE(at);
      Logits logits(n, -7.5f);
      logits[at] = logits.back() = -2;
      row.read(logits, {});
      CHECK(row.size() == n);
      CHECK(row.best() == -2);
      CHECK(row.first(-2) == Token(at));
      CHECK(row.has(Token(n - 1)));
      CHECK(!row.has(Token(n)));
      CHECK(!row.has(-1));
    }
  }
  row.read({}, {});
  CHECK(row.best() == -kInf);
}

TEST_CASE("what is forbidden or changed is so in the row, and the logits stay as they are") {
  const Logits logits = random_logits(200, 1);
  Logits expected = logits;
  LogitRow row;
  row.read(logits, std::vector<Token>{3, 64, 199, 3, -1, 200, 100000});
  for (const size_t i : {3, 64, 199}) expected[i] = -kInf;
  row.set(4, 50), expected[4] = 50;
  CHECK(row.best() == 50);
  row.set(4, -50), expected[4] = -50;
  row.set(150, 9.5f), expected[150] = 9.5f;
  for (size_t i = 0; i < 200; ++i) CHECK(row[Token(i)] == expected[i]);
  CHECK(row.best() == *std::ranges::max_element(expected));
  CHECK(logits == random_logits(200, 1));
  // And nothing of it is left when the next row is read.
  row.read(logits, {});
  for (size_t i = 0; i < 200; ++i) CHECK(row[Token(i)] == logits[i]);
  CHECK(row.best() == *std::ranges::max_element(logits));
}

TEST_CASE("what a mask does not allow is forbidden, in rows of any length") {
  LogitRow row, other;
  std::mt19937_64 random(3);
  for (const size_t n : kSizes) {
    const Logits logits = random_logits(n, 4);
    for (const int kind : {0, 1, 2, 3}) {  // nothing, everything, some of each word, all or nothing of each word
      CAPTURE(n);
      CAPTURE(kind);
      std::vector<uint64_t> allowed((n + 63) / 64);
      for (uint64_t& word : allowed)
        word = kind == 0 ? 0 : kind == 1 ? ~uint64_t(0) : kind == 2 ? random() : -(random() & 1);
      std::vector<Token> forbidden;
      for (size_t i = 0; i < n; ++i)
        if ((allowed[i / 64] >> (i % 64) & 1) == 0) forbidden.push_back(Token(i));
      row.read(logits, std::vector<Token>{0, Token(n / 2)}, allowed);
      forbidden.push_back(0), forbidden.push_back(Token(n / 2));
      other.read(logits, forbidden);
      for (size_t i = 0; i < n; ++i) REQUIRE(row[Token(i)] == other[Token(i)]);
      CHECK(row.best() == other.best());
      row.set(Token(n - 1), 99);  // of a block in which nothing was allowed, too
      CHECK(row.best() == 99);
      row.read(logits, {});
      REQUIRE(
          std::ranges::equal(logits, std::views::iota(size_t(0), n), {}, {}, [&](size_t i) { return row[Token(i)]; }));
    }
  }
}

TEST_CASE("a logit that is not a number is found wherever it is, unless it is forbidden") {
  LogitRow row;
  for (const size_t n : kSizes) {
    for (const size_t at : {size_t(0), n / 2, n - 1}) {
      CAPTURE(n);
      CAPTURE(at);
      for (const float bad : {kNan, -kNan, kInf}) {
        Logits logits = random_logits(n, 2);
        logits[at] = bad;
        const std::string message = "the model's output is not a number: the logit of token " + std::to_string(at) +
                                    " is " + (bad == kInf ? "inf" : "nan") +
                                    "; `hearth verify` tells whether the file is damaged";
        CHECK_THROWS_WITH_AS(row.read(logits, {}), message.c_str(), Error);
        CHECK_NOTHROW(row.read(logits, std::vector<Token>{Token(at)}));
      }
    }
  }
  CHECK_NOTHROW(row.read(Logits{-kInf, -kInf}, {}));
}

TEST_CASE("the best of a row, ties to the lowest ids") {
  LogitRow row;
  for (const size_t n : kSizes) {
    for (const float step : {0.0f, 0.5f}) {  // 0.5: many ties
      Logits logits = random_logits(n, 3);
      for (float& l : logits) l = step > 0 ? std::round(l / step) * step : l;
      if (n > 5) logits[n / 2] = -kInf;
      std::vector<Token> order(n);
      for (size_t i = 0; i < n; ++i) order[i] = Token(i);
      std::ranges::stable_sort(order, [&](Token a, Token b) { return logits[size_t(a)] > logits[size_t(b)]; });
      row.read(logits, {});
      for (const size_t count : {1, 2, 20, 100, 5000}) {
        CAPTURE(n);
        CAPTURE(count);
        std::vector<Token> expected(order.begin(), order.begin() + ptrdiff_t(std::min(n, count)));
        std::erase_if(expected, [&](Token t) { return logits[size_t(t)] == -kInf; });
        std::ranges::sort(expected);
        CHECK(ids(row.best_from(-1e30f, count)) == expected);
        std::erase_if(expected, [&](Token t) { return logits[size_t(t)] < 2; });
        CHECK(ids(row.best_from(2, count)) == expected);
      }
    }
  }
}

TEST_CASE("weights add up, and each part of their sum belongs to its token") {
  LogitRow row;
  for (const size_t n : kSizes) {
    for (const float temperature : {0.1f, 1.0f, 30.0f}) {
      CAPTURE(n);
      CAPTURE(temperature);
      Logits logits = random_logits(n, 4);
      if (n > 2) logits[0] = logits[n - 1] = -kInf;
      row.read(logits, {});
      const float best = row.best();
      std::vector<double> up_to;  // and with each token
      double total = 0;
      for (const float l : logits) up_to.push_back(total += std::exp((double(l) - best) / double(temperature)));
      const double found = row.weigh(best, temperature);
      CHECK(std::abs(found / total - 1) < 3e-7);
      for (const double share : {0.0, 0.01, 0.3, 0.5, 0.77, 0.999999}) {
        const Token token = row.reaching(share * found);
        CHECK(logits[size_t(token)] > -kInf);
        CHECK(up_to[size_t(token)] > share * total * (1 - 1e-6));
        if (token > 0) CHECK(up_to[size_t(token) - 1] <= share * total + 1e-6 * total);
      }
      CHECK(logits[size_t(row.reaching(found * 1.01))] > -kInf);  // beyond the end, as by rounding
    }
  }
}
