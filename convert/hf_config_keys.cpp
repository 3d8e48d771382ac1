#include <algorithm>

#include "convert/hf_config_parts.h"

namespace hearth {

namespace {

// Keys that are read elsewhere, or have no effect on what the model computes: training, generation, origin of the
// weights.
constexpr std::string_view kHarmless[] = {
    "_attn_implementation",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_bias",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "aux_loss_alpha",
    "bos_token_id",
    "compression_config",
    "dtype",
    "eos_token_id",
    "ep_size",
    "first_k_dense_replace",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "is_decoder",
    "is_encoder_decoder",
    "kv_lora_rank",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "model_type",
    "moe_intermediate_size",
    "moe_layer_freq",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_experts",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "q_lora_rank",
    "qk_head_dim",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "quantization",
    "quantization_config",
    "repetition_penalty",
    "return_dict",
    "rms_norm_eps",
    "rope_interleave",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "router_aux_loss_coef",
    "router_dtype",
    "router_jitter_noise",
    "router_z_loss_coef",
    "scoring_func",
    "seq_aux",
    "temperature",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "topk_group",
    "topk_method",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "v_head_dim",
    "vocab_size",
};

// Words in the names of keys that change the forward in models that have them. `neutral` is the number that changes
// nothing.
constexpr struct {
  std::string_view word;
  double neutral = 0;
} kForward[] = {
    {"attention_"},     {"attn"},      {"bias"},        {"chunk"},   {"clip"},      {"compress"}, {"conv_"},
    {"expert"},         {"factor", 1}, {"gate"},        {"hash"},    {"hyper"},     {"hc_"},      {"index_"},
    {"indexer"},        {"layernorm"}, {"layer_types"}, {"linear_"}, {"logit", 1},  {"lora"},     {"moe"},
    {"multiplier", 1},  {"norm"},      {"residual", 1}, {"rope"},    {"rotary", 1}, {"router"},   {"scale", 1},
    {"scaling", 1},     {"sink"},      {"sliding"},     {"softcap"}, {"sparse"},    {"ssm"},      {"swiglu"},
    {"temperature", 1}, {"window"},    {"yarn"},        {"alibi"},   {"mup"},       {"ngram"},    {"engram"},
};

bool changes_nothing(const Json& value, double neutral) {
  if (value.is_null() || value == false || (value.is_structured() && value.empty()) || value == "") return true;
  if (value.is_number()) return value.get<double>() == neutral;
  // A list with a value for each layer: all must be what every layer of this family has.
  return value.is_array() && std::all_of(value.begin(), value.end(), [](auto& v) { return v == "full_attention"; });
}

}  // namespace

void check_other_keys(const JsonFields& json, HfConfig& c) {
  std::vector<std::string> unread;
  for (const auto& [key, value] : json.object().items()) {
    if (std::find(std::begin(kHarmless), std::end(kHarmless), key) != std::end(kHarmless)) continue;
    if (key == "use_mla" && value == true) continue;
    if (key == "sliding_window" && !json.boolean_or("use_sliding_window", true)) continue;
    if (key == "use_mla") json.refuse("use_mla {}: this family's attention has a latent", json_text(value));
    bool settled = value.is_null();
    for (const auto& [word, neutral] : kForward) {
      if (key.find(word) == std::string::npos) continue;
      if (!changes_nothing(value, neutral)) {
        json.refuse("{} {} is not supported: it is not known here what it changes in the model", key, json_text(value));
      }
      settled = true;
    }
    if (!settled) unread.push_back(key);
  }
  if (unread.empty()) return;
  const auto end = unread.begin() + std::ptrdiff_t(std::min<size_t>(unread.size(), 5));
  c.notes.push_back(one_line(fmt::format("keys of config.json that are not known here and not used: {}{}",
                                         fmt::join(unread.begin(), end, ", "), end == unread.end() ? "" : ", ...")));
}

}  // namespace hearth
