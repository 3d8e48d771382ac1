// The model's hyper-parameters, in the words of the authors' reference implementation. read_config.h fills them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace hearth {

struct YarnConfig {
  bool enabled = false;
  float factor = 1.0f;
  int64_t original_context = 0;
  float beta_fast = 32.0f, beta_slow = 1.0f;
  float log_multiplier = 0.0f;  // 0.1 * mscale_all_dim; mscale is taken to be equal to mscale_all_dim
};

struct ModelConfig {
  std::string name;
  // Layers that are run. MTP layers are numbered from n_layers on, whether their tensors are in the file or not.
  int64_t n_layers = 0, n_mtp_layers = 0;
  int64_t dim = 0, n_heads = 0, vocab_size = 0, context_length = 0;
  int64_t q_lora_rank = 0;  // 0: plain attn_q
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int64_t inter_dim = 0, moe_inter_dim = 0, n_dense_layers = 0;
  int64_t n_routed_experts = 0, n_shared_experts = 0;
  Routing routing;
  float norm_eps = 1e-6f;
  float rope_theta = 10000.0f;
  YarnConfig yarn;
  // Which keys are missing, and what was taken instead, for people (ConfigReader::notes); empty: none that matters.
  std::vector<std::string> notes;

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int64_t cache_width() const { return kv_lora_rank + qk_rope_head_dim; }
  bool is_moe(int64_t layer) const { return n_routed_experts > 0 && layer >= n_dense_layers; }
  int64_t n_moe_layers() const { return n_routed_experts > 0 ? n_layers - n_dense_layers : 0; }
  int64_t default_context() const { return context_length < 32768 ? context_length : 32768; }
  float softmax_scale() const;  // qk_head_dim^-1/2 * mscale^2
};

}  // namespace hearth
