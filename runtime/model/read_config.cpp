#include "runtime/model/read_config.h"

#include <algorithm>

#include "quant/gguf_keys.h"
#include "runtime/model/config_keys.h"
#include "runtime/model/config_reader.h"
#include "runtime/model/config_routing.h"
#include "runtime/model/mtp.h"

namespace hearth {
namespace {

constexpr int64_t kMaxLayers = 4096, kMaxHeads = 65536;
constexpr int64_t kMaxVocab = 1 << 24, kMaxContext = 1 << 28;
constexpr const char* kOfAll = "as in every DeepSeek-V2 and V3";

void read_architecture(const ConfigReader& in) {
  const auto found = in.metadata().string(key::kArchitecture);
  require(found.has_value(), ErrorKind::model, "{}: {}: expected \"{}\", the key is missing", in.source(),
          key::kArchitecture, key::kDeepseek2);
  require(*found == key::kDeepseek2, ErrorKind::model,
          "{}: {}: expected \"{}\" (DeepSeek-V2, V2-Lite, Coder-V2, V2.5, V3, R1), found \"{}\"", in.source(),
          key::kArchitecture, key::kDeepseek2, *found);
}

// In files by others block_count includes the MTP layers, whether their tensors are there or were left out; where such
// tensors lie behind block_count, it does not include them. An ordinary layer in the place of an MTP layer would not be
// run, so it is refused.
void read_foreign_layers(const ConfigReader& in, int64_t n_blocks, ModelConfig& c) {
  const GgufFile& file = in.file();
  c.n_mtp_layers = in.integer_or(0, key::kNextnPredictLayers, 0, kMaxLayers);
  require(c.n_mtp_layers < n_blocks, ErrorKind::model, "{}: {}: expected less than {} = {}, found {}", in.source(),
          key::kNextnPredictLayers, key::kBlockCount, n_blocks, c.n_mtp_layers);
  c.n_layers = n_blocks;
  if (is_mtp_layer(file, n_blocks)) return;
  if (c.n_mtp_layers == 0) {
    while (c.n_layers > 1 && is_mtp_layer(file, c.n_layers - 1)) --c.n_layers;
    c.n_mtp_layers = n_blocks - c.n_layers;
    return;
  }
  c.n_layers -= c.n_mtp_layers;
  for (int64_t i = c.n_layers; i < n_blocks; ++i) {
    const std::string norm = name::in_layer(int(i), name::kAttnNorm);
    require(is_mtp_layer(file, i) || !file.find_tensor(norm), ErrorKind::model,
            "{}: {} = {} of {} = {}: expected layer {} to be an MTP layer, found one like the others ({} without {})",
            in.source(), key::kNextnPredictLayers, c.n_mtp_layers, key::kBlockCount, n_blocks, i, norm,
            name::in_layer(int(i), name::kNextnEhProj));
  }
}

// Layers that are run; MTP layers, which are not, are numbered behind them. Our own files count the two apart.
void read_layers(const ConfigReader& in, ModelConfig& c) {
  const int64_t n_blocks = in.integer(key::kBlockCount, 1, kMaxLayers);
  if (in.has(key::kHearthMtpLayerCount)) {
    c.n_layers = n_blocks;
    c.n_mtp_layers = in.integer(key::kHearthMtpLayerCount, 0, kMaxLayers);
    require(in.integer_or(0, key::kNextnPredictLayers, 0, kMaxLayers) == 0, ErrorKind::model,
            "{}: {} and {} contradict each other: expected one", in.source(), key::kHearthMtpLayerCount,
            key::kNextnPredictLayers);
  } else if (in.ours()) {
    c.n_layers = n_blocks;
    c.n_mtp_layers = in.integer_or(0, key::kNextnPredictLayers, 0, kMaxLayers);
  } else {
    read_foreign_layers(in, n_blocks, c);
  }
  while (is_mtp_layer(in.file(), c.n_layers + c.n_mtp_layers)) ++c.n_mtp_layers;
}

void read_latents(ConfigReader& in, ModelConfig& c) {
  c.n_heads = in.integer(key::kHeadCount, 1, kMaxHeads);
  const int64_t n_kv_heads = in.integer_or(1, key::kHeadCountKv, 1, kMaxHeads);
  require(n_kv_heads == 1 || n_kv_heads == c.n_heads, ErrorKind::model, "{}: {}: expected 1 or {} (as {}), found {}",
          in.source(), key::kHeadCountKv, c.n_heads, key::kHeadCount, n_kv_heads);

  c.q_lora_rank = in.count_or_derived(in.rows(name::kAttnQA, c.n_layers), key::kQLoraRank, 0, kMaxWidth);
  c.kv_lora_rank = in.integer_or_derived(in.cols(name::kAttnKvANorm, c.n_layers), key::kKvLoraRank, 1, kMaxWidth);
  const int64_t rope_rows = std::max<int64_t>(in.rows(name::kAttnKvAMqa, c.n_layers) - c.kv_lora_rank, 0);
  c.qk_rope_head_dim = in.integer_or_derived(rope_rows, key::kRopeDimensionCount, 2, kMaxWidth);
  require(c.qk_rope_head_dim % 2 == 0, ErrorKind::model, "{}: {}: expected an even number, found {}", in.source(),
          key::kRopeDimensionCount, c.qk_rope_head_dim);
}

// Widths of a head. Current files state them in the _mla keys, beside a key_length that is the latent's (r + dr = 576)
// and a value_length of r = 512. Old files have no _mla keys and the heads' own widths (192, 128) in key_length. Those
// that have neither show them in their tensors.
void read_head_widths(ConfigReader& in, ModelConfig& c) {
  const int64_t q_width = in.rows(c.q_lora_rank > 0 ? name::kAttnQB : name::kAttnQ, c.n_layers) / c.n_heads;
  const int64_t v_width = in.cols(name::kAttnOutput, c.n_layers) / c.n_heads;
  const int64_t key_length = in.integer_or(0, key::kKeyLength, 1, kMaxWidth);
  const int64_t value_length = in.integer_or(0, key::kValueLength, 1, kMaxWidth);
  const bool mla = in.has(key::kKeyLengthMla) || in.has(key::kValueLengthMla);
  if (mla) {
    require(key_length == 0 || key_length == c.cache_width(), ErrorKind::model,
            "{}: {}: expected {} (kv_lora_rank + rope dimensions, as {} is there), found {}", in.source(),
            key::kKeyLength, c.cache_width(), key::kKeyLengthMla, key_length);
    require(value_length == 0 || value_length == c.kv_lora_rank, ErrorKind::model,
            "{}: {}: expected {} (kv_lora_rank, as {} is there), found {}", in.source(), key::kValueLength,
            c.kv_lora_rank, key::kValueLengthMla, value_length);
  }
  const bool own_widths = !mla && key_length != c.cache_width();
  const char* key_name = own_widths ? key::kKeyLength : key::kKeyLengthMla;
  const char* value_name = own_widths ? key::kValueLength : key::kValueLengthMla;
  const int64_t head_width = in.integer_or_derived(q_width, key_name, 1, kMaxWidth);
  require(head_width > c.qk_rope_head_dim, ErrorKind::model,
          "{}: {}: expected more than the {} rope dimensions, found {}", in.source(), key_name, c.qk_rope_head_dim,
          head_width);
  c.qk_nope_head_dim = head_width - c.qk_rope_head_dim;
  c.v_head_dim = in.integer_or_derived(v_width, value_name, 1, kMaxWidth);
}

void read_yarn(ConfigReader& in, ModelConfig& c) {
  c.yarn.enabled = true;
  c.yarn.factor = in.number(key::kRopeScalingFactor, 1.0, 1e6);
  c.yarn.original_context = in.integer(key::kRopeScalingOriginalContext, 1, kMaxContext);
  c.yarn.beta_fast = in.number_or(32.0f, key::kYarnBetaFast, 1e-6, 1e6);
  c.yarn.beta_slow = in.number_or(1.0f, key::kYarnBetaSlow, 1e-6, 1e6);
  // The first V2 files (May 2024) lack it. Hugging Face and llama.cpp take different values then, and no model of the
  // class has either of them.
  const ClassCustom& custom = class_custom(c);
  c.yarn.log_multiplier =
      in.number_or_guess(custom.yarn_log_multiplier, custom.whose, key::kYarnLogMultiplier, 0.0, 10.0);
}

// Expects the experts, which tell the class.
void read_rope(ConfigReader& in, ModelConfig& c) {
  c.rope_theta = in.number_or_guess(10000.0f, kOfAll, key::kRopeFreqBase, 1.0 + 1e-6, 1e12);
  const auto type = in.metadata().string(key::kRopeScalingType);
  if (!type && in.has(key::kYarnLogMultiplier)) {
    in.note_guess(key::kRopeScalingType, "yarn", "as there is " + std::string(key::kYarnLogMultiplier));
    return read_yarn(in, c);
  }
  if (type.value_or("none") == "none") {
    // Without a type, a factor means linear scaling to the programs that wrote such files.
    const float factor = in.number_or(1.0f, key::kRopeScalingFactor, 0.0, 1e9);
    require(factor == 1.0f || factor == 0.0f, ErrorKind::model,
            "{}: {} = {} without \"yarn\" as {}: only YaRN scaling is supported", in.source(), key::kRopeScalingFactor,
            factor, key::kRopeScalingType);
    return;
  }
  require(*type == "yarn", ErrorKind::model, "{}: {}: expected \"yarn\" or \"none\", found \"{}\"", in.source(),
          key::kRopeScalingType, *type);
  read_yarn(in, c);
}

// The vocabulary's size is the embedding's; the key, where there is one, must agree.
void read_vocab_size(const ConfigReader& in, ModelConfig& c) {
  const Tensor* embedding = in.file().find_tensor(name::kTokenEmbd);
  const int64_t rows = embedding ? embedding->shape.rows() : 0;
  c.vocab_size = in.has(key::kVocabSize) || !embedding ? in.integer(key::kVocabSize, 1, kMaxVocab) : rows;
  require(c.vocab_size >= 1 && c.vocab_size <= kMaxVocab, ErrorKind::model, "{}: {}: expected 1 to {} rows, found {}",
          in.source(), name::kTokenEmbd, kMaxVocab, c.vocab_size);
  require(!embedding || rows == c.vocab_size, ErrorKind::model, "{}: {}: expected {} rows ({}), found {}", in.source(),
          name::kTokenEmbd, c.vocab_size, key::kVocabSize, rows);
}

}  // namespace

ModelConfig read_config(const GgufFile& file) {
  ModelConfig c;
  ConfigReader in(file);
  read_architecture(in);
  refuse_unknown_keys(file.metadata());

  c.name = in.metadata().string(key::kName).value_or("");
  read_layers(in, c);
  c.context_length = in.integer(key::kContextLength, 1, kMaxContext);
  const Tensor* embedding = file.find_tensor(name::kTokenEmbd);
  c.dim = in.integer_or_derived(embedding ? embedding->shape.cols() : 0, key::kEmbeddingLength, 1, kMaxWidth);
  c.norm_eps = in.number_or_guess(1e-6f, kOfAll, key::kRmsEpsilon, 1e-12, 1.0);
  read_latents(in, c);
  read_head_widths(in, c);
  read_experts(in, c);
  read_rope(in, c);
  if (c.n_dense_layers > 0) {
    c.inter_dim = in.integer_or_derived(in.rows(name::kFfnUp, c.n_layers), key::kFeedForwardLength, 1, kMaxWidth);
  }
  read_vocab_size(in, c);

  // Lite is told by its plain query matrix, never by counting layers (docs/model.md section 2).
  const std::string attn_q = name::in_layer(0, name::kAttnQ);
  require(c.q_lora_rank == 0 || !file.find_tensor(attn_q), ErrorKind::model,
          "{}: {} = {} contradicts {}: a model has either a query latent or plain queries", in.source(),
          key::kQLoraRank, c.q_lora_rank, attn_q);
  c.notes = in.notes();
  return c;
}

}  // namespace hearth
