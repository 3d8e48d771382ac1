#include "convert/export/metadata_config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "quant/error.h"

namespace hearth {

namespace {

constexpr int64_t kMaxWidth = 1 << 24;  // as parse_hf_config has it
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxContext = 1 << 28;
constexpr int64_t kMaxExperts = 65536;

class MetadataReader {
 public:
  explicit MetadataReader(const GgufMetadata& metadata) : metadata_(metadata) {}

  HfConfig read() {
    require_architecture();
    read_sizes();
    read_attention();
    read_experts();
    read_rope();
    read_tokens();
    return std::move(out_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::model, "{}: {}", metadata_.source, fmt::format(format, std::forward<Args>(args)...));
  }

  bool has(const char* key) const { return metadata_.find(key) != nullptr; }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    const auto value = metadata_.unsigned_integer(key);
    if (!value) refuse("{}: expected a whole number, the key is missing", key);
    if (*value < uint64_t(low) || *value > uint64_t(high))
      refuse("{}: expected {} to {}, found {}", key, low, high, *value);
    return int64_t(*value);
  }
  int64_t integer_or(int64_t absent, const char* key, int64_t low, int64_t high) const {
    return has(key) ? integer(key, low, high) : absent;
  }

  double number(const char* key) const {
    const auto value = metadata_.number(key);
    if (!value) refuse("{}: expected a number, the key is missing", key);
    if (!std::isfinite(*value) || *value <= 0) refuse("{}: expected more than 0, found {}", key, *value);
    return shortest_decimal(float(*value));
  }
  double number_or(double absent, const char* key) const { return has(key) ? number(key) : absent; }

  void require_architecture() const {
    const std::string found = metadata_.string(key::kArchitecture).value_or("no such key");
    if (found != key::kDeepseek2) refuse("{}: expected {}, found {}", key::kArchitecture, key::kDeepseek2, found);
  }

  // The checkpoint's own name where the file still tells it: it may have been renamed since.
  std::string model_name() const {
    const std::string name = metadata_.string(key::kName).value_or("");
    const std::string source = metadata_.string(key::kHearthSource).value_or("");
    return source.ends_with("/" + name) ? source : name;
  }

  void read_sizes() {
    out_.path = metadata_.source;
    out_.name = model_name();
    out_.vocab_size = integer(key::kVocabSize, 1, kMaxWidth);
    out_.dim = integer(key::kEmbeddingLength, 1, kMaxWidth);
    out_.n_layers = integer(key::kBlockCount, 1, kMaxLayers);
    out_.inter_dim = integer(key::kFeedForwardLength, 1, kMaxWidth);
    out_.max_context = integer(key::kContextLength, 1, kMaxContext);
    out_.norm_eps = number(key::kRmsEpsilon);
    out_.n_mtp_layers = integer_or(0, key::kHearthMtpLayerCount, 0, 64);
    if (has(key::kHearthMtpLayerCount)) return;
    const bool ours = std::ranges::any_of(
        metadata_.entries(), [](const auto& entry) { return entry.first.starts_with(key::kHearthPrefix); });
    out_.n_mtp_layers = integer_or(0, key::kNextnPredictLayers, 0, std::min<int64_t>(64, out_.n_layers - 1));
    if (!ours) out_.n_layers -= out_.n_mtp_layers;
  }

  // Current files tell a head's width in the _mla keys; older ones in key_length, which is the latent's in current
  // ones.
  void read_attention() {
    out_.n_heads = integer(key::kHeadCount, 1, kMaxWidth);
    out_.q_lora_rank = integer_or(0, key::kQLoraRank, 0, kMaxWidth);
    out_.kv_lora_rank = integer(key::kKvLoraRank, 1, kMaxWidth);
    out_.qk_rope_head_dim = integer(key::kRopeDimensionCount, 2, kMaxWidth);
    const bool mla = has(key::kKeyLengthMla);
    const char* key_length = mla ? key::kKeyLengthMla : key::kKeyLength;
    const int64_t width = integer(key_length, 1, kMaxWidth);
    if (width <= out_.qk_rope_head_dim)
      refuse("{}: expected more than the {} rope dimensions, found {}", key_length, out_.qk_rope_head_dim, width);
    if (!mla && width == out_.kv_lora_rank + out_.qk_rope_head_dim)
      refuse("{}: {} is the latent's width; expected a head's, or {}", key_length, width, key::kKeyLengthMla);
    out_.qk_nope_head_dim = width - out_.qk_rope_head_dim;
    out_.v_head_dim = integer(mla ? key::kValueLengthMla : key::kValueLength, 1, kMaxWidth);
  }

  void read_experts() {
    out_.n_dense_layers = integer(key::kLeadingDenseBlockCount, 0, out_.n_layers);
    out_.n_routed_experts = integer(key::kExpertCount, 1, kMaxExperts);
    out_.n_activated_experts = integer(key::kExpertUsedCount, 1, out_.n_routed_experts);
    out_.n_shared_experts = integer(key::kExpertSharedCount, 0, kMaxExperts);
    out_.moe_inter_dim = integer(key::kExpertFeedForwardLength, 1, kMaxWidth);
    out_.n_expert_groups = std::max<int64_t>(1, integer(key::kExpertGroupCount, 0, out_.n_routed_experts));
    out_.n_limited_groups = std::max<int64_t>(1, integer(key::kExpertGroupUsedCount, 0, out_.n_expert_groups));
    if (out_.n_routed_experts % out_.n_expert_groups != 0) {
      refuse("{}: expected a divisor of the {} experts, found {}", key::kExpertGroupCount, out_.n_routed_experts,
             out_.n_expert_groups);
    }
    out_.route_scale = number(key::kExpertWeightsScale);
    out_.norm_topk_prob = metadata_.boolean(key::kExpertWeightsNorm).value_or(false);
    const auto gating = GatingFunc(integer_or(int64_t(GatingFunc::softmax), key::kExpertGatingFunc, 1, 2));
    out_.gating = gating;
    out_.selection_bias = gating == GatingFunc::sigmoid;
    out_.model_type = gating == GatingFunc::sigmoid ? "deepseek_v3" : "deepseek_v2";
  }

  // The file has 0.1 * mscale_all_dim. Of the numbers that convert makes the same float of, the one with the fewest
  // digits is what config.json had.
  double mscale() const {
    const auto stored = float(number(key::kYarnLogMultiplier));
    for (int digits = 1; digits < 17; ++digits) {
      const double likely = std::strtod(fmt::format("{:.{}g}", 10 * double(stored), digits).c_str(), nullptr);
      if (float(0.1 * likely) == stored) return likely;
    }
    return 10 * double(stored);
  }

  void read_rope() {
    out_.rope_theta = number(key::kRopeFreqBase);
    const std::string type = metadata_.string(key::kRopeScalingType).value_or("none");
    if (type == "none") return;
    if (type != "yarn") refuse("{}: expected yarn or none, found {}", key::kRopeScalingType, type);
    HfYarn yarn;
    yarn.factor = number(key::kRopeScalingFactor);
    yarn.original_context = integer(key::kRopeScalingOriginalContext, 1, kMaxContext);
    yarn.beta_fast = number_or(32, key::kYarnBetaFast);
    yarn.beta_slow = number_or(1, key::kYarnBetaSlow);
    yarn.mscale = mscale();
    out_.yarn = yarn;
  }

  std::optional<int64_t> token(const char* key) const {
    if (!has(key)) return std::nullopt;
    return integer(key, 0, out_.vocab_size - 1);
  }

  void read_tokens() {
    out_.bos_token_id = token(key::kBosTokenId);
    out_.pad_token_id = token(key::kPaddingTokenId);
    for (const char* key : {key::kEosTokenId, key::kEotTokenId, key::kEomTokenId}) {
      const auto id = token(key);
      if (id && std::ranges::find(out_.eos_token_ids, *id) == out_.eos_token_ids.end())
        out_.eos_token_ids.push_back(*id);
    }
  }

  const GgufMetadata& metadata_;
  HfConfig out_;
};

}  // namespace

double shortest_decimal(float value) {
  return std::strtod(fmt::format("{}", value).c_str(), nullptr);
}

HfConfig config_of_metadata(const GgufMetadata& metadata) {
  return MetadataReader(metadata).read();
}

}  // namespace hearth
