#include "runtime/config.h"

#include <cmath>
#include <string_view>

#include "quant/gguf_keys.h"

namespace hearth {
namespace {

// Typed reading with bounds. The bounds are far above any model of the family: they only keep products of sizes from
// overflowing before the tensors' shapes are compared with them.
class Keys {
 public:
  explicit Keys(const GgufMetadata& metadata) : metadata_(metadata) {}

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    const auto value = metadata_.unsigned_integer(key);
    require(value.has_value(), ErrorKind::model, "{}: {}: expected an integer, the key is missing", source(), key);
    return checked(key, *value, low, high);
  }
  int64_t integer_or(int64_t absent, const char* key, int64_t low, int64_t high) const {
    const auto value = metadata_.unsigned_integer(key);
    return value ? checked(key, *value, low, high) : absent;
  }
  float number(const char* key, double low, double high) const {
    const auto value = metadata_.number(key);
    require(value.has_value(), ErrorKind::model, "{}: {}: expected a number, the key is missing", source(), key);
    require(*value >= low && *value <= high, ErrorKind::model, "{}: {}: expected {} to {}, found {}", source(), key,
            low, high, *value);  // written so that NaN fails
    return float(*value);
  }
  float number_or(float absent, const char* key, double low, double high) const {
    return metadata_.find(key) ? number(key, low, high) : absent;
  }
  bool has(const char* key) const { return metadata_.find(key) != nullptr; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::string& source() const { return metadata_.source; }

 private:
  int64_t checked(const char* key, uint64_t value, int64_t low, int64_t high) const {
    require(value >= uint64_t(low) && value <= uint64_t(high), ErrorKind::model, "{}: {}: expected {} to {}, found {}",
            source(), key, low, high, value);
    return int64_t(value);
  }
  const GgufMetadata& metadata_;
};

constexpr int64_t kMaxLayers = 4096, kMaxHeads = 65536, kMaxWidth = 1 << 20, kMaxExperts = 65536;
constexpr int64_t kMaxVocab = 1 << 24, kMaxContext = 1 << 28;

void read_architecture(const Keys& keys) {
  const auto found = keys.metadata().string(key::kArchitecture);
  require(found.has_value(), ErrorKind::model, "{}: {}: expected \"{}\", the key is missing", keys.source(),
          key::kArchitecture, key::kDeepseek2);
  require(*found == key::kDeepseek2, ErrorKind::model,
          "{}: {}: expected \"{}\" (DeepSeek-V2, V2-Lite, Coder-V2, V2.5, V3, R1), found \"{}\"", keys.source(),
          key::kArchitecture, key::kDeepseek2, *found);
}

// Widths of a head. Current files state them in the _mla keys, beside a key_length that is the latent's (r + dr = 576)
// and a value_length of r = 512. Old files have no _mla keys and the heads' own widths (192, 128) in key_length.
void read_head_widths(const Keys& keys, ModelConfig& c) {
  c.n_heads = keys.integer(key::kHeadCount, 1, kMaxHeads);
  const int64_t n_kv_heads = keys.integer_or(1, key::kHeadCountKv, 1, kMaxHeads);
  require(n_kv_heads == 1 || n_kv_heads == c.n_heads, ErrorKind::model, "{}: {}: expected 1 or {} (as {}), found {}",
          keys.source(), key::kHeadCountKv, c.n_heads, key::kHeadCount, n_kv_heads);

  c.q_lora_rank = keys.integer_or(0, key::kQLoraRank, 0, kMaxWidth);
  c.kv_lora_rank = keys.integer(key::kKvLoraRank, 1, kMaxWidth);
  c.qk_rope_head_dim = keys.integer(key::kRopeDimensionCount, 2, kMaxWidth);
  require(c.qk_rope_head_dim % 2 == 0, ErrorKind::model, "{}: {}: expected an even number, found {}", keys.source(),
          key::kRopeDimensionCount, c.qk_rope_head_dim);

  int64_t key_length = keys.integer_or(0, key::kKeyLength, 1, kMaxWidth);
  int64_t value_length = keys.integer_or(0, key::kValueLength, 1, kMaxWidth);
  const char* key_name = key::kKeyLength;
  if (keys.has(key::kKeyLengthMla) || keys.has(key::kValueLengthMla)) {
    require(key_length == 0 || key_length == c.cache_width(), ErrorKind::model,
            "{}: {}: expected {} (kv_lora_rank + rope dimensions, as {} is there), found {}", keys.source(),
            key::kKeyLength, c.cache_width(), key::kKeyLengthMla, key_length);
    require(value_length == 0 || value_length == c.kv_lora_rank, ErrorKind::model,
            "{}: {}: expected {} (kv_lora_rank, as {} is there), found {}", keys.source(), key::kValueLength,
            c.kv_lora_rank, key::kValueLengthMla, value_length);
    key_length = keys.integer(key::kKeyLengthMla, 1, kMaxWidth);
    value_length = keys.integer(key::kValueLengthMla, 1, kMaxWidth);
    key_name = key::kKeyLengthMla;
  } else {
    key_length = keys.integer(key::kKeyLength, 1, kMaxWidth);
    value_length = keys.integer(key::kValueLength, 1, kMaxWidth);
    require(key_length != c.cache_width(), ErrorKind::model,
            "{}: {}: expected the heads' own widths there, the key is missing and {} = {} is the latent's",
            keys.source(), key::kKeyLengthMla, key::kKeyLength, key_length);
  }
  require(key_length > c.qk_rope_head_dim, ErrorKind::model,
          "{}: {}: expected more than the {} rope dimensions, found {}", keys.source(), key_name, c.qk_rope_head_dim,
          key_length);
  c.qk_nope_head_dim = key_length - c.qk_rope_head_dim;
  c.v_head_dim = value_length;
}

void read_rope(const Keys& keys, ModelConfig& c) {
  c.rope_theta = keys.number_or(10000.0f, key::kRopeFreqBase, 1.0 + 1e-6, 1e12);
  const std::string type = keys.metadata().string(key::kRopeScalingType).value_or("none");
  if (type == "none") {
    // Without a type, a factor means linear scaling to the programs that wrote such files.
    const float factor = keys.number_or(1.0f, key::kRopeScalingFactor, 0.0, 1e9);
    require(factor == 1.0f || factor == 0.0f, ErrorKind::model,
            "{}: {} = {} without \"yarn\" as {}: only YaRN scaling is supported", keys.source(),
            key::kRopeScalingFactor, factor, key::kRopeScalingType);
    return;
  }
  require(type == "yarn", ErrorKind::model, "{}: {}: expected \"yarn\" or \"none\", found \"{}\"", keys.source(),
          key::kRopeScalingType, type);
  c.yarn.enabled = true;
  c.yarn.factor = keys.number(key::kRopeScalingFactor, 1.0, 1e6);
  c.yarn.original_context = keys.integer(key::kRopeScalingOriginalContext, 1, kMaxContext);
  c.yarn.beta_fast = keys.number_or(32.0f, key::kYarnBetaFast, 1e-6, 1e6);
  c.yarn.beta_slow = keys.number_or(1.0f, key::kYarnBetaSlow, 1e-6, 1e6);
  c.yarn.log_multiplier = keys.number_or(0.0f, key::kYarnLogMultiplier, 0.0, 10.0);
}

// Files from before the group keys: the model is told by its number of experts (fact sheet section 6).
struct KnownGroups {
  int64_t n_experts;
  int n_groups, n_limited_groups;
};
constexpr KnownGroups kGroupsOfOldFiles[] = {{160, 8, 3}, {256, 8, 4}};

void read_groups(const Keys& keys, ModelConfig& c) {
  Routing& rule = c.routing;
  if (keys.has(key::kExpertGroupCount)) {
    rule.n_groups = int(keys.integer(key::kExpertGroupCount, 1, c.n_routed_experts));
    rule.n_limited_groups = int(keys.integer_or(1, key::kExpertGroupUsedCount, 1, rule.n_groups));
    require(rule.n_groups == 1 || keys.has(key::kExpertGroupUsedCount), ErrorKind::model,
            "{}: {}: expected the number of groups kept of {}, the key is missing", keys.source(),
            key::kExpertGroupUsedCount, rule.n_groups);
  } else {
    for (const KnownGroups& known : kGroupsOfOldFiles) {
      if (known.n_experts != c.n_routed_experts) continue;
      rule.n_groups = known.n_groups;
      rule.n_limited_groups = known.n_limited_groups;
    }
  }
  require(c.n_routed_experts % rule.n_groups == 0, ErrorKind::model,
          "{}: {}: expected a divisor of the {} experts, found {}", keys.source(), key::kExpertGroupCount,
          c.n_routed_experts, rule.n_groups);
  const int64_t group_size = c.n_routed_experts / rule.n_groups;
  require(rule.n_groups == 1 || rule.group_score == Routing::GroupScore::maximum || group_size >= 2, ErrorKind::model,
          "{}: {}: expected groups of at least 2 experts for sigmoid routing, found {} groups of {}", keys.source(),
          key::kExpertGroupCount, rule.n_groups, group_size);
  require(rule.n_activated <= group_size * rule.n_limited_groups, ErrorKind::model,
          "{}: {}: expected at most the {} experts of {} groups, found {}", keys.source(), key::kExpertUsedCount,
          group_size * rule.n_limited_groups, rule.n_limited_groups, rule.n_activated);
}

void read_experts(const Keys& keys, ModelConfig& c) {
  c.n_routed_experts = keys.integer_or(0, key::kExpertCount, 0, kMaxExperts);
  c.n_dense_layers = keys.integer_or(0, key::kLeadingDenseBlockCount, 0, c.n_layers);
  if (c.n_routed_experts == 0) {
    c.n_dense_layers = c.n_layers;
    return;
  }
  c.n_shared_experts = keys.integer_or(0, key::kExpertSharedCount, 0, kMaxExperts);
  c.moe_inter_dim = keys.integer(key::kExpertFeedForwardLength, 1, kMaxWidth);

  Routing& rule = c.routing;
  rule.n_experts = int(c.n_routed_experts);
  rule.n_activated = int(keys.integer(key::kExpertUsedCount, 1, c.n_routed_experts));
  const auto gating = keys.integer_or(int64_t(GatingFunc::softmax), key::kExpertGatingFunc, 0, UINT32_MAX);
  require(gating == int64_t(GatingFunc::softmax) || gating == int64_t(GatingFunc::sigmoid), ErrorKind::model,
          "{}: {}: expected {} (softmax) or {} (sigmoid), found {}", keys.source(), key::kExpertGatingFunc,
          int(GatingFunc::softmax), int(GatingFunc::sigmoid), gating);
  // V2 ranks groups by their best expert, V3 by the sum of the best two (fact sheet sections 4 and 12.2).
  const bool sigmoid = gating == int64_t(GatingFunc::sigmoid);
  rule.score = sigmoid ? Routing::Score::sigmoid : Routing::Score::softmax;
  rule.group_score = sigmoid ? Routing::GroupScore::top2_sum : Routing::GroupScore::maximum;
  rule.normalize = keys.metadata().boolean(key::kExpertWeightsNorm).value_or(false);
  rule.scale = keys.number_or(1.0f, key::kExpertWeightsScale, 1e-6, 1e6);
  read_groups(keys, c);
}

// The vocabulary's size is the embedding's; the key, where there is one, must agree.
void read_vocab_size(const Keys& keys, const GgufFile& file, ModelConfig& c) {
  const Tensor* embedding = file.find_tensor(name::kTokenEmbd);
  const int64_t rows = embedding ? embedding->shape.rows() : 0;
  c.vocab_size = keys.has(key::kVocabSize) || !embedding ? keys.integer(key::kVocabSize, 1, kMaxVocab) : rows;
  require(c.vocab_size >= 1 && c.vocab_size <= kMaxVocab, ErrorKind::model, "{}: {}: expected 1 to {} rows, found {}",
          keys.source(), name::kTokenEmbd, kMaxVocab, c.vocab_size);
  require(!embedding || rows == c.vocab_size, ErrorKind::model, "{}: {}: expected {} rows ({}), found {}",
          keys.source(), name::kTokenEmbd, c.vocab_size, key::kVocabSize, rows);
}

}  // namespace

ModelConfig read_config(const GgufFile& file) {
  const Keys keys(file.metadata());
  read_architecture(keys);

  ModelConfig c;
  c.name = keys.metadata().string(key::kName).value_or("");
  c.n_layers = keys.integer(key::kBlockCount, 1, kMaxLayers);  // MTP layers are numbered from here on, and not run
  c.context_length = keys.integer(key::kContextLength, 1, kMaxContext);
  c.dim = keys.integer(key::kEmbeddingLength, 1, kMaxWidth);
  c.norm_eps = keys.number(key::kRmsEpsilon, 1e-12, 1.0);
  read_head_widths(keys, c);
  read_rope(keys, c);
  read_experts(keys, c);
  if (c.n_dense_layers > 0) c.inter_dim = keys.integer(key::kFeedForwardLength, 1, kMaxWidth);
  read_vocab_size(keys, file, c);

  // Lite is told by its plain query matrix, never by counting layers (fact sheet section 12.6).
  const std::string attn_q = name::in_layer(0, name::kAttnQ);
  require(c.q_lora_rank == 0 || !file.find_tensor(attn_q), ErrorKind::model,
          "{}: {} = {} contradicts {}: a model has either a query latent or plain queries", keys.source(),
          key::kQLoraRank, c.q_lora_rank, attn_q);
  return c;
}

}  // namespace hearth
