// config.json of the DeepSeek-V2 family (V2, V2-Lite, Coder-V2, V2.5, V3, R1): its fields are read, checked, and
// written as GGUF metadata. What programs for this family cannot express is refused here, with a message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"

namespace hearth {

// Rows and columns of an FP8 weight that share a scale, if there is a scale for each block.
struct ScaleBlock {
  int64_t rows = 128, cols = 128;
};

// How integer weights are quantized: w = (code - zero) * scale, with a scale and a zero for each group of a row's
// weights.
struct IntegerScheme {
  static constexpr int64_t kRow = 0, kTensor = -1;

  int bits = 4;              // 4 or 8
  bool symmetric = true;     // every zero is the middle of the range, 2^(bits - 1)
  int64_t group_size = 128;  // weights of a group; kRow: the whole row, kTensor: the whole weight
  bool act_order = false;    // a tensor says which group a column belongs to (g_idx)

  std::string text() const;  // "4 bits in groups of 128 with zeros"
};

enum class QuantMethod { none, fp8, compressed_tensors, gptq, awq };

// quantization_config: how those weights are stored that are neither floats nor FP8.
struct HfQuantization {
  QuantMethod method = QuantMethod::none;
  std::vector<IntegerScheme> schemes;  // any of them may be a weight's; its tensors' shapes tell which one is
  bool zeros_less_one = false;         // GPTQ's first version stores zeros less one
};

struct HfYarn {
  double factor = 1, beta_fast = 32, beta_slow = 1;
  int64_t original_context = 0;
  double mscale = 0;  // = mscale_all_dim
};

// Fields are named as in the authors' reference implementation.
struct HfConfig {
  static constexpr int64_t kAskTensors = -1;  // config.json does not say; the tensors' shapes do

  std::string path;        // of config.json, for messages
  std::string model_type;  // deepseek_v2 or deepseek_v3
  std::string name;        // what the checkpoint calls itself; may be empty
  int64_t vocab_size = 0, dim = 0, n_layers = 0, n_heads = 0, max_context = 0;
  int64_t q_lora_rank = 0;  // 0: plain q_proj; may be kAskTensors
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int64_t inter_dim = 0, moe_inter_dim = 0;
  int64_t n_dense_layers = 0;  // may be kAskTensors
  int64_t n_routed_experts = 0, n_activated_experts = 0;
  int64_t n_shared_experts = 0;                       // may be kAskTensors
  int64_t n_expert_groups = 1, n_limited_groups = 1;  // 1, 1: no groups
  GatingFunc gating = GatingFunc::softmax;
  bool selection_bias = false;  // e_score_correction_bias, with groups by top-2 sum (V3)
  bool norm_topk_prob = false;
  double route_scale = 1;
  double norm_eps = 1e-6, rope_theta = 10000;
  std::optional<HfYarn> yarn;
  bool tied_embeddings = false;
  int64_t n_mtp_layers = 0;  // as configured; the checkpoint may hold others
  ScaleBlock scale_block;
  HfQuantization quantization;
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_ids;
  std::vector<std::string> notes;  // for the user: odd things found, and defaults taken for keys that are absent

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  bool is_dense(int64_t layer) const { return layer < n_dense_layers; }
  bool is_v3() const { return model_type == "deepseek_v3"; }
};

// Throws Error(format) for bad JSON, Error(model) for a model of another kind, for fields that are missing or
// contradict each other, and for unknown keys that change the forward.
HfConfig parse_hf_config(std::string_view text, const std::string& path);
HfConfig read_hf_config(const std::string& path);

// The deepseek2.* keys, in the layout of current llama.cpp-family programs (quant/gguf_keys.h).
void add_model_metadata(const HfConfig& config, GgufMetadata& metadata);

}  // namespace hearth
