#include "convert/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "convert/json_file.h"
#include "quant/mapped_file.h"

namespace hearth {

namespace {

constexpr int64_t kMaxWidth = 1 << 24;  // of anything: products of two stay far from overflow
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxContext = 1 << 28;

constexpr struct {
  const char* architecture;
  const char* model_type;
} kSupported[] = {
    {"DeepseekV2ForCausalLM", "deepseek_v2"},
    {"DeepseekV3ForCausalLM", "deepseek_v3"},
};
constexpr const char* kSupportedText =
    "hearth converts DeepseekV2ForCausalLM and DeepseekV3ForCausalLM (V2, V2-Lite, Coder-V2, V2.5, V3, R1)";

void read_architecture(const JsonFields& json, HfConfig& c) {
  const std::optional<std::string> type = json.string("model_type");
  if (!type) json.refuse("model_type is missing; {}", kSupportedText);
  c.model_type = *type;
  const bool known = std::any_of(std::begin(kSupported), std::end(kSupported),
                                 [&](const auto& row) { return c.model_type == row.model_type; });
  if (!known) json.refuse("model_type {} is not supported; {}", c.model_type, kSupportedText);
  const Json* architectures = json.find("architectures");
  if (!architectures) return;
  for (const Json& found : architectures->is_array() ? *architectures : Json::array({*architectures})) {
    const bool listed = found.is_string() && std::any_of(std::begin(kSupported), std::end(kSupported), [&](auto& row) {
                          return found == row.architecture && c.model_type == row.model_type;
                        });
    if (!listed)
      json.refuse("architecture {} of {} is not supported; {}", json_text(found), c.model_type, kSupportedText);
  }
}

void read_sizes(const JsonFields& json, HfConfig& c) {
  c.vocab_size = json.integer("vocab_size", 1, kMaxWidth);
  c.dim = json.integer("hidden_size", 1, kMaxWidth);
  c.n_layers = json.integer("num_hidden_layers", 1, kMaxLayers);
  c.inter_dim = json.integer("intermediate_size", 1, kMaxWidth);
  c.max_context = json.integer("max_position_embeddings", 1, kMaxContext);
  c.norm_eps = json.number("rms_norm_eps");
  if (c.norm_eps <= 0) json.refuse("rms_norm_eps: expected more than 0, found {}", c.norm_eps);
  c.tied_embeddings = json.boolean_or("tie_word_embeddings", false);
  c.n_mtp_layers = json.integer_or("num_nextn_predict_layers", 0, 0, 64);
}

void read_attention(const JsonFields& json, HfConfig& c) {
  c.n_heads = json.integer("num_attention_heads", 1, kMaxWidth);
  const int64_t kv_heads = json.integer_or("num_key_value_heads", c.n_heads, 1, kMaxWidth);
  if (kv_heads != c.n_heads) {
    json.refuse("num_key_value_heads: expected {} (= num_attention_heads, as MLA has it), found {}", c.n_heads,
                kv_heads);
  }
  c.q_lora_rank = json.integer_or("q_lora_rank", 0, 0, kMaxWidth);
  c.kv_lora_rank = json.integer("kv_lora_rank", 1, kMaxWidth);
  c.qk_nope_head_dim = json.integer("qk_nope_head_dim", 1, kMaxWidth);
  c.qk_rope_head_dim = json.integer("qk_rope_head_dim", 1, kMaxWidth);
  c.v_head_dim = json.integer("v_head_dim", 1, kMaxWidth);
  if (c.qk_rope_head_dim % 2 != 0)
    json.refuse("qk_rope_head_dim: expected an even number, found {}", c.qk_rope_head_dim);
  const std::array products = {c.n_heads * c.qk_head_dim(), c.n_heads * (c.qk_nope_head_dim + c.v_head_dim)};
  for (int64_t width : products) {
    if (width > int64_t(1) << 31) json.refuse("all heads together are {} wide, which no model is", width);
  }
  if (json.boolean_or("attention_bias", false)) json.refuse("attention_bias true is not supported");
  if (json.boolean_or("mlp_bias", false)) json.refuse("mlp_bias true is not supported");
  const std::string act = json.string("hidden_act").value_or("silu");
  if (act != "silu") json.refuse("hidden_act: expected silu, found {}", act);
  if (!json.boolean_or("rope_interleave", true)) {
    json.refuse("rope_interleave false is not supported: this family rotates adjacent pairs");
  }
}

void read_experts(const JsonFields& json, HfConfig& c) {
  c.n_routed_experts = json.integer("n_routed_experts", 1, 65536);
  c.n_shared_experts = json.integer("n_shared_experts", 1, 4096);
  c.n_activated_experts = json.integer("num_experts_per_tok", 1, 65536);
  c.moe_inter_dim = json.integer("moe_intermediate_size", 1, kMaxWidth);
  c.n_dense_layers = json.integer("first_k_dense_replace", 0, c.n_layers);
  const int64_t frequency = json.integer_or("moe_layer_freq", 1, 1, kMaxLayers);
  if (frequency != 1) {
    json.refuse("moe_layer_freq: expected 1, found {}: GGUF has no key for MoE layers that alternate with dense ones",
                frequency);
  }
  if (c.n_activated_experts > c.n_routed_experts) {
    json.refuse("num_experts_per_tok: expected at most n_routed_experts ({}), found {}", c.n_routed_experts,
                c.n_activated_experts);
  }
}

// One of the three rules (fact sheet, section 4). transformers' own V3 configuration names neither method nor function.
void read_routing(const JsonFields& json, HfConfig& c) {
  const bool v3 = c.model_type == "deepseek_v3";
  const std::string method = json.string("topk_method").value_or(v3 ? "noaux_tc" : "greedy");
  const std::string scoring = json.string("scoring_func").value_or(method == "noaux_tc" ? "sigmoid" : "softmax");
  const bool grouped_softmax = method == "group_limited_greedy" && scoring == "softmax";
  const bool noaux = method == "noaux_tc" && scoring == "sigmoid";
  if (!(method == "greedy" && scoring == "softmax") && !grouped_softmax && !noaux) {
    json.refuse(
        "topk_method {} with scoring_func {} is not supported: expected greedy or group_limited_greedy with "
        "softmax, or noaux_tc with sigmoid",
        method, scoring);
  }
  c.gating = noaux ? GatingFunc::sigmoid : GatingFunc::softmax;
  c.selection_bias = noaux;
  c.norm_topk_prob = json.boolean_or("norm_topk_prob", false);
  c.route_scale = json.number_or("routed_scaling_factor", 1);
  if (c.route_scale <= 0) json.refuse("routed_scaling_factor: expected more than 0, found {}", c.route_scale);
  // DeepSeek's V2 code scales only what it does not normalise, transformers' never normalises, GGUF programs do both.
  if (!noaux && c.norm_topk_prob && c.route_scale != 1) {
    json.refuse("norm_topk_prob with a routed_scaling_factor of {} has no agreed meaning with {} routing: expected 1",
                c.route_scale, scoring);
  }

  const int64_t groups = json.integer_or("n_group", 1, 1, 65536);
  const int64_t kept = json.integer_or("topk_group", 1, 1, 65536);
  if (method == "greedy" || groups == 1) {
    if (groups > 1) c.notes.push_back(fmt::format("topk_method greedy ignores n_group {}: written as 1", groups));
    return;
  }
  if (c.n_routed_experts % groups != 0) {
    json.refuse("n_group: expected a divisor of n_routed_experts ({}), found {}", c.n_routed_experts, groups);
  }
  if (kept > groups) json.refuse("topk_group: expected at most n_group ({}), found {}", groups, kept);
  const int64_t per_group = c.n_routed_experts / groups;
  if (noaux && per_group < 2) {
    json.refuse("n_group: noaux_tc ranks groups by their two best experts, and {} groups of {} have one", groups,
                c.n_routed_experts);
  }
  if (c.n_activated_experts > kept * per_group) {
    json.refuse("num_experts_per_tok: expected at most {} (topk_group {} of {} experts), found {}", kept * per_group,
                kept, per_group, c.n_activated_experts);
  }
  if (kept == groups) {
    c.notes.push_back(fmt::format("topk_group {} keeps every group: written as one group", kept));
    return;
  }
  c.n_expert_groups = groups;
  c.n_limited_groups = kept;
}

// rope_scaling (null: plain), or transformers 5's rope_parameters, which also holds rope_theta.
void read_rope(const JsonFields& json, HfConfig& c) {
  const std::optional<JsonFields> parameters = json.object("rope_parameters");
  const std::optional<JsonFields> scaling = json.object("rope_scaling");
  if (parameters && scaling) json.refuse("has both rope_parameters and rope_scaling: expected one");
  c.rope_theta = json.number_or("rope_theta", parameters ? parameters->number_or("rope_theta", 10000) : 10000);
  if (c.rope_theta <= 1) json.refuse("rope_theta: expected more than 1, found {}", c.rope_theta);
  const std::optional<JsonFields>& rope = parameters ? parameters : scaling;
  if (!rope) return;

  const std::optional<std::string> type = rope->has("rope_type") ? rope->string("rope_type") : rope->string("type");
  if (rope->number_or("partial_rotary_factor", 1) != 1)
    json.refuse("partial_rotary_factor other than 1 is not supported");
  if (!type || *type == "default") return;
  if (*type != "yarn") json.refuse("rope scaling of type {} is not supported: expected yarn or none", *type);

  HfYarn yarn;
  yarn.factor = rope->number("factor");
  yarn.original_context = rope->integer("original_max_position_embeddings", 1, kMaxContext);
  yarn.beta_fast = rope->number_or("beta_fast", 32);
  yarn.beta_slow = rope->number_or("beta_slow", 1);
  if (yarn.factor < 1) json.refuse("rope scaling factor: expected 1 or more, found {}", yarn.factor);
  if (yarn.beta_slow <= 0 || yarn.beta_fast <= yarn.beta_slow) {
    json.refuse("rope scaling: expected beta_fast > beta_slow > 0, found {} and {}", yarn.beta_fast, yarn.beta_slow);
  }
  if (!rope->boolean_or("truncate", true)) json.refuse("rope scaling with truncate false is not supported");
  if (rope->has("attention_factor")) json.refuse("rope scaling with an attention_factor is not supported");
  if (yarn.factor == 1) {
    c.notes.push_back("rope scaling by a factor of 1 changes nothing: left out");
    return;
  }
  // cos and sin are multiplied by M(mscale) / M(mscale_all_dim); GGUF has a key for the second only. Absent, they mean
  // 1 and 0, which is not 1 either.
  const double mscale = rope->number_or("mscale", 1), mscale_all_dim = rope->number_or("mscale_all_dim", 0);
  if (mscale != mscale_all_dim || mscale <= 0) {
    json.refuse("rope scaling: expected mscale = mscale_all_dim > 0, found {} and {}{}: GGUF stores only one of them",
                mscale, mscale_all_dim, rope->has("mscale_all_dim") ? "" : " (absent)");
  }
  yarn.mscale = mscale;
  c.yarn = yarn;
}

// Which tensors are FP8 is said by their own types; this refuses checkpoints that are quantized in some other way.
void read_quantization(const JsonFields& json) {
  const std::optional<JsonFields> quantization = json.object("quantization_config");
  if (!quantization) return;
  const std::string method = quantization->string("quant_method").value_or("unnamed");
  if (method != "fp8") {
    json.refuse("checkpoints quantized with {} are not supported: expected fp8 or none", method);
  }
  const std::string format = quantization->string("fmt").value_or("e4m3");
  if (format != "e4m3") json.refuse("quantization_config.fmt: expected e4m3, found {}", format);
  const Json* block = quantization->find("weight_block_size");
  if (!block || *block != Json::array({kScaleBlock, kScaleBlock})) {
    json.refuse("quantization_config.weight_block_size: expected [{}, {}], found {}", kScaleBlock, kScaleBlock,
                block ? json_text(*block) : "nothing");
  }
}

std::optional<int64_t> token_id(const JsonFields& json, const char* key, int64_t vocab_size) {
  const Json* value = json.find(key);
  if (!value || !value->is_number_integer()) return std::nullopt;  // a list of several ends: the tokenizer decides
  return json.integer(key, 0, vocab_size - 1);
}

}  // namespace

HfConfig parse_hf_config(std::string_view text, const std::string& path) {
  const Json object = parse_json_object(text, path);
  const JsonFields json(object, path);
  HfConfig c;
  c.path = path;
  read_architecture(json, c);
  c.name = json.string("_name_or_path").value_or("");
  read_sizes(json, c);
  read_attention(json, c);
  read_experts(json, c);
  read_routing(json, c);
  read_rope(json, c);
  read_quantization(json);
  c.bos_token_id = token_id(json, "bos_token_id", c.vocab_size);
  c.eos_token_id = token_id(json, "eos_token_id", c.vocab_size);
  c.pad_token_id = token_id(json, "pad_token_id", c.vocab_size);
  return c;
}

HfConfig read_hf_config(const std::string& path) {
  const MappedFile file(path);
  require(file.size() <= kMaxConfigBytes, ErrorKind::format, "{}: expected at most {} bytes, found {}", path,
          kMaxConfigBytes, file.size());
  return parse_hf_config({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, path);
}

void add_model_metadata(const HfConfig& c, GgufMetadata& metadata) {
  const auto u32 = [&](const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); };
  const auto f32 = [&](const char* key, double value) { metadata.set(key, GgufValue::of_f32(float(value))); };
  u32(key::kBlockCount, c.n_layers);
  u32(key::kContextLength, c.max_context);
  u32(key::kEmbeddingLength, c.dim);
  u32(key::kFeedForwardLength, c.inter_dim);
  u32(key::kVocabSize, c.vocab_size);

  // Attention as its readers see it: one shared key of latent and rope part, whose first part is the value.
  u32(key::kHeadCount, c.n_heads);
  u32(key::kHeadCountKv, 1);
  // 0 for plain queries: llama.cpp demands the key of every model that has not 26 or 27 layers.
  u32(key::kQLoraRank, c.q_lora_rank);
  u32(key::kKvLoraRank, c.kv_lora_rank);
  u32(key::kKeyLength, c.kv_lora_rank + c.qk_rope_head_dim);
  u32(key::kValueLength, c.kv_lora_rank);
  u32(key::kKeyLengthMla, c.qk_head_dim());
  u32(key::kValueLengthMla, c.v_head_dim);
  f32(key::kRmsEpsilon, c.norm_eps);

  u32(key::kRopeDimensionCount, c.qk_rope_head_dim);
  f32(key::kRopeFreqBase, c.rope_theta);
  if (c.yarn) {
    metadata.set(key::kRopeScalingType, GgufValue::of_string("yarn"));
    f32(key::kRopeScalingFactor, c.yarn->factor);
    u32(key::kRopeScalingOriginalContext, c.yarn->original_context);
    f32(key::kYarnLogMultiplier, 0.1 * c.yarn->mscale);
    f32(key::kYarnBetaFast, c.yarn->beta_fast);
    f32(key::kYarnBetaSlow, c.yarn->beta_slow);
  }

  u32(key::kLeadingDenseBlockCount, c.n_dense_layers);
  u32(key::kExpertCount, c.n_routed_experts);
  u32(key::kExpertUsedCount, c.n_activated_experts);
  u32(key::kExpertSharedCount, c.n_shared_experts);
  u32(key::kExpertFeedForwardLength, c.moe_inter_dim);
  u32(key::kExpertGroupCount, c.n_expert_groups);
  u32(key::kExpertGroupUsedCount, c.n_limited_groups);
  f32(key::kExpertWeightsScale, c.route_scale);
  if (c.norm_topk_prob) metadata.set(key::kExpertWeightsNorm, GgufValue::of_bool(true));
  u32(key::kExpertGatingFunc, int64_t(c.gating));
}

}  // namespace hearth
