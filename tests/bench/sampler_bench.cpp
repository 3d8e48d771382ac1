// Time to choose a token.   sampler_bench [vocabulary]
//
// Of sure rows, where a few tokens have nearly all of the probability, as models mostly are, and of flat ones, where
// tens of thousands share it. Medians of many calls, with four rows in turn: what the model's last matmul wrote is in a
// cache.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "runtime/engine/logprobs.h"
#include "runtime/engine/sampler.h"

using namespace hearth;

namespace {

using Rows = std::vector<std::vector<float>>;

double median_microseconds(const Rows& rows, const std::function<void(const std::vector<float>&)>& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  for (int i = 0; i < 301; ++i) {
    const auto start = Clock::now();
    call(rows[size_t(i) % rows.size()]);
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count() * 1e6);
  }
  std::ranges::nth_element(times, times.begin() + 150);
  return times[150];
}

Rows rows_of(size_t n_vocab, float spread, int n_likely) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, spread);
  std::uniform_real_distribution<float> likely(10, 20);
  Rows rows(4, std::vector<float>(n_vocab));
  for (auto& row : rows) {
    for (float& logit : row) logit = normal(random);
    for (int i = 0; i < n_likely; ++i) row[random() % n_vocab] = likely(random);
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t n_vocab = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 129280;
  const Rows sure = rows_of(n_vocab, 2, 40), flat = rows_of(n_vocab, 3, 0);
  std::vector<Token> text;
  for (size_t i = 0; i < 4096; ++i) text.push_back(Token(i * 7919 % n_vocab));
  std::vector<Token> unused;
  for (size_t i = n_vocab - n_vocab / 256; i < n_vocab; ++i) unused.push_back(Token(i));

  struct Row {
    const char* name;
    SamplerOptions options;
  };
  const Row all[] = {
      {"greedy", {.temperature = 0}},
      {"temperature 0.3, top-p 0.95", {}},
      {"temperature 1, top-p 0.95", {.temperature = 1}},
      {"temperature 1, top-k 40", {.temperature = 1, .top_k = 40, .top_p = 1}},
      {"temperature 1, min-p 0.05", {.temperature = 1, .top_p = 1, .min_p = 0.05f}},
      {"temperature 1", {.temperature = 1, .top_p = 1}},
      {"0.3, 0.95, repetition penalty", {.repetition_penalty = 1.1f}},
      {"0.3, 0.95, frequency penalty", {.frequency_penalty = 0.5f}},
  };
  fmt::print("{} tokens; microseconds{:22}sure     flat\n", n_vocab, "");
  for (const Row& row : all) {
    Sampler sampler(row.options);
    sampler.forbid(unused);
    const auto choose = [&](const std::vector<float>& logits) { sampler.sample(logits, {text, text.size()}); };
    fmt::print("{:<42}{:>8.0f} {:>8.0f}\n", row.name, median_microseconds(sure, choose),
               median_microseconds(flat, choose));
  }
  const auto look = [&](const std::vector<float>& logits) { with_logprobs(text[0], logits, unused, 20); };
  fmt::print("{:<42}{:>8.0f} {:>8.0f}\n", "log-probabilities, of 20", median_microseconds(sure, look),
             median_microseconds(flat, look));
}
