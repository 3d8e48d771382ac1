#include "runtime/engine/sampling_defaults.h"

#include <fmt/format.h>

#include <limits>
#include <random>
#include <string_view>

#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

struct Family {
  const char* name;
  float temperature, top_p;
};

// What the model cards recommend: R1's and V3.1's; V2's, V2.5's and V3-0324's.
Family family_of(const GgufMetadata& metadata, const ChatTemplate* chat) {
  if (chat && chat->thinks()) return {"thinking models", 0.6f, 0.95f};
  const auto eos = metadata.unsigned_integer(key::kEosTokenId);
  const auto* tokens = metadata.strings(key::kTokens);
  const bool deepseek = eos && tokens && *eos < tokens->size() && (*tokens)[*eos] == "<｜end▁of▁sentence｜>";
  if (deepseek) return {"DeepSeek's models", 0.3f, 0.95f};
  return {"models in general", 0.7f, 0.95f};
}

std::string_view last_word(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

// llama.cpp's negative counts, and numbers beyond an int's, mean all.
int count_or_all(double value, int all) {
  return value >= 0 && value <= double(std::numeric_limits<int>::max()) ? int(value) : all;
}

bool is_taken(const SamplerOptions& options) {
  try {
    const Sampler sampler(options);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

SamplingDefaults recommended_sampling(const GgufMetadata& metadata, const ChatTemplate* chat) {
  const Family family = family_of(metadata, chat);
  SamplingDefaults defaults;
  defaults.options.temperature = family.temperature;
  defaults.options.top_p = family.top_p;

  std::string taken, passed_over;
  const auto read = [&](const char* key, auto put) {
    const auto value = metadata.number(key);
    if (!value) return;
    SamplerOptions changed = defaults.options;
    put(changed, *value);
    std::string& list = is_taken(changed) ? taken : passed_over;
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", last_word(key), float(*value));
    if (&list == &taken) defaults.options = changed;
  };
  read(key::kSamplingTemp, [](SamplerOptions& o, double value) { o.temperature = float(value); });
  read(key::kSamplingTopK, [](SamplerOptions& o, double value) { o.top_k = count_or_all(value, 0); });
  read(key::kSamplingTopP, [](SamplerOptions& o, double value) { o.top_p = float(value); });
  read(key::kSamplingMinP, [](SamplerOptions& o, double value) { o.min_p = float(value); });
  read(key::kSamplingPenaltyRepeat, [](SamplerOptions& o, double value) { o.repetition_penalty = float(value); });
  read(key::kSamplingPenaltyLastN, [](SamplerOptions& o, double value) {
    o.repetition_window = count_or_all(value, std::numeric_limits<int>::max());
  });

  defaults.from = taken.empty() ? fmt::format("recommended for {}: temp {}, top_p {}", family.name, family.temperature,
                                              family.top_p)
                                : fmt::format("the file's: {}", taken);
  if (!passed_over.empty()) defaults.from += fmt::format("; not usable in the file: {}", passed_over);
  return defaults;
}

SamplerOptions chosen_sampling(const SamplingChoices& choices, const GgufMetadata& metadata, const ChatTemplate* chat) {
  SamplerOptions options = recommended_sampling(metadata, chat).options;
  const auto set = [](auto& option, const auto& chosen) {
    if (chosen) option = *chosen;
  };
  set(options.temperature, choices.temperature);
  set(options.top_k, choices.top_k);
  set(options.top_p, choices.top_p);
  set(options.min_p, choices.min_p);
  set(options.repetition_penalty, choices.repetition_penalty);
  set(options.repetition_window, choices.repetition_window);
  set(options.frequency_penalty, choices.frequency_penalty);
  set(options.presence_penalty, choices.presence_penalty);
  options.seed = choices.seed ? *choices.seed : std::random_device()();
  return options;
}

}  // namespace hearth
