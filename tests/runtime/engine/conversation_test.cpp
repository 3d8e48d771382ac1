#include "runtime/engine/conversation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A tiny model, its vocabulary (eos = 1) and a greedy sampler.
struct Bed {
  TinyModel tiny;
  Model model;
  Tokenizer tokenizer{SmallVocabulary().metadata()};
  Sampler sampler{{.temperature = 0}};

  explicit Bed(int64_t n_ctx = 0, int64_t ubatch = 512)
      : model(tiny.file(), {.ops = &cpu_ops("auto"),
                            .n_ctx = n_ctx,
                            .n_sequences = 3,
                            .cache_format = FormatId::f32,
                            .ubatch = ubatch}) {}
};

std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<Token> prompt(int64_t n) {
  std::vector<Token> tokens = some_tokens(n, 250);
  for (Token& t : tokens) t += 2;  // neither bos nor eos
  return tokens;
}

}  // namespace

TEST_CASE("generate: greedy tokens are those of running the whole sequence each time" *
          doctest::test_suite("each table")) {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  std::vector<Token> told;
  GenerateCallbacks callbacks;
  callbacks.on_token = [&](Token t) { told.push_back(t); };
  const auto result = conversation.generate(prompt(10), bed.sampler, {.max_tokens = 12, .ignore_eos = true}, callbacks);
  CHECK(result.reason == StopReason::max_tokens);
  CHECK(result.tokens.size() == 12);
  CHECK(told == result.tokens);
  CHECK(result.prompt_tokens == 10);
  CHECK(result.cached_tokens == 0);
  CHECK(result.decode_steps == 11);  // nothing is asked of the last one
  CHECK(result.prefill_rate() > 0);
  CHECK(result.decode_rate() > 0);
  CHECK(conversation.history() ==
        joined(prompt(10), std::vector<Token>(result.tokens.begin(), result.tokens.end() - 1)));
  CHECK(conversation.context_left() == 256 - 21);

  std::vector<Token> sequence = prompt(10);
  std::vector<float> logits(300);
  for (const Token expected : result.tokens) {
    KvCache cache = bed.model.new_cache();
    bed.model.run(sequence, cache, logits);
    CHECK(Token(std::ranges::max_element(logits) - logits.begin()) == expected);
    sequence.push_back(expected);
  }
}

TEST_CASE("generate: penalties count the tokens of the answer, not those of the prompt" *
          doctest::test_suite("each table")) {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  const GenerateOptions twelve{.max_tokens = 12, .ignore_eos = true};
  // What the model says by itself, it is asked after: so its favourites are in the prompt.
  const std::vector<Token> asked = joined(prompt(4), conversation.generate(prompt(4), bed.sampler, twelve).tokens);
  Sampler sampler({.temperature = 0, .frequency_penalty = -2, .presence_penalty = 0.5f});
  const std::vector<Token> answer = conversation.generate(asked, sampler, twelve).tokens;
  CHECK(answer != conversation.generate(asked, bed.sampler, twelve).tokens);

  std::vector<Token> said;
  std::vector<float> logits(300);
  for (const Token expected : answer) {
    KvCache cache = bed.model.new_cache();
    bed.model.run(joined(asked, said), cache, logits);
    for (const Token token : std::set(said.begin(), said.end()))
      logits[size_t(token)] -= -2 * float(std::ranges::count(said, token)) + 0.5f;
    CHECK(Token(std::ranges::max_element(logits) - logits.begin()) == expected);
    said.push_back(expected);
  }
}

TEST_CASE("generate: the next turn runs only what is new, and gives what a fresh conversation gives" *
          doctest::test_suite("each table")) {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  const GenerateOptions options{.max_tokens = 8, .ignore_eos = true};
  const auto first = conversation.generate(prompt(20), bed.sampler, options);
  const auto second_prompt = joined(joined(prompt(20), first.tokens), prompt(5));
  const auto second = conversation.generate(second_prompt, bed.sampler, options);
  CHECK(second.prompt_tokens == 33);
  CHECK(second.cached_tokens == 27);  // all that was run: the last sampled token was not

  Conversation fresh(bed.model, bed.tokenizer);
  CHECK(fresh.generate(second_prompt, bed.sampler, options).tokens == second.tokens);
}

TEST_CASE("generate: a prompt that departs from the history truncates it; the same prompt runs its last token again" *
          doctest::test_suite("each table")) {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  const GenerateOptions options{.max_tokens = 4, .ignore_eos = true};
  const auto first = conversation.generate(prompt(20), bed.sampler, options);
  const auto again = conversation.generate(prompt(20), bed.sampler, options);
  CHECK(again.cached_tokens == 19);
  CHECK(again.tokens == first.tokens);

  auto other = prompt(20);
  other[7] = 3;
  const auto departed = conversation.generate(other, bed.sampler, options);
  CHECK(departed.cached_tokens == 7);
  Conversation fresh(bed.model, bed.tokenizer);
  CHECK(fresh.generate(other, bed.sampler, options).tokens == departed.tokens);

  // Its own history as the prompt.
  const auto own = conversation.generate(conversation.history(), bed.sampler, options);
  CHECK(own.prompt_tokens == 23);
  CHECK(own.cached_tokens == 22);

  conversation.clear();
  CHECK(conversation.history().empty());
  CHECK(conversation.context_left() == 256);
  CHECK(conversation.generate(prompt(20), bed.sampler, options).tokens == first.tokens);
}

TEST_CASE("generate: stops at eos and at stop tokens, which are not part of the answer") {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  const auto free = conversation.generate(prompt(10), bed.sampler, {.max_tokens = 10, .ignore_eos = true});
  // A token that is new at its place, made a stop token.
  size_t at = 0;
  for (size_t i = 1; i < free.tokens.size() && at == 0; ++i) {
    if (std::find(free.tokens.begin(), free.tokens.begin() + std::ptrdiff_t(i), free.tokens[i]) ==
        free.tokens.begin() + std::ptrdiff_t(i)) {
      at = i;
    }
  }
  REQUIRE(at > 0);
  const auto stopped = conversation.generate(prompt(10), bed.sampler,
                                             {.max_tokens = 10, .stop_tokens = {free.tokens[at]}, .ignore_eos = true});
  CHECK(stopped.reason == StopReason::eos);
  CHECK(stopped.tokens == std::vector<Token>(free.tokens.begin(), free.tokens.begin() + std::ptrdiff_t(at)));
  CHECK(stopped.decode_steps == int64_t(at));

  // The head's row for eos is made the largest everywhere: the model ends at once.
  TinyModel ending;
  for (auto& x : ending.tensor(name::kOutputNorm).values) x = 1;
  auto& head = ending.tensor(name::kOutput).values;
  Model plain(ending.file(), {.ops = &cpu_ops("scalar"), .cache_format = FormatId::f32});
  const auto logits = all_logits(plain, prompt(10));
  const auto last = std::span(logits).last(300);
  const auto best = std::ranges::max_element(last) - last.begin();
  std::copy_n(head.begin() + best * 64, 64, head.begin() + 1 * 64);
  for (int i = 0; i < 64; ++i) head[size_t(64 + i)] *= 2;
  Model model(ending.file(), {.ops = &cpu_ops("scalar"), .cache_format = FormatId::f32});
  Conversation short_one(model, bed.tokenizer);
  const auto ended = short_one.generate(prompt(10), bed.sampler, {.max_tokens = 5});
  CHECK(ended.reason == StopReason::eos);
  CHECK(ended.tokens.empty());
  const auto ignored = short_one.generate(prompt(10), bed.sampler, {.max_tokens = 1, .ignore_eos = true});
  CHECK(ignored.tokens == std::vector<Token>{1});
}

TEST_CASE("generate: a full context ends the answer, and a prompt beyond it is refused with both numbers") {
  Bed bed(16);
  Conversation conversation(bed.model, bed.tokenizer);
  const auto result = conversation.generate(prompt(12), bed.sampler, {.ignore_eos = true});
  CHECK(result.reason == StopReason::context_full);
  CHECK(result.tokens.size() == 5);  // four are run, the fifth needs no room
  CHECK(conversation.context_left() == 0);
  CHECK(conversation.generate(prompt(16), bed.sampler, {.ignore_eos = true}).tokens.size() == 1);
  CHECK(mentions(refusal(ErrorKind::resource, [&] { conversation.generate(prompt(17), bed.sampler, {}); }),
                 {"17", "16"}));
  CHECK(mentions(refusal(ErrorKind::usage, [&] { conversation.generate({}, bed.sampler, {}); }), {"empty"}));
}

TEST_CASE("generate: nothing is sampled when no tokens are asked for") {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  const auto result = conversation.generate(prompt(12), bed.sampler, {.max_tokens = 0});
  CHECK(result.reason == StopReason::max_tokens);
  CHECK(result.tokens.empty());
  CHECK(conversation.history() == prompt(12));
}

TEST_CASE("generate: an interrupted prompt keeps what was done and resumes there" * doctest::test_suite("each table")) {
  Bed bed(0, 10);
  Conversation conversation(bed.model, bed.tokenizer);
  std::vector<int64_t> told;
  GenerateCallbacks callbacks;
  callbacks.on_reading = [&](const RunProgress& progress) {
    CHECK(progress.total == 35);
    if (told.empty() || told.back() != progress.done) told.push_back(progress.done);
  };
  callbacks.stop_now = [&] { return told.size() == 3; };
  const auto stopped = conversation.generate(prompt(35), bed.sampler, {.max_tokens = 3}, callbacks);
  CHECK(stopped.reason == StopReason::interrupted);
  CHECK(stopped.stopped_unanswered());
  CHECK(stopped.prompt_tokens == 20);
  CHECK(told == std::vector<int64_t>{0, 10, 20});
  CHECK(conversation.history().size() == 20);

  const GenerateOptions options{.max_tokens = 3, .ignore_eos = true};
  const auto resumed = conversation.generate(prompt(35), bed.sampler, options);
  CHECK(resumed.cached_tokens == 20);
  Conversation fresh(bed.model, bed.tokenizer);
  CHECK(fresh.generate(prompt(35), bed.sampler, options).tokens == resumed.tokens);
}

TEST_CASE("generate: an interrupted answer keeps its tokens") {
  Bed bed;
  Conversation conversation(bed.model, bed.tokenizer);
  int sampled = 0;
  GenerateCallbacks callbacks;
  callbacks.on_token = [&](Token) { ++sampled; };
  callbacks.stop_now = [&] { return sampled == 3; };
  const auto result = conversation.generate(prompt(8), bed.sampler, {.ignore_eos = true}, callbacks);
  CHECK(result.reason == StopReason::interrupted);
  CHECK(result.tokens.size() == 3);
  CHECK(!result.stopped_unanswered());
  CHECK(conversation.history().size() == 10);  // the third one was said, and not run
}

TEST_CASE("generate: the reasons have names") {
  CHECK(stop_reason_name(StopReason::eos) == "eos");
  CHECK(stop_reason_name(StopReason::max_tokens) == "max_tokens");
  CHECK(stop_reason_name(StopReason::context_full) == "context_full");
  CHECK(stop_reason_name(StopReason::interrupted) == "interrupted");
  CHECK(stop_reason_name(StopReason::stop_string) == "stop_string");
}
