// How a model wants to be sampled when the user says nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "quant/gguf.h"
#include "runtime/chat/chat_template.h"
#include "runtime/engine/sampler.h"

namespace hearth {

struct SamplingDefaults {
  SamplerOptions options;
  std::string from;  // for people: "the file's general.sampling: temp 0.6, top_p 0.95"
};

// What the file says (general.sampling.*, which come from the checkpoint's generation_config.json), and for the rest
// what the model's authors recommend for its kind, as far as its chat template tells. Values that no sampler takes are
// passed over, and `from` says so. Throws Error(format) for a key of another type.
//   chat: null for a base model
SamplingDefaults recommended_sampling(const GgufMetadata& metadata, const ChatTemplate* chat);

// What somebody says of sampling.
struct SamplingChoices {
  std::optional<float> temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;
  std::optional<int> top_k, repetition_window;
  std::optional<uint64_t> seed;  // none: another one each time

  bool operator==(const SamplingChoices&) const = default;
};
// With every option and the seed decided: what is left open, the model recommends.
SamplerOptions chosen_sampling(const SamplingChoices& choices, const GgufMetadata& metadata, const ChatTemplate* chat);

}  // namespace hearth
