#include "convert/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "convert/hf_config_parts.h"
#include "quant/mapped_file.h"

namespace hearth {

namespace {

constexpr int64_t kMaxWidth = 1 << 24;  // largest size of anything: products of two stay far from overflow
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

void read_sizes(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  c.vocab_size = json.integer("vocab_size", 1, kMaxWidth);
  c.dim = json.integer("hidden_size", 1, kMaxWidth);
  c.n_layers = json.integer("num_hidden_layers", 1, kMaxLayers);
  c.inter_dim = json.integer("intermediate_size", 1, kMaxWidth);
  c.max_context = defaults.integer("max_position_embeddings", 2048, 4096, 1, kMaxContext);
  c.norm_eps = defaults.number("rms_norm_eps", 1e-6, 1e-6);
  if (c.norm_eps <= 0) json.refuse("rms_norm_eps: expected more than 0, found {}", c.norm_eps);
  c.tied_embeddings = defaults.boolean("tie_word_embeddings", false, false);
  const char* mtp = json.has("num_nextn_predict_layers") ? "num_nextn_predict_layers" : "num_mtp_layers";
  c.n_mtp_layers = json.integer_or(mtp, 0, 0, 64);
}

void read_attention(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  c.n_heads = json.integer("num_attention_heads", 1, kMaxWidth);
  const int64_t kv_heads = json.integer_or("num_key_value_heads", c.n_heads, 1, kMaxWidth);
  if (kv_heads != c.n_heads) {
    json.refuse("num_key_value_heads: expected {} (= num_attention_heads, as MLA has it), found {}", c.n_heads,
                kv_heads);
  }
  const bool plain = json.is_null("q_lora_rank");
  c.q_lora_rank = json.integer_or("q_lora_rank", plain ? 0 : HfConfig::kAskTensors, 0, kMaxWidth);
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
  const std::string act = defaults.string("hidden_act", "silu", "silu");
  if (act != "silu") json.refuse("hidden_act: expected silu, found {}", act);
  if (!json.boolean_or("rope_interleave", true)) {
    json.refuse("rope_interleave false is not supported: this family rotates adjacent pairs");
  }
}

void read_experts(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  constexpr int64_t kMaxExperts = 65536;
  const char* experts = "n_routed_experts";
  for (const char* alias : {"num_experts", "num_local_experts"}) {  // transformers' other names for n_routed_experts
    if (!json.has("n_routed_experts") && json.has(alias)) experts = alias;
  }
  c.n_routed_experts = json.integer(experts, 1, kMaxExperts);
  const bool none = json.is_null("n_shared_experts");
  c.n_shared_experts = json.integer_or("n_shared_experts", none ? 0 : HfConfig::kAskTensors, 0, 4096);
  // V2's class has no default for num_experts_per_tok.
  c.n_activated_experts = c.is_v3() ? defaults.integer("num_experts_per_tok", 8, 8, 1, kMaxExperts)
                                    : json.integer("num_experts_per_tok", 1, kMaxExperts);
  c.moe_inter_dim = json.integer("moe_intermediate_size", 1, kMaxWidth);
  c.n_dense_layers = json.integer_or("first_k_dense_replace", HfConfig::kAskTensors, 0, c.n_layers);
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

// The groups that experts are chosen from. V2's class has no defaults for n_group and topk_group, but its method
// group_limited_greedy needs both.
void read_groups(const JsonFields& json, ClassDefaults& defaults, const std::string& method, HfConfig& c) {
  constexpr int64_t kMaxGroups = 65536;
  if (method == "greedy") {
    const int64_t ignored = json.integer_or("n_group", 1, 1, kMaxGroups);
    if (ignored > 1) c.notes.push_back(fmt::format("topk_method greedy ignores n_group {}: written as 1", ignored));
    return;
  }
  const int64_t groups =
      c.is_v3() ? defaults.integer("n_group", 8, 8, 1, kMaxGroups) : json.integer("n_group", 1, kMaxGroups);
  if (groups == 1) return;
  const int64_t kept =
      c.is_v3() ? defaults.integer("topk_group", 4, 4, 1, kMaxGroups) : json.integer("topk_group", 1, kMaxGroups);
  if (c.n_routed_experts % groups != 0) {
    json.refuse("n_group: expected a divisor of n_routed_experts ({}), found {}", c.n_routed_experts, groups);
  }
  if (kept > groups) json.refuse("topk_group: expected at most n_group ({}), found {}", groups, kept);
  const int64_t per_group = c.n_routed_experts / groups;
  if (c.selection_bias && per_group < 2) {
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

// One of the three rules (docs/model.md section 4). In transformers' own V3 configuration topk_method and scoring_func
// are absent.
void read_routing(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  const std::string method =
      c.is_v3() ? json.string("topk_method").value_or("noaux_tc") : defaults.string("topk_method", "greedy", "");
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
  c.norm_topk_prob = defaults.boolean("norm_topk_prob", false, true);
  c.route_scale = defaults.number("routed_scaling_factor", 1, 2.5);
  if (c.route_scale <= 0) json.refuse("routed_scaling_factor: expected more than 0, found {}", c.route_scale);
  // With softmax routing, DeepSeek's V2 code scales only weights that it does not normalise, transformers never
  // normalises, and GGUF programs do both.
  if (!noaux && c.norm_topk_prob && c.route_scale != 1) {
    json.refuse("norm_topk_prob with a routed_scaling_factor of {} has no agreed meaning with {} routing: expected 1",
                c.route_scale, scoring);
  }

  read_groups(json, defaults, method, c);
}

// One id, or a list of ids. Values that are no token (-1, or beyond the vocabulary) are left out, with a note.
std::vector<int64_t> token_ids(const JsonFields& json, const char* key, HfConfig& c) {
  const Json* value = json.find(key);
  std::vector<int64_t> ids;
  for (const Json& id : !value ? Json::array() : value->is_array() ? *value : Json::array({*value})) {
    if (id.is_number_unsigned() && id.get<uint64_t>() < uint64_t(c.vocab_size)) {
      ids.push_back(id.get<int64_t>());
    } else {
      c.notes.push_back(
          fmt::format("{} {} of config.json is no token of the {}: left aside", key, json_text(id), c.vocab_size));
    }
  }
  return ids;
}

std::optional<int64_t> token_id(const JsonFields& json, const char* key, HfConfig& c) {
  const std::vector<int64_t> ids = token_ids(json, key, c);
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

}  // namespace

bool ClassDefaults::absent(const char* key) const {
  if (json_.is_null(key)) json_.refuse("{}: expected a value, found null", key);
  return !json_.has(key);
}

int64_t ClassDefaults::integer(const char* key, int64_t v2, int64_t v3, int64_t low, int64_t high) {
  if (!absent(key)) return json_.integer(key, low, high);
  const int64_t value = is_v3_ ? v3 : v2;
  if (value > high) json_.refuse("{}: expected a whole number of {} to {}, found nothing", key, low, high);
  take(key, fmt::to_string(value));
  return value;
}

double ClassDefaults::number(const char* key, double v2, double v3) {
  if (!absent(key)) return json_.number(key);
  const double value = is_v3_ ? v3 : v2;
  take(key, fmt::to_string(value));
  return value;
}

bool ClassDefaults::boolean(const char* key, bool v2, bool v3) {
  if (!absent(key)) return json_.boolean_or(key, false);
  const bool value = is_v3_ ? v3 : v2;
  take(key, value ? "true" : "false");
  return value;
}

std::string ClassDefaults::string(const char* key, const char* v2, const char* v3) {
  if (!absent(key)) return *json_.string(key);
  const std::string value = is_v3_ ? v3 : v2;
  take(key, value);
  return value;
}

std::string ClassDefaults::note() const {
  if (taken_.empty()) return "";
  return fmt::format("config.json leaves out {}; taken as its class {} has {}: {}",
                     taken_.size() == 1 ? "a key" : fmt::format("{} keys", taken_.size()),
                     is_v3_ ? "DeepseekV3Config" : "DeepseekV2Config", taken_.size() == 1 ? "it" : "them",
                     fmt::join(taken_, ", "));
}

HfConfig parse_hf_config(std::string_view text, const std::string& path) {
  const Json object = parse_json_object(text, path);
  const JsonFields json(object, path);
  HfConfig c;
  c.path = path;
  read_architecture(json, c);
  c.name = json.string("_name_or_path").value_or("");
  check_other_keys(json, c);
  ClassDefaults defaults(json, c.is_v3());
  read_sizes(json, defaults, c);
  read_attention(json, defaults, c);
  read_experts(json, defaults, c);
  read_routing(json, defaults, c);
  read_rope(json, defaults, c);
  read_quantization(json, c);
  if (const std::string note = defaults.note(); !note.empty()) c.notes.push_back(note);
  c.bos_token_id = token_id(json, "bos_token_id", c);
  c.eos_token_ids = token_ids(json, "eos_token_id", c);
  c.pad_token_id = token_id(json, "pad_token_id", c);
  return c;
}

HfConfig read_hf_config(const std::string& path) {
  const MappedFile file(path);
  require(file.size() <= kMaxConfigBytes, ErrorKind::format, "{}: expected at most {} bytes, found {}", path,
          kMaxConfigBytes, file.size());
  return parse_hf_config({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, path);
}

}  // namespace hearth
