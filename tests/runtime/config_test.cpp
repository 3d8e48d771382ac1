#include "runtime/config.h"

#include <doctest/doctest.h>

#include "tests/runtime/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

ModelConfig config_of(const TinyModel& model) {
  return read_config(model.file());
}

// What read_config says about the model after one change to its metadata.
template <class F>
std::string refused_after(const TinyShape& shape, const F& change) {
  TinyModel model(shape);
  change(model.metadata);
  const GgufFile file = model.file();
  return refusal(ErrorKind::model, [&] { read_config(file); });
}

auto set_u32(const char* key, uint32_t value) {
  return [=](GgufMetadata& m) { m.set(key, GgufValue::of_u32(value)); };
}
auto set_f32(const char* key, float value) {
  return [=](GgufMetadata& m) { m.set(key, GgufValue::of_f32(value)); };
}
auto set_string(const char* key, const char* value) {
  return [=](GgufMetadata& m) { m.set(key, GgufValue::of_string(value)); };
}
auto erase(const char* key) {
  return [=](GgufMetadata& m) { m.erase(key); };
}

}  // namespace

TEST_CASE("config: the words of the current layout") {
  const ModelConfig c = config_of(TinyModel(TinyShape::v2()));
  CHECK(c.name == "tiny");
  CHECK(c.dim == 64);
  CHECK(c.n_layers == 3);
  CHECK(c.n_heads == 3);
  CHECK(c.vocab_size == 300);
  CHECK(c.context_length == 256);
  CHECK(c.q_lora_rank == 32);
  CHECK(c.kv_lora_rank == 32);
  CHECK(c.qk_nope_head_dim == 16);
  CHECK(c.qk_rope_head_dim == 8);
  CHECK(c.v_head_dim == 24);
  CHECK(c.qk_head_dim() == 24);
  CHECK(c.cache_width() == 40);
  CHECK(c.inter_dim == 96);
  CHECK(c.moe_inter_dim == 32);
  CHECK(c.n_dense_layers == 1);
  CHECK(c.n_routed_experts == 8);
  CHECK(c.n_shared_experts == 2);
  CHECK_FALSE(c.is_moe(0));
  CHECK(c.is_moe(1));
  CHECK(c.yarn.enabled);
  CHECK(c.yarn.factor == 40.0f);
  CHECK(c.yarn.original_context == 32);
  CHECK(c.yarn.beta_fast == 32.0f);
  CHECK(c.yarn.beta_slow == 1.0f);
  CHECK(c.yarn.log_multiplier == doctest::Approx(0.0707));
}

TEST_CASE("config: routing follows the gating function, groups by maximum (softmax) or by the best two (sigmoid)") {
  const Routing v2 = config_of(TinyModel(TinyShape::v2())).routing;
  CHECK(v2.score == Routing::Score::softmax);
  CHECK(v2.group_score == Routing::GroupScore::maximum);
  CHECK(v2.n_experts == 8);
  CHECK(v2.n_activated == 3);
  CHECK(v2.n_groups == 4);
  CHECK(v2.n_limited_groups == 2);
  CHECK_FALSE(v2.normalize);
  CHECK(v2.scale == 4.0f);

  const Routing v3 = config_of(TinyModel(TinyShape::v3())).routing;
  CHECK(v3.score == Routing::Score::sigmoid);
  CHECK(v3.group_score == Routing::GroupScore::top2_sum);
  CHECK(v3.normalize);
  CHECK(v3.scale == 2.5f);

  TinyModel silent(TinyShape::v2());  // files from before V3 say nothing: softmax, not normalised, not scaled
  for (const char* key : {key::kExpertGatingFunc, key::kExpertWeightsScale, key::kExpertWeightsNorm}) {
    silent.metadata.erase(key);
  }
  CHECK(config_of(silent).routing.score == Routing::Score::softmax);
  CHECK_FALSE(config_of(silent).routing.normalize);
  CHECK(config_of(silent).routing.scale == 1.0f);
}

TEST_CASE("config: old files have the heads' own widths in key_length, and as many kv heads as heads") {
  TinyModel model;
  model.make_old_layout();
  const ModelConfig c = config_of(model);
  CHECK(c.qk_nope_head_dim == 16);
  CHECK(c.qk_rope_head_dim == 8);
  CHECK(c.v_head_dim == 24);
}

TEST_CASE("config: old files without group keys are told by their number of experts") {
  struct Row {
    int64_t n_experts;
    bool sigmoid;
    int n_groups, n_limited_groups;
  };
  for (const Row row : {Row{160, false, 8, 3}, Row{256, true, 8, 4}, Row{64, false, 1, 1}, Row{8, false, 1, 1}}) {
    CAPTURE(row.n_experts);
    TinyShape s = TinyShape::v2();
    s.n_experts = row.n_experts;
    s.sigmoid = row.sigmoid;
    s.dim = s.kv_lora = s.q_lora = s.moe_inter = 8;
    TinyModel model(s);
    model.metadata.erase(key::kExpertGroupCount);
    model.metadata.erase(key::kExpertGroupUsedCount);
    CHECK(config_of(model).routing.n_groups == row.n_groups);
    CHECK(config_of(model).routing.n_limited_groups == row.n_limited_groups);
  }
}

TEST_CASE("config: Lite is told by its plain queries; a latent of 0 means none") {
  CHECK(config_of(TinyModel(TinyShape::lite())).q_lora_rank == 0);
  TinyModel zero(TinyShape::lite());
  zero.metadata.set(key::kQLoraRank, GgufValue::of_u32(0));
  CHECK(config_of(zero).q_lora_rank == 0);
  CHECK(
      mentions(refused_after(TinyShape::lite(), set_u32(key::kQLoraRank, 32)), {"q_lora_rank", "blk.0.attn_q.weight"}));
}

TEST_CASE("config: no rope.scaling.type means no YaRN, and softmax is scaled by the head's width alone") {
  TinyShape s;
  s.yarn = false;
  CHECK_FALSE(config_of(TinyModel(s)).yarn.enabled);
  CHECK(config_of(TinyModel(s)).softmax_scale() == doctest::Approx(1 / std::sqrt(24.0)));
}

TEST_CASE("config: the vocabulary's size comes from the key, or from the embedding") {
  TinyModel model;
  model.metadata.erase(key::kVocabSize);
  CHECK(config_of(model).vocab_size == 300);
  CHECK(mentions(refused_after({}, set_u32(key::kVocabSize, 299)), {"token_embd.weight", "299", "300"}));
}

TEST_CASE("config: a model without experts is dense throughout") {
  TinyShape s;
  s.n_dense = s.n_layers;
  TinyModel model(s);
  model.metadata.erase(key::kExpertCount);
  model.metadata.erase(key::kLeadingDenseBlockCount);
  CHECK(config_of(model).n_routed_experts == 0);
  CHECK_FALSE(config_of(model).is_moe(2));
}

TEST_CASE("config: what is missing is named") {
  for (const char* key :
       {key::kArchitecture, key::kBlockCount, key::kContextLength, key::kEmbeddingLength, key::kFeedForwardLength,
        key::kHeadCount, key::kKvLoraRank, key::kRmsEpsilon, key::kRopeDimensionCount, key::kKeyLengthMla,
        key::kValueLengthMla, key::kRopeScalingFactor, key::kRopeScalingOriginalContext, key::kExpertUsedCount,
        key::kExpertFeedForwardLength, key::kExpertGroupUsedCount}) {
    CAPTURE(key);
    CHECK(mentions(refused_after({}, erase(key)), {key, "missing"}));
  }
}

TEST_CASE("config: what is not supported or contradictory is refused with expected and found") {
  CHECK(mentions(refused_after({}, set_string(key::kArchitecture, "llama")), {"deepseek2", "llama"}));
  CHECK(mentions(refused_after({}, set_string(key::kRopeScalingType, "linear")),
                 {"rope.scaling.type", "yarn", "linear"}));
  CHECK(mentions(refused_after({}, erase(key::kRopeScalingType)), {"rope.scaling.factor", "40"}));
  CHECK(mentions(refused_after({}, set_u32(key::kExpertGatingFunc, 4)), {"expert_gating_func", "sigmoid", "4"}));
  CHECK(mentions(refused_after({}, set_u32(key::kHeadCountKv, 2)), {"head_count_kv", "3", "2"}));
  CHECK(mentions(refused_after({}, set_u32(key::kKeyLength, 24)), {"key_length", "40", "24"}));
  CHECK(mentions(refused_after({}, set_u32(key::kValueLength, 24)), {"value_length", "32", "24"}));
  CHECK(mentions(refused_after({}, set_u32(key::kKeyLengthMla, 8)), {"key_length_mla", "8"}));
  CHECK(mentions(refused_after({}, set_u32(key::kRopeDimensionCount, 7)), {"rope.dimension_count", "even", "7"}));
  CHECK(mentions(refused_after({}, set_u32(key::kExpertGroupCount, 3)), {"expert_group_count", "8", "3"}));
  CHECK(mentions(refused_after({}, set_u32(key::kExpertGroupUsedCount, 5)), {"expert_group_used_count", "4", "5"}));
  CHECK(mentions(refused_after({}, set_u32(key::kExpertUsedCount, 5)), {"expert_used_count", "4 experts", "5"}));
  CHECK(mentions(refused_after({}, set_u32(key::kExpertUsedCount, 0)), {"expert_used_count", "0"}));
  CHECK(mentions(refused_after({}, set_u32(key::kLeadingDenseBlockCount, 4)), {"leading_dense_block_count", "3", "4"}));
  CHECK(mentions(refused_after(TinyShape::v3(), set_u32(key::kExpertGroupCount, 8)),
                 {"expert_group_count", "at least 2"}));
  // An old layout whose key_length is the latent's: the widths of the heads are nowhere.
  CHECK(mentions(refused_after({},
                               [](GgufMetadata& m) {
                                 m.erase(key::kKeyLengthMla);
                                 m.erase(key::kValueLengthMla);
                               }),
                 {"key_length_mla", "40"}));
}

TEST_CASE("config: numbers out of every bound are refused before anything is sized by them") {
  for (const char* key : {key::kBlockCount, key::kContextLength, key::kEmbeddingLength, key::kFeedForwardLength,
                          key::kHeadCount, key::kKvLoraRank, key::kExpertFeedForwardLength}) {
    CAPTURE(key);
    CHECK(mentions(refused_after({}, set_u32(key, 0)), {key, "found 0"}));
    CHECK(mentions(refused_after({}, set_u32(key, UINT32_MAX)), {key, "4294967295"}));
  }
  CHECK(mentions(refused_after({}, set_f32(key::kRmsEpsilon, NAN)), {"layer_norm_rms_epsilon", "nan"}));
  CHECK(mentions(refused_after({}, set_f32(key::kRopeFreqBase, 0)), {"rope.freq_base"}));
  CHECK(mentions(refused_after({}, set_f32(key::kRopeScalingFactor, 0.5f)), {"rope.scaling.factor", "0.5"}));
  CHECK(mentions(refused_after({}, set_f32(key::kExpertWeightsScale, 0)), {"expert_weights_scale"}));
}

TEST_CASE("config: a key of the wrong type is the container's refusal") {
  TinyModel model;
  model.metadata.set(key::kBlockCount, GgufValue::of_string("three"));
  const GgufFile file = model.file();
  CHECK(mentions(refusal(ErrorKind::format, [&] { read_config(file); }), {"deepseek2.block_count", "string"}));
}
