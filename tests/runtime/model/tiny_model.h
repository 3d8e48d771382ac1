// A model of a few thousand random weights, put together in memory, changed by a test and saved as GGUF.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/backend.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "runtime/engine/model.h"
#include "tests/support/paths.h"

namespace hearth::test {

struct TinyShape {
  int64_t n_layers = 3, n_dense = 1, dim = 64, n_heads = 3, q_lora = 32, kv_lora = 32, nope = 16, rope = 8, v = 24;
  int64_t inter = 96, moe_inter = 32, n_experts = 8, n_shared = 2, n_activated = 3, n_groups = 4, n_kept = 2;
  int64_t vocab = 300, context = 256;
  bool sigmoid = false, yarn = true;

  static TinyShape lite() {
    TinyShape s;
    s.q_lora = 0;
    s.n_groups = s.n_kept = 1;
    return s;
  }
  static TinyShape v2() { return {}; }
  static TinyShape v3() {
    TinyShape s;
    s.sigmoid = true;
    s.n_dense = 2;
    s.n_shared = 1;
    return s;
  }
};

struct TinyTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
  FormatId format = FormatId::f32;
};

class TinyModel {
 public:
  explicit TinyModel(const TinyShape& s = {}) : shape(s) {
    set_metadata();
    add(name::kTokenEmbd, Shape(s.vocab, s.dim), 1.0f);
    add_norm(name::kOutputNorm, s.dim);
    add(name::kOutput, Shape(s.vocab, s.dim));
    for (int i = 0; i < s.n_layers; ++i) add_layer(i);
  }

  GgufMetadata metadata;
  std::vector<TinyTensor> tensors;
  TinyShape shape;

  TinyTensor& tensor(const std::string& wanted) {
    const auto it = std::ranges::find(tensors, wanted, &TinyTensor::name);
    REQUIRE_MESSAGE(it != tensors.end(), wanted);
    return *it;
  }
  TinyTensor take(const std::string& wanted) {
    TinyTensor t = tensor(wanted);
    std::erase_if(tensors, [&](const TinyTensor& other) { return other.name == wanted; });
    return t;
  }

  // As files were before April 2025: attn_kv_b in one piece, the heads' own widths in key_length, head_count_kv =
  // head_count.
  void make_old_layout() {
    const auto& s = shape;
    metadata.erase(key::kKeyLengthMla);
    metadata.erase(key::kValueLengthMla);
    metadata.set(key::kKeyLength, GgufValue::of_u32(uint32_t(s.nope + s.rope)));
    metadata.set(key::kValueLength, GgufValue::of_u32(uint32_t(s.v)));
    metadata.set(key::kHeadCountKv, GgufValue::of_u32(uint32_t(s.n_heads)));
    add_kv_b();
    std::erase_if(tensors, [](const TinyTensor& t) {
      return t.name.ends_with(name::kAttnKB) || t.name.ends_with(name::kAttnVB);
    });
  }

  // attn_kv_b besides attn_k_b and attn_v_b, as makers of files for ik_llama.cpp keep it.
  void add_kv_b() {
    const auto& s = shape;
    for (int i = 0; i < s.n_layers; ++i) {
      const TinyTensor k_b = tensor(name::in_layer(i, name::kAttnKB)), v_b = tensor(name::in_layer(i, name::kAttnVB));
      TinyTensor kv_b{name::in_layer(i, name::kAttnKvB), Shape(s.n_heads * (s.nope + s.v), s.kv_lora), {}};
      for (int64_t h = 0; h < s.n_heads; ++h) {
        for (int64_t row = 0; row < s.nope; ++row) {
          for (int64_t c = 0; c < s.kv_lora; ++c) {
            kv_b.values.push_back(k_b.values[size_t((h * s.kv_lora + c) * s.nope + row)]);
          }
        }
        const auto first = v_b.values.begin() + h * s.v * s.kv_lora;
        kv_b.values.insert(kv_b.values.end(), first, first + s.v * s.kv_lora);
      }
      tensors.push_back(kv_b);
    }
  }

  // Heads and rows in one axis, as some converters write attn_k_b and attn_v_b.
  void flatten_heads() {
    for (auto& t : tensors) {
      if (t.name.ends_with(name::kAttnKB) || t.name.ends_with(name::kAttnVB))
        t.shape = Shape(t.shape.rows(), t.shape.cols());
    }
  }

  void fuse_gate_up() {
    for (int i = int(shape.n_dense); i < shape.n_layers; ++i) {
      const TinyTensor gate = take(name::in_layer(i, name::kFfnGateExps)),
                       up = take(name::in_layer(i, name::kFfnUpExps));
      TinyTensor both{
          name::in_layer(i, name::kFfnGateUpExps), Shape(shape.n_experts, 2 * shape.moe_inter, shape.dim), {}};
      const int64_t n = shape.moe_inter * shape.dim;
      for (int64_t e = 0; e < shape.n_experts; ++e) {
        both.values.insert(both.values.end(), gate.values.begin() + e * n, gate.values.begin() + (e + 1) * n);
        both.values.insert(both.values.end(), up.values.begin() + e * n, up.values.begin() + (e + 1) * n);
      }
      tensors.push_back(both);
    }
  }

  void save(const std::string& path) const {
    std::vector<GgufTensorPlan> plans;
    for (const auto& t : tensors) plans.push_back({t.name, &format_of(t.format), t.shape});
    GgufWriter writer(path, metadata, plans);
    for (size_t i = 0; i < tensors.size(); ++i) {
      std::vector<std::byte> bytes(plans[i].bytes());
      for (int64_t row = 0; row < tensors[i].shape.rows(); ++row) {
        const int64_t cols = tensors[i].shape.cols();
        plans[i].format->encode(tensors[i].values.data() + row * cols, nullptr,
                                bytes.data() + size_t(row) * plans[i].format->bytes(cols), cols);
      }
      writer.write(i, 0, bytes);
    }
    writer.finish();
  }

  GgufFile file() const {
    const std::string path = folder() / ("tiny-" + std::to_string(counter()++) + ".gguf");
    save(path);
    return GgufFile::open(path);
  }

 private:
  static TempDir& folder() {
    static TempDir dir;
    return dir;
  }
  static int& counter() {
    static int n = 0;
    return n;
  }

  void set_u32(const char* key, int64_t value) { metadata.set(key, GgufValue::of_u32(uint32_t(value))); }
  void set_f32(const char* key, float value) { metadata.set(key, GgufValue::of_f32(value)); }

  void set_metadata() {
    const auto& s = shape;
    metadata.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
    metadata.set(key::kName, GgufValue::of_string("tiny"));
    set_u32(key::kBlockCount, s.n_layers);
    set_u32(key::kContextLength, s.context);
    set_u32(key::kEmbeddingLength, s.dim);
    set_u32(key::kFeedForwardLength, s.inter);
    set_u32(key::kVocabSize, s.vocab);
    set_u32(key::kHeadCount, s.n_heads);
    set_u32(key::kHeadCountKv, 1);
    if (s.q_lora) set_u32(key::kQLoraRank, s.q_lora);
    set_u32(key::kKvLoraRank, s.kv_lora);
    set_u32(key::kKeyLength, s.kv_lora + s.rope);
    set_u32(key::kValueLength, s.kv_lora);
    set_u32(key::kKeyLengthMla, s.nope + s.rope);
    set_u32(key::kValueLengthMla, s.v);
    set_f32(key::kRmsEpsilon, 1e-6f);
    set_u32(key::kRopeDimensionCount, s.rope);
    set_f32(key::kRopeFreqBase, 10000.0f);
    if (s.yarn) {
      metadata.set(key::kRopeScalingType, GgufValue::of_string("yarn"));
      set_f32(key::kRopeScalingFactor, 40.0f);
      set_u32(key::kRopeScalingOriginalContext, 32);
      set_f32(key::kYarnLogMultiplier, 0.0707f);
    }
    set_u32(key::kLeadingDenseBlockCount, s.n_dense);
    set_u32(key::kExpertCount, s.n_experts);
    set_u32(key::kExpertUsedCount, s.n_activated);
    set_u32(key::kExpertSharedCount, s.n_shared);
    set_u32(key::kExpertFeedForwardLength, s.moe_inter);
    set_u32(key::kExpertGroupCount, s.n_groups);
    set_u32(key::kExpertGroupUsedCount, s.n_kept);
    set_f32(key::kExpertWeightsScale, s.sigmoid ? 2.5f : 4.0f);
    if (s.sigmoid) metadata.set(key::kExpertWeightsNorm, GgufValue::of_bool(true));
    set_u32(key::kExpertGatingFunc, int64_t(s.sigmoid ? GatingFunc::sigmoid : GatingFunc::softmax));
  }

  // Random weights that keep activations of the order of 1.
  void add(const std::string& tensor_name, const Shape& s, float scale = 0) {
    TinyTensor t{tensor_name, s, std::vector<float>(size_t(s.elems()))};
    std::normal_distribution<float> normal(0, scale ? scale : 1.5f / std::sqrt(float(s.cols())));
    for (float& x : t.values) x = normal(random_);
    tensors.push_back(std::move(t));
  }
  void add_norm(const std::string& tensor_name, int64_t n) {
    TinyTensor t{tensor_name, Shape(n), std::vector<float>(size_t(n))};
    std::uniform_real_distribution<float> around_one(0.5f, 1.5f);
    for (float& x : t.values) x = around_one(random_);
    tensors.push_back(std::move(t));
  }

  void add_layer(int i) {
    const auto& s = shape;
    const auto in = [i](const char* role) { return name::in_layer(i, role); };
    add_norm(in(name::kAttnNorm), s.dim);
    if (s.q_lora) {
      add(in(name::kAttnQA), Shape(s.q_lora, s.dim));
      add_norm(in(name::kAttnQANorm), s.q_lora);
      add(in(name::kAttnQB), Shape(s.n_heads * (s.nope + s.rope), s.q_lora));
    } else {
      add(in(name::kAttnQ), Shape(s.n_heads * (s.nope + s.rope), s.dim));
    }
    add(in(name::kAttnKvAMqa), Shape(s.kv_lora + s.rope, s.dim));
    add_norm(in(name::kAttnKvANorm), s.kv_lora);
    add(in(name::kAttnKB), Shape(s.n_heads, s.kv_lora, s.nope), 1.0f / std::sqrt(float(s.kv_lora)));
    add(in(name::kAttnVB), Shape(s.n_heads, s.v, s.kv_lora));
    add(in(name::kAttnOutput), Shape(s.dim, s.n_heads * s.v));
    add_norm(in(name::kFfnNorm), s.dim);
    if (i < s.n_dense) {
      add(in(name::kFfnGate), Shape(s.inter, s.dim));
      add(in(name::kFfnUp), Shape(s.inter, s.dim));
      add(in(name::kFfnDown), Shape(s.dim, s.inter));
      return;
    }
    add(in(name::kFfnGateInp), Shape(s.n_experts, s.dim));
    if (s.sigmoid) add(in(name::kExpProbsB), Shape(s.n_experts), 0.1f);
    add(in(name::kFfnGateExps), Shape(s.n_experts, s.moe_inter, s.dim));
    add(in(name::kFfnUpExps), Shape(s.n_experts, s.moe_inter, s.dim));
    add(in(name::kFfnDownExps), Shape(s.n_experts, s.dim, s.moe_inter));
    add(in(name::kFfnGateShexp), Shape(s.n_shared * s.moe_inter, s.dim));
    add(in(name::kFfnUpShexp), Shape(s.n_shared * s.moe_inter, s.dim));
    add(in(name::kFfnDownShexp), Shape(s.dim, s.n_shared * s.moe_inter));
  }

  std::mt19937 random_{7};
};

// In the order that cpu_isas gives, without those that this processor lacks.
inline std::vector<const Ops*> available_tables() {
  std::vector<const Ops*> tables;
  for (const CpuIsa& isa : cpu_isas()) {
    if (isa.available) tables.push_back(isa.ops);
    if (!isa.available) MESSAGE("left out: this processor cannot run the table ", std::string(isa.name));
  }
  return tables;
}

// max |a - b| / max |b|: what a program's logits are judged by. NaN anywhere counts as infinite.
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
    difference = std::max(difference, std::abs(double(a[i]) - double(b[i])));
    largest = std::max(largest, std::abs(double(b[i])));
  }
  return difference / largest;
}

// Some tokens of the vocabulary, always the same ones.
inline std::vector<Token> some_tokens(int64_t n, int64_t vocab) {
  std::mt19937 random(11);
  std::vector<Token> tokens(static_cast<size_t>(n));
  for (Token& t : tokens) t = Token(random() % uint64_t(vocab));
  return tokens;
}

// All logits [T, V] of `tokens` in an empty cache.
inline std::vector<float> all_logits(Model& model, std::span<const Token> tokens) {
  KvCache cache = model.new_cache();
  std::vector<float> logits(tokens.size() * size_t(model.config().vocab_size));
  REQUIRE(model.run(tokens, cache, logits, true));
  return logits;
}

// The message of the Error that f() throws, which must be of this kind; "" when it throws none.
template <class F>
std::string refusal(ErrorKind kind, const F& f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK_MESSAGE(e.kind == kind, e.what());
    return e.what();
  }
  FAIL_CHECK("expected an Error, and nothing was thrown");
  return "";
}

inline bool mentions(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (message.find(part) == std::string::npos) {
      MESSAGE("the message lacks \"", part, "\": ", message);
      return false;
    }
  }
  return true;
}

}  // namespace hearth::test
