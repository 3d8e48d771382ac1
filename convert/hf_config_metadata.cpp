#include "convert/hf_config.h"

namespace hearth {

void add_model_metadata(const HfConfig& c, GgufMetadata& metadata) {
  const auto u32 = [&](const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); };
  const auto f32 = [&](const char* key, double value) { metadata.set(key, GgufValue::of_f32(float(value))); };
  u32(key::kBlockCount, c.n_layers);
  u32(key::kContextLength, c.max_context);
  u32(key::kEmbeddingLength, c.dim);
  u32(key::kFeedForwardLength, c.inter_dim);
  u32(key::kVocabSize, c.vocab_size);

  // Attention as GGUF readers see it: all heads share one key, the latent and the rope part; the latent is also the
  // value.
  u32(key::kHeadCount, c.n_heads);
  u32(key::kHeadCountKv, 1);
  // 0 for plain queries: llama.cpp requires the key unless the model has 26 or 27 layers.
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
