// Checkpoints of a few kilobytes with random weights, made for one test each: change what the test is about, write,
// read.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "quant/fp.h"
#include "tests/support/paths.h"
#include "tests/support/safetensors_writer.h"

namespace hearth::test {

using Json = nlohmann::json;

struct TinyTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline std::string bf16_bytes(std::span<const float> values) {
  std::string bytes;
  for (const float value : values) {
    const uint16_t bits = float_to_bf16(value);
    bytes.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  return bytes;
}

inline std::string f16_bytes(std::span<const float> values) {
  std::string bytes;
  for (const float value : values) {
    const uint16_t bits = float_to_fp16(value);
    bytes.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  return bytes;
}

inline std::string f32_bytes(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// The pre-tokenizer of V3; line ends stand as themselves, as in the published file.
inline Json deepseek_v3_pre_tokenizer() {
  const auto split = [](const char* regex) {
    return Json{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  };
  const char* words =
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return {{"type", "Sequence"},
          {"pretokenizers",
           {split("\\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(words), byte_level}}};
}

// Tokens a b c ab abc, two special ones, one that is added and not special.
inline Json tiny_tokenizer() {
  const auto added = [](int id, const char* text, bool special) {
    return Json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  return {{"version", "1.0"},
          {"added_tokens", {added(5, "<bos>", true), added(6, "<eos>", true), added(7, "<think>", false)}},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
          {"pre_tokenizer", deepseek_v3_pre_tokenizer()},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"abc", 4}}},
            {"merges", {"a b", "ab c"}}}}};
}

struct TinyCheckpoint {
  Json config;
  Json tokenizer = tiny_tokenizer();
  Json tokenizer_config = {{"bos_token", "<bos>"}, {"eos_token", {{"content", "<eos>"}}}, {"chat_template", "T"}};
  std::map<std::string, TinyTensor> tensors;
  std::mt19937 random{1};

  std::vector<float> gaussian(size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    for (float& value : values) value = normal(random);
    return values;
  }
  static size_t count(const std::vector<int64_t>& shape) {
    size_t n = 1;
    for (const int64_t dim : shape) n *= size_t(dim);
    return n;
  }
  void add_bf16(const std::string& name, std::vector<int64_t> shape) {
    const std::vector<float> values = gaussian(count(shape));
    tensors[name] = {"BF16", std::move(shape), bf16_bytes(values)};
  }
  void add_f32(const std::string& name, std::vector<int64_t> shape) {
    const std::vector<float> values = gaussian(count(shape));
    tensors[name] = {"F32", std::move(shape), f32_bytes(values)};
  }
  // e4m3 bytes of every kind but NaN, and scales that differ from block to block.
  void add_fp8(const std::string& name, std::vector<int64_t> shape) {
    std::string bytes(count(shape), '\0');
    for (char& byte : bytes) {
      do byte = char(random());
      while ((byte & 0x7f) == 0x7f);
    }
    const std::vector<int64_t> scale_shape = {(shape[0] + 127) / 128, (shape[1] + 127) / 128};
    std::vector<float> scales = gaussian(count(scale_shape));
    for (float& scale : scales) scale = 0.001f * (0.5f + std::abs(scale));
    tensors[name + "_scale_inv"] = {"F32", scale_shape, f32_bytes(scales)};
    tensors[name] = {"F8_E4M3", std::move(shape), std::move(bytes)};
  }

  // Every tensor that `config` asks for: matrices FP8 or BF16.
  void add_all_tensors(bool fp8) {
    const auto size = [&](const char* key) { return config.at(key).get<int64_t>(); };
    const int64_t d = size("hidden_size"), vocab = size("vocab_size"), layers = size("num_hidden_layers");
    const int64_t mtp = config.value("num_nextn_predict_layers", 0);
    add_bf16("model.embed_tokens.weight", {vocab, d});
    for (int64_t layer = 0; layer < layers + mtp; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add_layer(prefix, layer >= size("first_k_dense_replace"), fp8);
      if (layer < layers) continue;
      for (const char* name : {"enorm", "hnorm", "shared_head.norm"}) add_bf16(prefix + name + ".weight", {d});
      add_bf16(prefix + "eh_proj.weight", {d, 2 * d});
      add_bf16(prefix + "embed_tokens.weight", {vocab, d});
      add_bf16(prefix + "shared_head.head.weight", {vocab, d});
    }
    add_bf16("model.norm.weight", {d});
    add_bf16("lm_head.weight", {vocab, d});
  }

  void add_layer(const std::string& prefix, bool moe, bool fp8) {
    const auto size = [&](const char* key) { return config.at(key).get<int64_t>(); };
    const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
      fp8 ? add_fp8(prefix + name + ".weight", {rows, cols}) : add_bf16(prefix + name + ".weight", {rows, cols});
    };
    const auto mlp = [&](const std::string& name, int64_t d, int64_t width) {
      matrix(name + "gate_proj", width, d);
      matrix(name + "up_proj", width, d);
      matrix(name + "down_proj", d, width);
    };
    const int64_t d = size("hidden_size"), heads = size("num_attention_heads"), r = size("kv_lora_rank");
    const int64_t dn = size("qk_nope_head_dim"), dr = size("qk_rope_head_dim"), dv = size("v_head_dim");
    add_bf16(prefix + "input_layernorm.weight", {d});
    add_bf16(prefix + "post_attention_layernorm.weight", {d});
    if (config.value("q_lora_rank", Json()).is_null()) {
      matrix("self_attn.q_proj", heads * (dn + dr), d);
    } else {
      const int64_t q = size("q_lora_rank");
      matrix("self_attn.q_a_proj", q, d);
      add_bf16(prefix + "self_attn.q_a_layernorm.weight", {q});
      matrix("self_attn.q_b_proj", heads * (dn + dr), q);
    }
    matrix("self_attn.kv_a_proj_with_mqa", r + dr, d);
    add_bf16(prefix + "self_attn.kv_a_layernorm.weight", {r});
    matrix("self_attn.kv_b_proj", heads * (dn + dv), r);
    matrix("self_attn.o_proj", d, heads * dv);
    if (!moe) return mlp("mlp.", d, size("intermediate_size"));
    const int64_t experts = size("n_routed_experts"), width = size("moe_intermediate_size");
    add_bf16(prefix + "mlp.gate.weight", {experts, d});
    if (config.value("topk_method", "") == "noaux_tc") {
      add_f32(prefix + "mlp.gate.e_score_correction_bias", {experts});
    }
    for (int64_t e = 0; e < experts; ++e) mlp("mlp.experts." + std::to_string(e) + ".", d, width);
    const Json shared = config.value("n_shared_experts", Json());
    if (!shared.is_null() && shared != 0) mlp("mlp.shared_experts.", d, width * shared.get<int64_t>());
  }

  // Experts as transformers 5 keeps them: all of a layer in two tensors, gate above up. Suffixes as "", ".weight".
  void fuse_experts(const std::string& suffix = "") {
    const int64_t experts = config.at("n_routed_experts"), width = config.at("moe_intermediate_size");
    const int64_t d = config.at("hidden_size");
    const int64_t layers = config.at("num_hidden_layers").get<int64_t>() + config.value("num_nextn_predict_layers", 0);
    for (int64_t layer = config.at("first_k_dense_replace"); layer < layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
      TinyTensor gate_up = {"BF16", {experts, 2 * width, d}, ""}, down = {"BF16", {experts, d, width}, ""};
      for (int64_t e = 0; e < experts; ++e) {
        const auto take = [&](const char* name) {
          return tensors.extract(prefix + std::to_string(e) + "." + name + ".weight").mapped().bytes;
        };
        gate_up.bytes += take("gate_proj");
        gate_up.bytes += take("up_proj");
        down.bytes += take("down_proj");
      }
      tensors[prefix + "gate_up_proj" + suffix] = std::move(gate_up);
      tensors[prefix + "down_proj" + suffix] = std::move(down);
    }
  }

  // Every tensor under another name.
  template <class F>
  void rename(F name) {
    std::map<std::string, TinyTensor> renamed;
    for (auto& [old, tensor] : tensors) renamed[name(old)] = std::move(tensor);
    tensors = std::move(renamed);
  }

  void write(const fs::path& dir, int shards = 1) const {
    fs::create_directories(dir);
    write_text(dir / "config.json", config.dump());
    write_text(dir / "tokenizer.json", tokenizer.dump());
    write_text(dir / "tokenizer_config.json", tokenizer_config.dump());
    write_tensors(dir, shards);
  }

  static std::string shard_name(int shard, int shards) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard + 1, shards);
    return name;
  }

  void write_tensors(const fs::path& dir, int shards) const {
    std::vector<SafetensorsWriter> files(size_t(shards), SafetensorsWriter{});
    Json map;
    size_t i = 0;
    for (const auto& [name, tensor] : tensors) {
      const int shard = int(i++ % size_t(shards));  // scales and weights part
      files[size_t(shard)].add(name, tensor.dtype, tensor.shape, tensor.bytes);
      map[name] = shard_name(shard, shards);
    }
    if (shards == 1) return write_text(dir / "model.safetensors", files[0].text());
    for (int shard = 0; shard < shards; ++shard) {
      write_text(dir / shard_name(shard, shards), files[size_t(shard)].text());
    }
    write_text(dir / "model.safetensors.index.json", Json{{"metadata", Json::object()}, {"weight_map", map}}.dump());
  }
};

// V2-Lite's kind: plain queries, softmax, no groups.
inline Json tiny_lite_config() {
  return Json::parse(R"({
    "model_type": "deepseek_v2", "architectures": ["DeepseekV2ForCausalLM"], "vocab_size": 10, "hidden_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": null,
    "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24, "intermediate_size": 96,
    "moe_intermediate_size": 32, "n_routed_experts": 4, "n_shared_experts": 2, "num_experts_per_tok": 2,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
    "scoring_func": "softmax", "norm_topk_prob": false, "routed_scaling_factor": 1.0, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 256, "attention_bias": false,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}})");
}

// V3's kind: query latent, sigmoid with bias and groups, one MTP layer; widths with whole and partial blocks of 128.
inline Json tiny_v3_config() {
  Json config = tiny_lite_config();
  config.update(Json::parse(R"({
    "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 256, "q_lora_rank": 48,
    "kv_lora_rank": 128, "qk_nope_head_dim": 128, "v_head_dim": 128, "qk_rope_head_dim": 16, "num_hidden_layers": 2,
    "moe_intermediate_size": 160, "n_shared_experts": 1, "n_group": 2, "topk_group": 1,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": true, "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1})"));
  return config;
}

inline TinyCheckpoint tiny_lite() {
  TinyCheckpoint checkpoint;
  checkpoint.config = tiny_lite_config();
  checkpoint.add_all_tensors(false);
  return checkpoint;
}

inline TinyCheckpoint tiny_v3(bool fp8) {
  TinyCheckpoint checkpoint;
  checkpoint.config = tiny_v3_config();
  if (fp8) {
    checkpoint.config["quantization_config"] = {
        {"quant_method", "fp8"}, {"fmt", "e4m3"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {128, 128}}};
  }
  checkpoint.add_all_tensors(fp8);
  return checkpoint;
}

}  // namespace hearth::test
