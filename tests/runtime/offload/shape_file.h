// Files with the true shapes of published models and nothing in them: a header, and a hole of the data's size.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "convert/recipe.h"
#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"

namespace hearth::test {

struct TrueShape {
  const char* name;
  int64_t dim, n_layers, n_heads, q_lora, inter, moe_inter, n_experts, n_activated, n_shared, n_dense, vocab;
  int64_t n_groups = 1, n_kept = 1;
  bool sigmoid = false;
  float route_scale = 1.0f;
  static constexpr int64_t kv_lora = 512, nope = 128, rope = 64, v = 128;

  // The config.json of DeepSeek-V2-Lite, DeepSeek-V2 and DeepSeek-V3.
  static TrueShape lite() { return {"V2-Lite", 2048, 27, 16, 0, 10944, 1408, 64, 6, 2, 1, 102400}; }
  static TrueShape v2() { return {"V2", 5120, 60, 128, 1536, 12288, 1536, 160, 6, 2, 1, 102400, 8, 3, false, 16.0f}; }
  static TrueShape v3() { return {"V3", 7168, 61, 128, 1536, 18432, 2048, 256, 8, 1, 3, 129280, 8, 4, true, 2.5f}; }
};

class ShapeFile {
 public:
  // Formats as the converter's recipe gives them.
  ShapeFile(const TrueShape& shape, const char* recipe) : s_(shape), recipe_(find_recipe(recipe)) {
    add(-1, name::kTokenEmbd, Role::embedding, Shape(s_.vocab, s_.dim));
    for (int64_t i = 0; i < s_.n_layers; ++i) add_layer(i);
    add(-1, name::kOutputNorm, Role::vector, Shape(s_.dim));
    add(-1, name::kOutput, Role::head, Shape(s_.vocab, s_.dim));
  }

  uint64_t tensor_bytes() const {
    uint64_t sum = 0;
    for (const GgufTensorPlan& t : tensors_) sum += t.bytes();
    return sum;
  }
  size_t n_tensors() const { return tensors_.size(); }

  void write(const std::string& path) const {
    uint64_t n_keys = 0;
    const GgufBytes keys = metadata(n_keys);
    GgufBytes bytes;
    bytes.header(tensors_.size(), n_keys).raw(keys.text());
    uint64_t offset = 0;
    for (const GgufTensorPlan& t : tensors_) {
      std::vector<uint64_t> dims;
      for (int i = t.shape.rank - 1; i >= 0; --i) dims.push_back(uint64_t(t.shape.dim[size_t(i)]));
      bytes.tensor(t.name, dims, uint32_t(t.format->id), offset);
      offset += (t.bytes() + 31) / 32 * 32;
    }
    bytes.pad(32);
    write_text(path, bytes.text());
    std::filesystem::resize_file(path, bytes.text().size() + offset);
  }

 private:
  // The metadata's keys, and how many they are.
  GgufBytes metadata(uint64_t& n) const {
    GgufBytes b;
    const auto text = [&](const char* key, const char* value) { ++n, b.key(key, GgufType::string).string(value); };
    const auto u32 = [&](const char* key, int64_t value) { ++n, b.key(key, GgufType::u32).number(uint32_t(value)); };
    const auto f32 = [&](const char* key, float value) { ++n, b.key(key, GgufType::f32).number(value); };
    const auto flag = [&](const char* key, bool value) { ++n, b.key(key, GgufType::boolean).number(uint8_t(value)); };
    text(key::kArchitecture, key::kDeepseek2);
    text(key::kName, s_.name);
    u32(key::kBlockCount, s_.n_layers);
    u32(key::kContextLength, 163840);
    u32(key::kEmbeddingLength, s_.dim);
    u32(key::kFeedForwardLength, s_.inter);
    u32(key::kHeadCount, s_.n_heads);
    u32(key::kHeadCountKv, 1);
    if (s_.q_lora) u32(key::kQLoraRank, s_.q_lora);
    u32(key::kKvLoraRank, s_.kv_lora);
    u32(key::kKeyLengthMla, s_.nope + s_.rope);
    u32(key::kValueLengthMla, s_.v);
    f32(key::kRmsEpsilon, 1e-6f);
    u32(key::kRopeDimensionCount, s_.rope);
    f32(key::kRopeFreqBase, 10000.0f);
    u32(key::kLeadingDenseBlockCount, s_.n_dense);
    u32(key::kExpertCount, s_.n_experts);
    u32(key::kExpertUsedCount, s_.n_activated);
    u32(key::kExpertSharedCount, s_.n_shared);
    u32(key::kExpertFeedForwardLength, s_.moe_inter);
    u32(key::kExpertGroupCount, s_.n_groups);
    u32(key::kExpertGroupUsedCount, s_.n_kept);
    f32(key::kExpertWeightsScale, s_.route_scale);
    flag(key::kExpertWeightsNorm, s_.sigmoid);
    u32(key::kExpertGatingFunc, int64_t(s_.sigmoid ? GatingFunc::sigmoid : GatingFunc::softmax));
    return b;
  }

  void add(int64_t layer, const char* role_name, Role role, const Shape& shape) {
    OutputTensor tensor;
    tensor.role = role;
    tensor.layer = layer;
    tensor.shape = shape;
    const std::string full = layer < 0 ? role_name : name::in_layer(int(layer), role_name);
    tensors_.push_back({full, choose_format(recipe_, tensor, s_.n_layers).format, shape});
  }

  void add_layer(int64_t i) {
    const int64_t d = s_.dim, H = s_.n_heads, E = s_.n_experts, M = s_.moe_inter, S = s_.n_shared * M;
    add(i, name::kAttnNorm, Role::vector, Shape(d));
    if (s_.q_lora) {
      add(i, name::kAttnQA, Role::query, Shape(s_.q_lora, d));
      add(i, name::kAttnQANorm, Role::vector, Shape(s_.q_lora));
      add(i, name::kAttnQB, Role::query, Shape(H * (s_.nope + s_.rope), s_.q_lora));
    } else {
      add(i, name::kAttnQ, Role::query, Shape(H * (s_.nope + s_.rope), d));
    }
    add(i, name::kAttnKvAMqa, Role::latent, Shape(s_.kv_lora + s_.rope, d));
    add(i, name::kAttnKvANorm, Role::vector, Shape(s_.kv_lora));
    add(i, name::kAttnKB, Role::latent, Shape(H, s_.kv_lora, s_.nope));
    add(i, name::kAttnVB, Role::latent, Shape(H, s_.v, s_.kv_lora));
    add(i, name::kAttnOutput, Role::attn_output, Shape(d, H * s_.v));
    add(i, name::kFfnNorm, Role::vector, Shape(d));
    if (i < s_.n_dense) {
      add(i, name::kFfnGate, Role::dense_in, Shape(s_.inter, d));
      add(i, name::kFfnUp, Role::dense_in, Shape(s_.inter, d));
      add(i, name::kFfnDown, Role::dense_down, Shape(d, s_.inter));
      return;
    }
    add(i, name::kFfnGateInp, Role::vector, Shape(E, d));
    if (s_.sigmoid) add(i, name::kExpProbsB, Role::vector, Shape(E));
    add(i, name::kFfnGateExps, Role::expert_in, Shape(E, M, d));
    add(i, name::kFfnUpExps, Role::expert_in, Shape(E, M, d));
    add(i, name::kFfnDownExps, Role::expert_down, Shape(E, d, M));
    add(i, name::kFfnGateShexp, Role::shared_in, Shape(S, d));
    add(i, name::kFfnUpShexp, Role::shared_in, Shape(S, d));
    add(i, name::kFfnDownShexp, Role::shared_down, Shape(d, S));
  }

  TrueShape s_;
  const Recipe& recipe_;
  std::vector<GgufTensorPlan> tensors_;
};

}  // namespace hearth::test
