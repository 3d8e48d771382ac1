#include "runtime/engine/sampling_defaults.h"

#include <doctest/doctest.h>

#include <limits>

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/chat/chat_template.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;

namespace {

const test::SmallVocabulary kVocabulary;

ChatTemplate built_in(const char* name, const Tokenizer& tokenizer) {
  return choose_chat_template(name, kVocabulary.metadata(), tokenizer).value();
}

}  // namespace

TEST_CASE("the file says how it wants to be sampled") {
  GgufMetadata metadata = kVocabulary.metadata();
  metadata.set(key::kSamplingTemp, GgufValue::of_f32(0.9f));
  metadata.set(key::kSamplingTopP, GgufValue::of_f32(0.5f));
  const SamplingDefaults some = recommended_sampling(metadata, nullptr);
  CHECK(some.options.temperature == 0.9f);
  CHECK(some.options.top_p == 0.5f);
  CHECK(some.options.top_k == 0);
  CHECK(some.from == "the file's: temp 0.9, top_p 0.5");

  metadata.set(key::kSamplingTopK, GgufValue::of_i32(40));
  metadata.set(key::kSamplingMinP, GgufValue::of_f32(0.05f));
  metadata.set(key::kSamplingPenaltyRepeat, GgufValue::of_f32(1.1f));
  metadata.set(key::kSamplingPenaltyLastN, GgufValue::of_i32(32));
  const SamplingDefaults all = recommended_sampling(metadata, nullptr);
  CHECK(all.options.top_k == 40);
  CHECK(all.options.min_p == 0.05f);
  CHECK(all.options.repetition_penalty == 1.1f);
  CHECK(all.options.repetition_window == 32);
  CHECK(all.from == "the file's: temp 0.9, top_k 40, top_p 0.5, min_p 0.05, penalty_repeat 1.1, penalty_last_n 32");
}

TEST_CASE("negative counts mean all") {
  GgufMetadata metadata = kVocabulary.metadata();
  metadata.set(key::kSamplingTopK, GgufValue::of_i32(-1));
  metadata.set(key::kSamplingPenaltyLastN, GgufValue::of_i32(-1));
  const SamplerOptions options = recommended_sampling(metadata, nullptr).options;
  CHECK(options.top_k == 0);
  CHECK(options.repetition_window == std::numeric_limits<int>::max());
  CHECK_NOTHROW(Sampler{options});
}

TEST_CASE("what no sampler takes is passed over, and said") {
  GgufMetadata metadata = kVocabulary.metadata();
  metadata.set(key::kSamplingTemp, GgufValue::of_f32(-1.0f));
  metadata.set(key::kSamplingTopP, GgufValue::of_f32(std::numeric_limits<float>::quiet_NaN()));
  metadata.set(key::kSamplingMinP, GgufValue::of_f32(0.1f));
  const SamplingDefaults defaults = recommended_sampling(metadata, nullptr);
  CHECK(defaults.options.temperature == 0.3f);
  CHECK(defaults.options.top_p == 0.95f);
  CHECK(defaults.options.min_p == 0.1f);
  CHECK(defaults.from == "the file's: min_p 0.1; not usable in the file: temp -1, top_p nan");

  metadata.set(key::kSamplingTemp, GgufValue::of_string("warm"));
  CHECK_THROWS_AS(recommended_sampling(metadata, nullptr), Error);
}

TEST_CASE("what the authors recommend for its kind") {
  const Tokenizer tokenizer(kVocabulary.metadata());
  const auto said = [&](const char* name) {
    const ChatTemplate chat = built_in(name, tokenizer);
    return recommended_sampling(kVocabulary.metadata(), &chat).from;
  };
  for (const char* name : {"deepseek-v2", "deepseek-v2.5", "deepseek-v3", "deepseek-v3-0324"})
    CHECK(said(name) == "recommended for DeepSeek's models: temp 0.3, top_p 0.95");
  for (const char* name : {"deepseek-r1", "deepseek-r1-0120", "deepseek-r1-0528", "deepseek-v3.1", "deepseek-v3.2"})
    CHECK(said(name) == "recommended for thinking models: temp 0.6, top_p 0.95");

  test::SmallVocabulary other = kVocabulary;
  other.tokens[1] = "</s>";
  CHECK(recommended_sampling(other.metadata(), nullptr).from ==
        "recommended for models in general: temp 0.7, top_p 0.95");
  CHECK(recommended_sampling(kVocabulary.metadata(), nullptr).options.temperature == 0.3f);
}

TEST_CASE("what somebody chooses goes before what is recommended, option by option") {
  GgufMetadata metadata = kVocabulary.metadata();
  metadata.set(key::kSamplingTemp, GgufValue::of_f32(0.9f));
  const SamplerOptions some = chosen_sampling({.top_p = 0.25f, .top_k = 7, .seed = 11}, metadata, nullptr);
  CHECK(some.temperature == 0.9f);
  CHECK(some.top_p == 0.25f);
  CHECK(some.top_k == 7);
  CHECK(some.seed == 11);
  const SamplingChoices choices{.temperature = 0.0f,
                                .top_p = 0.5f,
                                .min_p = 0.1f,
                                .repetition_penalty = 1.2f,
                                .frequency_penalty = 0.25f,
                                .presence_penalty = -0.75f,
                                .top_k = 3,
                                .repetition_window = 5};
  const SamplerOptions all = chosen_sampling(choices, metadata, nullptr);
  CHECK(all.temperature == 0.0f);
  CHECK(all.top_p == 0.5f);
  CHECK(all.min_p == 0.1f);
  CHECK(all.repetition_penalty == 1.2f);
  CHECK(all.top_k == 3);
  CHECK(all.repetition_window == 5);
  CHECK(all.frequency_penalty == 0.25f);
  CHECK(all.presence_penalty == -0.75f);
  CHECK(chosen_sampling({}, metadata, nullptr).seed != chosen_sampling({}, metadata, nullptr).seed);
}
