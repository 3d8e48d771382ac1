#include "convert/export/config_json.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "convert/json_file.h"

namespace hearth {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr int kIndent = 2;

// Whole numbers without a fraction, where published files have them so.
OrderedJson plain_number(double value) {
  if (value == std::floor(value) && std::abs(value) < 0x1p53) return int64_t(value);
  return value;
}

std::vector<std::string> routers(const HfConfig& c) {
  std::vector<std::string> names;
  for (int64_t layer = std::max<int64_t>(0, c.n_dense_layers); layer < c.n_layers + c.n_mtp_layers; ++layer)
    names.push_back(fmt::format("model.layers.{}.mlp.gate", layer));
  return names;
}

// Each name once, in the order of its first place.
std::vector<std::string> joined(std::vector<std::string> names, const std::vector<std::string>& more) {
  std::unordered_set<std::string> known(names.begin(), names.end());
  for (const std::string& name : more) {
    if (known.insert(name).second) names.push_back(name);
  }
  return names;
}

// vLLM's readers know one name of the list and those of transformers and SGLang the other, and compare whole names. A
// list takes the place of transformers' own, which has the head.
OrderedJson fp8_quantization(const HfConfig& c, const std::vector<std::string>& not_converted) {
  const std::vector<std::string> plain = joined(joined({"lm_head"}, routers(c)), not_converted);
  return {{"quant_method", "fp8"},           {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},  {"weight_block_size", {128, 128}},
          {"modules_to_not_convert", plain}, {"ignored_layers", plain}};
}

// As llm-compressor's preset W4A16 is written. Routers are linear layers to this library, so a pattern names them.
OrderedJson int4_quantization(const std::vector<std::string>& not_converted) {
  const std::vector<std::string> plain = joined({"lm_head", "re:.*mlp\\.gate$"}, not_converted);
  const OrderedJson weights = {{"num_bits", 4},        {"type", "int"},
                               {"symmetric", true},    {"strategy", "group"},
                               {"group_size", 128},    {"dynamic", false},
                               {"actorder", nullptr},  {"block_structure", nullptr},
                               {"observer", "minmax"}, {"observer_kwargs", OrderedJson::object()}};
  const OrderedJson group = {{"targets", OrderedJson::array({"Linear"})},
                             {"input_activations", nullptr},
                             {"output_activations", nullptr},
                             {"weights", weights}};
  return {{"quant_method", "compressed-tensors"},  {"format", "pack-quantized"}, {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}}, {"kv_cache_scheme", nullptr}, {"ignore", plain}};
}

OrderedJson quantization(const HfConfig& c, ExportFormat format, const std::vector<std::string>& not_converted) {
  switch (format) {
    case ExportFormat::kBf16:
      break;
    case ExportFormat::kFp8:
      return fp8_quantization(c, not_converted);
    case ExportFormat::kInt4:
      return int4_quantization(not_converted);
  }
  return nullptr;
}

OrderedJson rope_scaling(const HfConfig& c) {
  if (!c.yarn) return nullptr;
  return {{"type", "yarn"},
          {"factor", plain_number(c.yarn->factor)},
          {"original_max_position_embeddings", c.yarn->original_context},
          {"beta_fast", plain_number(c.yarn->beta_fast)},
          {"beta_slow", plain_number(c.yarn->beta_slow)},
          {"mscale", c.yarn->mscale},
          {"mscale_all_dim", c.yarn->mscale}};
}

// 0 as null: the classes ask for null where a model has none of it.
OrderedJson count_or_null(int64_t n) {
  return n == 0 ? OrderedJson(nullptr) : OrderedJson(n);
}

void add_attention(const HfConfig& c, OrderedJson& json) {
  json["num_attention_heads"] = c.n_heads;
  json["num_key_value_heads"] = c.n_heads;
  json["q_lora_rank"] = count_or_null(c.q_lora_rank);
  json["kv_lora_rank"] = c.kv_lora_rank;
  json["qk_nope_head_dim"] = c.qk_nope_head_dim;
  json["qk_rope_head_dim"] = c.qk_rope_head_dim;
  json["v_head_dim"] = c.v_head_dim;
  json["attention_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["rope_theta"] = plain_number(c.rope_theta);
  json["rope_scaling"] = rope_scaling(c);
}

void add_experts(const HfConfig& c, OrderedJson& json) {
  const bool sigmoid = c.gating == GatingFunc::sigmoid;
  json["moe_intermediate_size"] = c.moe_inter_dim;
  json["n_routed_experts"] = c.n_routed_experts;
  json["n_shared_experts"] = count_or_null(c.n_shared_experts);
  json["num_experts_per_tok"] = c.n_activated_experts;
  json["first_k_dense_replace"] = c.n_dense_layers;
  json["moe_layer_freq"] = 1;
  json["n_group"] = c.n_expert_groups;
  json["topk_group"] = c.n_limited_groups;
  json["topk_method"] = sigmoid ? "noaux_tc" : c.n_expert_groups > 1 ? "group_limited_greedy" : "greedy";
  json["scoring_func"] = sigmoid ? "sigmoid" : "softmax";
  json["norm_topk_prob"] = c.norm_topk_prob;
  json["routed_scaling_factor"] = c.route_scale;
}

void add_tokens(const HfConfig& c, OrderedJson& json) {
  if (c.bos_token_id) json["bos_token_id"] = *c.bos_token_id;
  if (!c.eos_token_ids.empty()) json["eos_token_id"] = c.eos_token_ids.front();  // others: generation_config.json
  if (c.pad_token_id) json["pad_token_id"] = *c.pad_token_id;
}

}  // namespace

std::string config_json(const HfConfig& c, ExportFormat format, const std::vector<std::string>& not_converted) {
  OrderedJson json = OrderedJson::object();
  json["architectures"] = {c.is_v3() ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"};
  json["model_type"] = c.model_type;
  if (!c.name.empty()) json["_name_or_path"] = c.name;
  json["torch_dtype"] = "bfloat16";
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.dim;
  json["hidden_act"] = "silu";
  json["intermediate_size"] = c.inter_dim;
  json["num_hidden_layers"] = c.n_layers;
  if (c.n_mtp_layers > 0) json["num_nextn_predict_layers"] = c.n_mtp_layers;
  json["max_position_embeddings"] = c.max_context;
  json["rms_norm_eps"] = c.norm_eps;
  json["tie_word_embeddings"] = c.tied_embeddings;
  json["use_cache"] = true;
  add_attention(c, json);
  add_experts(c, json);
  add_tokens(c, json);
  if (format != ExportFormat::kBf16) json["quantization_config"] = quantization(c, format, not_converted);
  return json.dump(kIndent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string requantized_config_json(std::string_view text, const std::string& path, ExportFormat format,
                                    const std::vector<std::string>& not_converted) {
  OrderedJson json;
  try {
    json = OrderedJson::parse(text.begin(), text.end());
  } catch (const OrderedJson::exception& error) {
    fail(ErrorKind::format, "{}: not valid JSON: {}", path, one_line(error.what()));
  }
  require(json.is_object(), ErrorKind::format, "{}: expected a JSON object, found {}", path, json.type_name());
  json.erase("compression_config");  // what compressed-tensors called it at first
  const HfConfig config = parse_hf_config(text, path);
  const OrderedJson how = quantization(config, format, not_converted);
  how.is_null() ? void(json.erase("quantization_config")) : void(json["quantization_config"] = how);
  return json.dump(kIndent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace hearth
