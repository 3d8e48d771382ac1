// A GPU gives those who choose only the best of a row's logits, where these are enough.
#include <doctest/doctest.h>

#include <memory>
#include <optional>

#include "runtime/engine/scheduler.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

int n_largest = 0;

// The GPU's operations; counts the calls of one of them.
const Ops& counting_ops() {
  static const Ops ops = [] {
    Ops counting = gpu();
    counting.largest = [](const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best) {
      ++n_largest;
      gpu().largest(exec, x, without, best);
    };
    return counting;
  }();
  return ops;
}

struct Bed {
  TinyModel tiny{TinyShape::lite()};
  Model model;
  Tokenizer tokenizer{SmallVocabulary().metadata()};
  Scheduler scheduler{model, tokenizer, {.forbidden = unused_tokens(model.config(), tokenizer)}};

  Bed() : model(tiny.file(), {.ops = &counting_ops(), .device = gpu_device(), .n_ctx = 64, .n_sequences = 3}) {}
};

struct Heard final : GenerationListener {
  void reading(const ReadingProgress&) override {}
  bool token(const GeneratedToken& token) override {
    tokens.push_back(token.token);
    return true;
  }
  void finished(const GenerationSummary&) override { over = true; }
  void failed(const Error& error) override { failure = error.what(); }

  std::vector<Token> tokens;
  bool over = false;
  std::string failure;
};

std::vector<std::vector<Token>> answers(Bed& bed, const std::vector<SamplerOptions>& options, int n_logprobs) {
  std::vector<std::shared_ptr<Heard>> heard;
  for (size_t i = 0; i < options.size(); ++i) {
    GenerationRequest request;
    request.prompt = some_tokens(int64_t(4 + i), 200);
    request.sampling = options[i];
    request.max_tokens = 12;
    request.ignore_eos = true;
    request.n_logprobs = n_logprobs;
    bed.scheduler.add(i + 1, std::move(request), heard.emplace_back(std::make_shared<Heard>()));
  }
  while (bed.scheduler.busy()) bed.scheduler.step();
  std::vector<std::vector<Token>> tokens;
  for (const auto& h : heard) {
    REQUIRE(h->over);
    CHECK(h->tokens.size() == 12);
    tokens.push_back(h->tokens);
  }
  return tokens;
}

}  // namespace

TEST_CASE("a step gives the best logits beside all, or instead of them, without tokens that are left out") {
  Bed bed;
  const size_t V = size_t(bed.model.config().vocab_size);
  const std::vector<Token> tokens = some_tokens(20, int64_t(V));
  std::vector<KvCache> caches;
  for (int i = 0; i < 3; ++i) caches.push_back(bed.model.new_cache());
  std::vector<std::vector<float>> logits(3, std::vector<float>(V));
  std::vector<Entry> seven(7), one(1);
  const auto segment = [&](size_t i) { return std::span(tokens).subspan(3 * i, 2 + i); };
  const auto sorted = [&](const std::vector<float>& row, std::span<const Token> without) {
    std::vector<TokenLogit> all;
    for (size_t i = 0; i < V; ++i)
      if (std::ranges::find(without, Token(i)) == without.end()) all.push_back({Token(i), row[i]});
    std::ranges::sort(all, BetterLogit());
    return all;
  };
  std::vector<Token> without;
  for (int round = 0; round < 2; ++round) {
    for (KvCache& cache : caches) cache.truncate(0);
    bed.model.leave_out(without);
    const std::vector<NextTokens> step = {{segment(0), &caches[0], logits[0], seven},
                                          {segment(1), &caches[1], logits[1]},
                                          {segment(2), &caches[2], logits[2], one}};
    REQUIRE(bed.model.step(step));
    const auto expected = sorted(logits[0], without);
    for (size_t i = 0; i < seven.size(); ++i) {
      CHECK(seven[i].column == expected[i].token);
      CHECK(seven[i].value == expected[i].logit);
    }
    CHECK(one[0].column == sorted(logits[2], without)[0].token);
    without = {seven[0].column, seven[3].column, one[0].column, Token(V + 40), -3};
  }
}

TEST_CASE("greedy and top-k choose from the best as from all; who wants more gets all") {
  Bed bed;
  const std::vector<SamplerOptions> options = {{.temperature = 0},
                                               {.temperature = 1.5f, .top_k = 20, .top_p = 1, .seed = 5},
                                               {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .seed = 6}};
  n_largest = 0;
  const auto of_all = answers(bed, options, 0);  // with the probability of the token, for which all are wanted
  CHECK(n_largest == 0);
  const auto of_best = answers(bed, options, -1);
  CHECK(n_largest >= 3 + 11);  // one for each prompt, and one for each step
  // Not one for each token of each, 36: the last prompt may wait for time that its reader owes the others (credit_),
  // on a busy machine until these are done.
  CHECK(n_largest <= 3 + 2 * 11);
  CHECK(of_best == of_all);

  n_largest = 0;
  std::vector<SamplerOptions> others(3);
  others[0].top_k = 0;
  others[1] = {.temperature = 0, .repetition_penalty = 1.1f};
  others[2] = {.temperature = 1, .top_k = int(kMostLargest) + 1};
  answers(bed, others, -1);
  CHECK(n_largest == 0);
}

TEST_CASE("a sampler with other forbidden tokens than those of who runs gets all logits, and by itself its best") {
  Bed bed;
  const auto first = answers(bed, {{.temperature = 0}}, -1)[0];
  Sampler own({.temperature = 0});
  own.forbid({first[0]});
  const auto ask = [&](Sampler* sampler) {
    GenerationRequest request;
    request.prompt = some_tokens(4, 200);
    request.sampling = {.temperature = 0};
    request.sampler = sampler;
    request.max_tokens = 1;
    request.ignore_eos = true;
    const auto heard = std::make_shared<Heard>();
    bed.scheduler.add(1, std::move(request), heard);
    return heard;
  };
  const auto one = ask(nullptr), two = ask(&own);
  while (bed.scheduler.busy()) bed.scheduler.step();
  CHECK(one->tokens[0] == first[0]);
  CHECK(two->tokens[0] != first[0]);
  n_largest = 0;
  const auto three = ask(&own);
  while (bed.scheduler.busy()) bed.scheduler.step();
  CHECK(three->tokens == two->tokens);
  CHECK(n_largest == 1);
}
