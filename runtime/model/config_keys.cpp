#include "runtime/model/config_keys.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "quant/gguf_keys.h"

namespace hearth {
namespace {

constexpr std::array kRead = {key::kBlockCount,
                              key::kContextLength,
                              key::kEmbeddingLength,
                              key::kFeedForwardLength,
                              key::kVocabSize,
                              key::kNextnPredictLayers,
                              key::kHeadCount,
                              key::kHeadCountKv,
                              key::kQLoraRank,
                              key::kKvLoraRank,
                              key::kKeyLength,
                              key::kValueLength,
                              key::kKeyLengthMla,
                              key::kValueLengthMla,
                              key::kRmsEpsilon,
                              key::kRopeDimensionCount,
                              key::kRopeFreqBase,
                              key::kRopeScalingType,
                              key::kRopeScalingFactor,
                              key::kRopeScalingOriginalContext,
                              key::kYarnLogMultiplier,
                              key::kYarnBetaFast,
                              key::kYarnBetaSlow,
                              key::kLeadingDenseBlockCount,
                              key::kExpertCount,
                              key::kExpertUsedCount,
                              key::kExpertSharedCount,
                              key::kExpertSharedFeedForwardLength,
                              key::kExpertFeedForwardLength,
                              key::kExpertGroupCount,
                              key::kExpertGroupUsedCount,
                              key::kExpertWeightsScale,
                              key::kExpertWeightsNorm,
                              key::kExpertGatingFunc};

// Without deepseek2. before them. They describe, or belong to a key that is refused itself.
constexpr std::array<std::string_view, 5> kHarmless = {
    "rope.scaling.finetuned",        // whether the model was trained with its scaling
    "tensor_data_layout",            // of the checkpoint that was converted
    "attention.layer_norm_epsilon",  // of norms that the family does not have
    "attention.temperature_length",  // what attention.temperature_scale is measured from
    "size_label",
};

// Keys that mean nothing at these values, where 0 alone would be too much or too little to ask for.
struct Neutral {
  std::string_view key;
  double values[2];
};
constexpr Neutral kNeutral[] = {
    {"attention.causal", {1, 1}},
    {"attention.output_scale", {0, 1}},
    {"attention.value_scale", {0, 1}},
    {"embedding_scale", {0, 1}},
    {"expert_group_scale", {0, 1}},
    {"full_attention_interval", {0, 1}},
    {"interleave_moe_layer_step", {0, 1}},
    {"logit_scale", {0, 1}},
    {"moe_every_n_layers", {0, 1}},
    {"moe_layer_freq", {1, 1}},
    {"residual_scale", {0, 1}},
    {"rope.scale_linear", {0, 1}},
    {"rope.scaling.alpha", {0, 1}},
    {"rope.scaling.attn_factor", {1, 1}},
    {"rope.scaling.yarn_attn_factor", {1, -1}},  // -1: as by default, which is 1
    {"rope.scaling.yarn_ext_factor", {1, -1}},
};

std::vector<double> numbers_in(const GgufValue& value) {
  return std::visit(
      [](const auto& data) -> std::vector<double> {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, std::string>) {
          return std::vector<double>(data.empty() || data == "none" ? 0 : 1, NAN);
        } else if constexpr (std::is_same_v<Data, std::vector<std::string>>) {
          return std::vector<double>(data.size(), NAN);
        } else if constexpr (requires { data.size(); }) {
          return std::vector<double>(data.begin(), data.end());
        } else {
          return {double(data)};
        }
      },
      value.data);
}

bool is_neutral(std::string_view name, const GgufValue& value) {
  const auto known = std::ranges::find(kNeutral, name, &Neutral::key);
  const bool in_table = known != std::end(kNeutral);
  return std::ranges::all_of(
      numbers_in(value), [&](double v) { return in_table ? v == known->values[0] || v == known->values[1] : v == 0; });
}

bool is_silu(std::string_view name, const GgufValue& value) {
  const auto* text = std::get_if<std::string>(&value.data);
  return (name == "hidden_act" || name == "hidden_activation") && text && *text == "silu";
}

}  // namespace

void refuse_unknown_keys(const GgufMetadata& metadata) {
  const std::string prefix = std::string(key::kDeepseek2) + ".";
  for (const auto& [key, value] : metadata.entries()) {
    if (!key.starts_with(prefix) || std::ranges::find(kRead, std::string_view(key)) != kRead.end()) continue;
    const std::string_view name = std::string_view(key).substr(prefix.size());
    const bool harmless = std::ranges::find(kHarmless, name) != kHarmless.end();
    require(harmless || is_neutral(name, value) || is_silu(name, value), ErrorKind::model,
            "{}: {} = {}: a key that this program does not compute with, and that may matter", metadata.source, key,
            value.text());
  }
}

}  // namespace hearth
