#include "runtime/model/current_keys.h"

#include "quant/gguf_keys.h"
#include "runtime/model/mtp.h"

namespace hearth {

namespace {

void set_attention(const ModelConfig& c, GgufMetadata& metadata) {
  const auto u32 = [&](const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); };
  const auto f32 = [&](const char* key, float value) { metadata.set(key, GgufValue::of_f32(value)); };
  u32(key::kHeadCount, c.n_heads);
  u32(key::kHeadCountKv, 1);
  u32(key::kQLoraRank, c.q_lora_rank);
  u32(key::kKvLoraRank, c.kv_lora_rank);
  u32(key::kKeyLength, c.cache_width());
  u32(key::kValueLength, c.kv_lora_rank);
  u32(key::kKeyLengthMla, c.qk_head_dim());
  u32(key::kValueLengthMla, c.v_head_dim);
  f32(key::kRmsEpsilon, c.norm_eps);
  u32(key::kRopeDimensionCount, c.qk_rope_head_dim);
  f32(key::kRopeFreqBase, c.rope_theta);
  if (!c.yarn.enabled) return;
  metadata.set(key::kRopeScalingType, GgufValue::of_string("yarn"));
  f32(key::kRopeScalingFactor, c.yarn.factor);
  u32(key::kRopeScalingOriginalContext, c.yarn.original_context);
  f32(key::kYarnLogMultiplier, c.yarn.log_multiplier);
  f32(key::kYarnBetaFast, c.yarn.beta_fast);
  f32(key::kYarnBetaSlow, c.yarn.beta_slow);
}

void set_experts(const ModelConfig& c, GgufMetadata& metadata) {
  const auto u32 = [&](const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); };
  const bool sigmoid = c.routing.score == Routing::Score::sigmoid;
  u32(key::kLeadingDenseBlockCount, c.n_dense_layers);
  if (c.n_routed_experts == 0) return;
  u32(key::kExpertCount, c.n_routed_experts);
  u32(key::kExpertUsedCount, c.routing.n_activated);
  u32(key::kExpertSharedCount, c.n_shared_experts);
  u32(key::kExpertFeedForwardLength, c.moe_inter_dim);
  u32(key::kExpertGroupCount, c.routing.n_groups);
  u32(key::kExpertGroupUsedCount, c.routing.n_limited_groups);
  metadata.set(key::kExpertWeightsScale, GgufValue::of_f32(c.routing.scale));
  if (c.routing.normalize) metadata.set(key::kExpertWeightsNorm, GgufValue::of_bool(true));
  u32(key::kExpertGatingFunc, int64_t(sigmoid ? GatingFunc::sigmoid : GatingFunc::softmax));
}

}  // namespace

GgufMetadata current_keys(const GgufFile& file, const ModelConfig& c) {
  GgufMetadata metadata = file.metadata();
  const auto u32 = [&](const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); };
  u32(key::kBlockCount, c.n_layers);
  u32(key::kContextLength, c.context_length);
  u32(key::kEmbeddingLength, c.dim);
  // Of the dense layers. A model without any has no such width, but its config.json has: any will do.
  if (c.inter_dim > 0 || !metadata.find(key::kFeedForwardLength))
    u32(key::kFeedForwardLength, c.inter_dim > 0 ? c.inter_dim : c.moe_inter_dim);
  u32(key::kVocabSize, c.vocab_size);
  set_attention(c, metadata);
  set_experts(c, metadata);
  int64_t n_mtp = 0;
  while (is_mtp_layer(file, c.n_layers + n_mtp)) ++n_mtp;
  metadata.erase(key::kNextnPredictLayers);
  metadata.erase(key::kHearthMtpLayerCount);
  if (n_mtp > 0) u32(key::kHearthMtpLayerCount, n_mtp);
  return metadata;
}

}  // namespace hearth
