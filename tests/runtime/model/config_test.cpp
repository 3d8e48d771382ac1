#include "runtime/model/read_config.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <optional>

#include "tests/runtime/model/tiny_model.h"

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
// Whether the notes of what was guessed hold these parts.
bool says(const ModelConfig& c, std::initializer_list<const char*> parts) {
  std::string all;
  for (const std::string& note : c.notes) all += note + "\n";
  return mentions(all, parts);
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
}

TEST_CASE("config: a file that says all has nothing guessed") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    CHECK(config_of(TinyModel(shape)).notes.empty());
  }
}

TEST_CASE("config: without their keys, gate, norm and scale are the class's, and what changes results is said") {
  TinyModel v2(TinyShape::v2());
  TinyModel v3(TinyShape::v3());
  for (TinyModel* silent : {&v2, &v3}) {
    for (const char* key : {key::kExpertGatingFunc, key::kExpertWeightsScale, key::kExpertWeightsNorm}) {
      silent->metadata.erase(key);
    }
  }
  const ModelConfig c2 = config_of(v2);  // files from before V3 say nothing of the first and the last
  CHECK(c2.routing.score == Routing::Score::softmax);
  CHECK_FALSE(c2.routing.normalize);
  CHECK(c2.routing.scale == 1.0f);
  CHECK(says(c2, {"expert_weights_scale is missing: assumed 1"}));

  const ModelConfig c3 = config_of(v3);  // a bias to choose experts with is V3's
  CHECK(c3.routing.score == Routing::Score::sigmoid);
  CHECK(c3.routing.normalize);
  CHECK(c3.routing.scale == 2.5f);
  CHECK(says(c3, {"expert_gating_func is missing: assumed sigmoid", "blk.2.exp_probs_b.bias",
                  "expert_weights_norm is missing: assumed true", "expert_weights_scale is missing: assumed 2.5"}));

  v3.metadata.set(key::kExpertGatingFunc, GgufValue::of_u32(0));  // what some write for none
  CHECK(config_of(v3).routing.score == Routing::Score::sigmoid);
  v3.metadata.set(key::kHearthRecipe, GgufValue::of_string("f32"));  // our writer has no key where it is false
  CHECK_FALSE(config_of(v3).routing.normalize);
}

TEST_CASE("config: old files have the heads' own widths in key_length, and as many kv heads as heads") {
  TinyModel model;
  model.make_old_layout();
  const ModelConfig c = config_of(model);
  CHECK(c.qk_nope_head_dim == 16);
  CHECK(c.qk_rope_head_dim == 8);
  CHECK(c.v_head_dim == 24);
}

TEST_CASE("config: without group keys the gate tells the class, and its groups are said") {
  struct Row {
    int64_t n_experts;
    bool sigmoid, lite;
    int n_groups, n_limited_groups;
    bool said;
  };
  for (const Row row :
       {Row{160, false, false, 8, 3, true}, Row{256, true, false, 8, 4, true}, Row{160, true, false, 8, 4, true},
        Row{64, true, false, 8, 4, true}, Row{64, false, true, 1, 1, false}, Row{8, false, false, 1, 1, true}}) {
    CAPTURE(row.n_experts);
    CAPTURE(row.sigmoid);
    TinyShape s = row.lite ? TinyShape::lite() : TinyShape::v2();
    s.n_experts = row.n_experts;
    s.sigmoid = row.sigmoid;
    s.dim = s.kv_lora = s.moe_inter = 8;
    if (!row.lite) s.q_lora = 8;
    TinyModel model(s);
    model.metadata.erase(key::kExpertGroupCount);
    model.metadata.erase(key::kExpertGroupUsedCount);
    const ModelConfig c = config_of(model);
    CHECK(c.routing.n_groups == row.n_groups);
    CHECK(c.routing.n_limited_groups == row.n_limited_groups);
    const bool said = std::ranges::any_of(
        c.notes, [](const std::string& n) { return n.find("expert_group_count") != std::string::npos; });
    CHECK(said == row.said);
  }
}

TEST_CASE("config: groups of the class that the experts cannot have are refused, not guessed") {
  for (const int64_t n_experts : {100, 8}) {  // no multiple of 8; groups of one
    TinyShape s = TinyShape::v3();
    s.n_experts = n_experts;
    s.n_groups = s.n_kept = 1;
    TinyModel model(s);
    model.metadata.erase(key::kExpertGroupCount);
    model.metadata.erase(key::kExpertGroupUsedCount);
    const GgufFile file = model.file();
    CHECK(
        mentions(refusal(ErrorKind::model, [&] { read_config(file); }), {"expert_group_count", "missing", "8 groups"}));
  }
}

TEST_CASE("config: 0 groups means none, and how many of V3's 8 are kept is known") {
  TinyModel none(TinyShape::lite());
  none.metadata.set(key::kExpertGroupCount, GgufValue::of_u32(0));
  none.metadata.set(key::kExpertGroupUsedCount, GgufValue::of_u32(0));
  CHECK(config_of(none).routing.n_groups == 1);
  TinyShape s = TinyShape::v3();
  s.n_experts = 16;
  s.n_groups = 8;
  TinyModel model(s);
  model.metadata.erase(key::kExpertGroupUsedCount);
  CHECK(config_of(model).routing.n_limited_groups == 4);
  CHECK(says(config_of(model), {"expert_group_used_count is missing: assumed 4 of 8"}));
}

TEST_CASE("config: a key_length of the latent's without the heads' own: those are in the tensors") {
  TinyModel model;
  model.metadata.erase(key::kKeyLengthMla);
  model.metadata.erase(key::kValueLengthMla);
  CHECK(config_of(model).qk_nope_head_dim == 16);
  CHECK(config_of(model).v_head_dim == 24);
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

TEST_CASE("config: what is missing and cannot be known is named") {
  for (const char* key :
       {key::kArchitecture, key::kBlockCount, key::kContextLength, key::kHeadCount, key::kRopeScalingFactor,
        key::kRopeScalingOriginalContext, key::kExpertUsedCount, key::kExpertGroupUsedCount}) {
    CAPTURE(key);
    CHECK(mentions(refused_after({}, erase(key)), {key, "missing"}));
  }
}

TEST_CASE("config: what tensors show needs no key, and is said, as it is no guess, in one line") {
  const ModelConfig whole = config_of(TinyModel());
  for (const char* key :
       {key::kEmbeddingLength, key::kFeedForwardLength, key::kVocabSize, key::kQLoraRank, key::kKvLoraRank,
        key::kRopeDimensionCount, key::kKeyLengthMla, key::kValueLengthMla, key::kLeadingDenseBlockCount,
        key::kExpertCount, key::kExpertSharedCount, key::kExpertFeedForwardLength}) {
    CAPTURE(key);
    for (const bool fused : {false, true}) {
      TinyModel model;
      if (fused) model.fuse_gate_up();
      model.metadata.erase(key);
      const ModelConfig c = config_of(model);
      if (std::string(key) == key::kVocabSize) {
        CHECK(c.notes.empty());  // the embedding's rows are the vocabulary, key or not
      } else {
        REQUIRE(c.notes.size() == 1);
        CHECK(c.notes[0].starts_with(fmt::format("1 key is missing; by the tensors' shapes: {} = ", key)));
      }
      CHECK(c.dim == whole.dim);
      CHECK(c.inter_dim == whole.inter_dim);
      CHECK(c.vocab_size == whole.vocab_size);
      CHECK(c.q_lora_rank == whole.q_lora_rank);
      CHECK(c.kv_lora_rank == whole.kv_lora_rank);
      CHECK(c.qk_nope_head_dim == whole.qk_nope_head_dim);
      CHECK(c.qk_rope_head_dim == whole.qk_rope_head_dim);
      CHECK(c.v_head_dim == whole.v_head_dim);
      CHECK(c.n_dense_layers == whole.n_dense_layers);
      CHECK(c.n_routed_experts == whole.n_routed_experts);
      CHECK(c.n_shared_experts == whole.n_shared_experts);
      CHECK(c.moe_inter_dim == whole.moe_inter_dim);
    }
  }
}

// llama.cpp issue 7118: converters of May 2024 wrote none of these.
TEST_CASE("config: the first files of V2, which lack seven keys") {
  TinyShape s;
  s.n_experts = 160;
  s.n_groups = 8;
  s.n_kept = 3;
  TinyModel model(s);
  const ModelConfig whole = config_of(model);
  model.make_old_layout();
  for (const char* key : {key::kQLoraRank, key::kKvLoraRank, key::kExpertSharedCount, key::kExpertWeightsScale,
                          key::kExpertFeedForwardLength, key::kLeadingDenseBlockCount, key::kYarnLogMultiplier}) {
    model.metadata.erase(key);
  }
  const ModelConfig c = config_of(model);
  CHECK(c.routing.scale == 16.0f);
  CHECK(c.yarn.log_multiplier == doctest::Approx(0.0707));
  CHECK(c.notes == std::vector<std::string>{
                       "7 keys are missing; by the tensors' shapes: deepseek2.attention.q_lora_rank = 32, "
                       "deepseek2.attention.kv_lora_rank = 32, deepseek2.leading_dense_block_count = 1, "
                       "deepseek2.expert_feed_forward_length = 32, deepseek2.expert_shared_count = 2; assumed: "
                       "deepseek2.expert_weights_scale = 16 (DeepSeek-V2's), "
                       "deepseek2.rope.scaling.yarn_log_multiplier = 0.0707 (DeepSeek-V2's)"});
  CHECK(c.q_lora_rank == whole.q_lora_rank);
  CHECK(c.n_shared_experts == whole.n_shared_experts);
  CHECK(c.n_dense_layers == whole.n_dense_layers);
}

TEST_CASE("config: positions and norms without their keys are those of all models of the family, and said") {
  TinyModel model;
  model.metadata.erase(key::kRopeFreqBase);
  model.metadata.erase(key::kRmsEpsilon);
  const ModelConfig c = config_of(model);
  CHECK(c.rope_theta == 10000.0f);
  CHECK(c.norm_eps == 1e-6f);
  CHECK(says(c, {"rope.freq_base is missing: assumed 10000", "layer_norm_rms_epsilon is missing: assumed 1e-06"}));
}

TEST_CASE("config: YaRN without its multiplier or its type takes the class's, and says it") {
  for (const bool v3 : {false, true}) {
    TinyModel model(v3 ? TinyShape::v3() : TinyShape::v2());
    model.metadata.erase(key::kYarnLogMultiplier);
    CHECK(config_of(model).yarn.log_multiplier == (v3 ? 0.1f : 0.0707f));
    CHECK(says(config_of(model), {"yarn_log_multiplier is missing", v3 ? "DeepSeek-V3's" : "DeepSeek-V2-Lite's"}));
  }
  TinyModel untyped;
  untyped.metadata.erase(key::kRopeScalingType);
  CHECK(config_of(untyped).yarn.enabled);
  CHECK(says(config_of(untyped), {"rope.scaling.type is missing: assumed yarn", "yarn_log_multiplier"}));
}

namespace {

// An MTP layer behind the others, as files by others have it: the last layer once more, and its own tensors.
void add_mtp_layer(TinyModel& model) {
  const int64_t last = model.shape.n_layers - 1;
  const std::string from = "blk." + std::to_string(last) + ".", to = "blk." + std::to_string(last + 1) + ".";
  for (size_t i = 0, n = model.tensors.size(); i < n; ++i) {
    TinyTensor copy = model.tensors[i];
    if (!copy.name.starts_with(from)) continue;
    copy.name = to + copy.name.substr(from.size());
    model.tensors.push_back(copy);
  }
  for (const char* role : {name::kNextnEnorm, name::kNextnHnorm}) {
    TinyTensor norm = model.tensor(from + name::kAttnNorm);
    norm.name = to + role;
    model.tensors.push_back(norm);
  }
  const int64_t d = model.shape.dim;
  model.tensors.push_back({to + name::kNextnEhProj, Shape(d, 2 * d), std::vector<float>(size_t(2 * d * d), 0.01f)});
}

void set_layers(TinyModel& model, uint32_t blocks, std::optional<uint32_t> nextn) {
  model.metadata.set(key::kBlockCount, GgufValue::of_u32(blocks));
  if (nextn) model.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(*nextn));
}

void check_layers(const TinyModel& model, int64_t n_layers, int64_t n_mtp_layers) {
  const ModelConfig c = config_of(model);
  CHECK(c.n_layers == n_layers);
  CHECK(c.n_mtp_layers == n_mtp_layers);
}

}  // namespace

TEST_CASE("config: files by others count MTP layers among the blocks, with their tensors or without") {
  TinyModel stripped(TinyShape::v3());
  set_layers(stripped, 4, 1);
  check_layers(stripped, 3, 1);
  set_layers(stripped, 5, 2);
  check_layers(stripped, 3, 2);
  TinyModel inside(TinyShape::v3());
  add_mtp_layer(inside);
  set_layers(inside, 4, 1);
  check_layers(inside, 3, 1);
  set_layers(inside, 3, 1);  // not counted: the tensors say so
  check_layers(inside, 3, 1);
  inside.metadata.erase(key::kNextnPredictLayers);
  check_layers(inside, 3, 1);
  set_layers(inside, 4, {});
  check_layers(inside, 3, 1);
  set_layers(inside, 4, 0);
  check_layers(inside, 3, 1);
}

TEST_CASE("config: our files count MTP layers apart, older ones under the key of others") {
  TinyModel old(TinyShape::v3());
  old.metadata.set(key::kHearthRecipe, GgufValue::of_string("f32"));
  set_layers(old, 3, 1);
  check_layers(old, 3, 1);  // a copy that lost the appendix
  add_mtp_layer(old);
  check_layers(old, 3, 1);
  TinyModel ours(TinyShape::v3());
  ours.metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(1));
  check_layers(ours, 3, 1);
  add_mtp_layer(ours);
  check_layers(ours, 3, 1);
}

TEST_CASE("config: counts of layers that contradict each other are refused by name") {
  const auto refused = [](TinyModel& model) {
    const GgufFile file = model.file();
    return refusal(ErrorKind::model, [&] { read_config(file); });
  };
  TinyModel model(TinyShape::v3());
  set_layers(model, 3, 3);
  CHECK(mentions(refused(model), {"nextn_predict_layers", "less than", "block_count", "3"}));
  set_layers(model, 3, 1);  // the last layer is one like the others: it would be lost
  CHECK(mentions(refused(model), {"nextn_predict_layers", "layer 2", "MTP", "blk.2.nextn.eh_proj.weight"}));
  model.metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(1));
  CHECK(mentions(refused(model), {"hearth.mtp_layer_count", "nextn_predict_layers"}));
}

TEST_CASE("config: keys of the architecture that change the result are refused, neutral ones are not") {
  const auto key_of = [](const char* name) { return std::string("deepseek2.") + name; };
  for (const char* name :
       {"attention.temperature_scale", "rope.scaling.attn_factor", "logit_scale", "residual_scale", "embedding_scale",
        "attention.sliding_window", "attn_logit_softcapping", "attention.indexer.top_k", "expert_group_scale",
        "interleave_moe_layer_step", "rope.scaling.yarn_ext_factor", "something.new"}) {
    CAPTURE(name);
    CHECK(mentions(refused_after({}, set_f32(key_of(name).c_str(), 0.5f)), {name, "0.5", "may matter"}));
  }
  CHECK(mentions(refused_after({}, set_string("deepseek2.hidden_act", "gelu")), {"hidden_act", "gelu"}));
  CHECK(mentions(refused_after({}, set_u32("deepseek2.attention.causal", 0)), {"attention.causal"}));
  TinyModel model;
  for (const char* name : {"attention.temperature_scale", "logit_scale", "attention.sliding_window", "something.new"}) {
    model.metadata.set(key_of(name), GgufValue::of_f32(0));
  }
  for (const char* name : {"rope.scaling.attn_factor", "residual_scale", "attention.temperature_length"}) {
    model.metadata.set(key_of(name), GgufValue::of_f32(1));
  }
  model.metadata.set("deepseek2.rope.scaling.finetuned", GgufValue::of_bool(true));
  model.metadata.set("deepseek2.attention.causal", GgufValue::of_bool(true));
  model.metadata.set("deepseek2.hidden_act", GgufValue::of_string("silu"));
  model.metadata.set("deepseek2.swiglu_clamp_exp", GgufValue::of_f32s({0, 0}));
  model.metadata.set("llama.logit_scale", GgufValue::of_f32(0.5f));  // of another architecture
  CHECK(config_of(model).n_layers == 3);
}

TEST_CASE("config: the width of the shared experts agrees with their number") {
  TinyModel model;  // 2 of 32
  model.metadata.set(key::kExpertSharedFeedForwardLength, GgufValue::of_u32(64));
  CHECK(config_of(model).n_shared_experts == 2);
  CHECK(mentions(refused_after({}, set_u32(key::kExpertSharedFeedForwardLength, 32)),
                 {"expert_shared_feed_forward_length", "2 times 32", "32"}));
}

TEST_CASE("config: what is not supported or contradictory is refused with expected and found") {
  CHECK(mentions(refused_after({}, set_string(key::kArchitecture, "llama")), {"deepseek2", "llama"}));
  CHECK(mentions(refused_after({}, set_string(key::kRopeScalingType, "linear")),
                 {"rope.scaling.type", "yarn", "linear"}));
  CHECK(mentions(refused_after({},
                               [](GgufMetadata& m) {
                                 m.erase(key::kRopeScalingType);
                                 m.erase(key::kYarnLogMultiplier);
                               }),
                 {"rope.scaling.factor", "40"}));
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
