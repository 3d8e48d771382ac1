#include "convert/hf_config.h"

#include <doctest/doctest.h>

#include "tests/convert/published_configs.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

HfConfig parse(const Json& json) {
  return parse_hf_config(json.dump(), "config.json");
}

GgufMetadata metadata_of(const Json& json) {
  GgufMetadata metadata;
  add_model_metadata(parse(json), metadata);
  return metadata;
}

void check_refused(const Json& base, const char* patch, std::string_view why) {
  CAPTURE(patch);
  const std::string message = refusal([&] { parse(merged(base, patch)); });
  CAPTURE(message);
  CHECK(contains(message, "config.json: "));
  CHECK(contains(message, why));
}

}  // namespace

TEST_CASE("V2-Lite's keys") {
  const GgufMetadata m = metadata_of(published_lite());
  CHECK(m.unsigned_integer(key::kBlockCount) == 27);
  CHECK(m.unsigned_integer(key::kContextLength) == 163840);
  CHECK(m.unsigned_integer(key::kEmbeddingLength) == 2048);
  CHECK(m.unsigned_integer(key::kFeedForwardLength) == 10944);
  CHECK(m.unsigned_integer(key::kHeadCount) == 16);
  CHECK(m.unsigned_integer(key::kHeadCountKv) == 1);
  CHECK(m.unsigned_integer(key::kQLoraRank) == 0);  // as good as absent
  CHECK(m.unsigned_integer(key::kKvLoraRank) == 512);
  CHECK(m.unsigned_integer(key::kKeyLength) == 576);
  CHECK(m.unsigned_integer(key::kValueLength) == 512);
  CHECK(m.unsigned_integer(key::kKeyLengthMla) == 192);
  CHECK(m.unsigned_integer(key::kValueLengthMla) == 128);
  CHECK(*m.number(key::kRmsEpsilon) == doctest::Approx(1e-6));
  CHECK(m.unsigned_integer(key::kRopeDimensionCount) == 64);
  CHECK(m.number(key::kRopeFreqBase) == 10000);
  CHECK(m.string(key::kRopeScalingType) == "yarn");
  CHECK(m.number(key::kRopeScalingFactor) == 40);
  CHECK(m.unsigned_integer(key::kRopeScalingOriginalContext) == 4096);
  CHECK(*m.number(key::kYarnLogMultiplier) == doctest::Approx(0.0707));
  CHECK(m.number(key::kYarnBetaFast) == 32);
  CHECK(m.number(key::kYarnBetaSlow) == 1);
  CHECK(m.unsigned_integer(key::kLeadingDenseBlockCount) == 1);
  CHECK(m.unsigned_integer(key::kExpertCount) == 64);
  CHECK(m.unsigned_integer(key::kExpertUsedCount) == 6);
  CHECK(m.unsigned_integer(key::kExpertSharedCount) == 2);
  CHECK(m.unsigned_integer(key::kExpertFeedForwardLength) == 1408);
  CHECK(m.unsigned_integer(key::kExpertGroupCount) == 1);
  CHECK(m.unsigned_integer(key::kExpertGroupUsedCount) == 1);
  CHECK(m.number(key::kExpertWeightsScale) == 1);
  CHECK(m.find(key::kExpertWeightsNorm) == nullptr);
  CHECK(m.unsigned_integer(key::kExpertGatingFunc) == 1);
  CHECK(m.unsigned_integer(key::kVocabSize) == 102400);
}

TEST_CASE("V2's and V3's keys where they differ") {
  const GgufMetadata v2 = metadata_of(published_v2());
  CHECK(v2.unsigned_integer(key::kQLoraRank) == 1536);
  CHECK(v2.unsigned_integer(key::kExpertGroupCount) == 8);
  CHECK(v2.unsigned_integer(key::kExpertGroupUsedCount) == 3);
  CHECK(v2.number(key::kExpertWeightsScale) == 16);
  CHECK(v2.unsigned_integer(key::kExpertGatingFunc) == 1);

  const GgufMetadata v3 = metadata_of(published_v3());
  CHECK(v3.unsigned_integer(key::kBlockCount) == 61);  // without the MTP layer
  CHECK(v3.unsigned_integer(key::kLeadingDenseBlockCount) == 3);
  CHECK(v3.unsigned_integer(key::kExpertGroupCount) == 8);
  CHECK(v3.unsigned_integer(key::kExpertGroupUsedCount) == 4);
  CHECK(v3.unsigned_integer(key::kExpertGatingFunc) == 2);
  CHECK(v3.boolean(key::kExpertWeightsNorm) == true);
  CHECK(*v3.number(key::kYarnLogMultiplier) == doctest::Approx(0.1));

  const HfConfig config = parse(published_v3());
  CHECK(config.selection_bias);
  CHECK(config.n_mtp_layers == 1);
  CHECK(config.notes.empty());
}

TEST_CASE("without YaRN there are no scaling keys") {
  const GgufMetadata m = metadata_of(merged(published_lite(), R"({"rope_scaling": null})"));
  CHECK(m.find(key::kRopeScalingType) == nullptr);
  CHECK(m.find(key::kYarnLogMultiplier) == nullptr);
}

TEST_CASE("transformers 5 writes rope_parameters, and leaves routing to the class") {
  Json json = published_v3();
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_theta"] = 50000;
  json["rope_parameters"]["rope_type"] = "yarn";
  for (const char* key : {"rope_scaling", "rope_theta", "topk_method", "scoring_func"}) json.erase(key);
  const HfConfig config = parse(json);
  CHECK(config.rope_theta == 50000);
  CHECK(config.yarn->factor == 40);
  CHECK(config.gating == GatingFunc::sigmoid);
  CHECK(config.selection_bias);

  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  CHECK(!parse(json).yarn);
}

TEST_CASE("groups that change nothing are written as one group") {
  const HfConfig greedy = parse(merged(published_v2(), R"({"topk_method": "greedy"})"));
  CHECK(greedy.n_expert_groups == 1);
  CHECK(greedy.n_limited_groups == 1);
  REQUIRE(greedy.notes.size() == 1);
  CHECK(contains(greedy.notes[0], "greedy ignores n_group 8"));

  const HfConfig all = parse(merged(published_v2(), R"({"topk_group": 8})"));
  CHECK(all.n_expert_groups == 1);
  REQUIRE(all.notes.size() == 1);
  CHECK(contains(all.notes[0], "keeps every group"));
}

TEST_CASE("normalised softmax weights, where nothing else scales them") {
  CHECK(metadata_of(merged(published_lite(), R"({"norm_topk_prob": true})")).boolean(key::kExpertWeightsNorm) == true);
  check_refused(published_v2(), R"({"norm_topk_prob": true})", "norm_topk_prob with a routed_scaling_factor of 16");
}

TEST_CASE("models of another kind") {
  check_refused(published_lite(), R"({"model_type": "llama"})",
                "model_type llama is not supported; hearth converts Deepseek");
  check_refused(published_lite(), R"({"model_type": null})", "model_type is missing");
  check_refused(published_lite(), R"({"model_type": 3})", "model_type: expected a string, found 3");
  check_refused(published_lite(), R"({"architectures": ["DeepseekV32ForCausalLM"]})", "DeepseekV32ForCausalLM");
  check_refused(published_lite(), R"({"architectures": ["DeepseekV3ForCausalLM"]})", "of deepseek_v2 is not supported");
  check_refused(published_lite(), R"({"architectures": "LlamaForCausalLM"})", "LlamaForCausalLM");
}

TEST_CASE("fields that we or GGUF cannot express") {
  const Json lite = published_lite(), v2 = published_v2(), v3 = published_v3();
  check_refused(lite, R"({"moe_layer_freq": 2})", "moe_layer_freq: expected 1, found 2");
  check_refused(lite, R"({"attention_bias": true})", "attention_bias true is not supported");
  check_refused(lite, R"({"mlp_bias": true})", "mlp_bias true is not supported");
  check_refused(lite, R"({"hidden_act": "gelu"})", "hidden_act: expected silu, found gelu");
  check_refused(v3, R"({"rope_interleave": false})", "rope_interleave false");
  check_refused(lite, R"({"num_key_value_heads": 2})", "num_key_value_heads: expected 16");
  check_refused(lite, R"({"topk_method": "noaux_tc"})", "topk_method noaux_tc with scoring_func softmax");
  check_refused(v3, R"({"topk_method": "greedy"})", "topk_method greedy with scoring_func sigmoid");
  check_refused(v3, R"({"topk_method": "best"})", "topk_method best");
  check_refused(lite, R"({"rope_scaling": {"type": "linear"}})", "rope scaling of type linear");
  check_refused(lite, R"({"rope_scaling": {"mscale": 1.0}})",
                "expected mscale = mscale_all_dim > 0, found 1 and 0.707");
  check_refused(lite, R"({"rope_scaling": {"mscale": null, "mscale_all_dim": null}})", "found 1 and 0 (absent)");
  check_refused(lite, R"({"rope_scaling": {"mscale": 0, "mscale_all_dim": 0}})", "found 0 and 0");
  check_refused(lite, R"({"rope_scaling": {"truncate": false}})", "truncate false");
  check_refused(lite, R"({"rope_scaling": {"attention_factor": 1.2}})", "attention_factor");
  check_refused(lite, R"({"rope_scaling": {"factor": 0.5}})", "factor: expected 1 or more, found 0.5");
  check_refused(lite, R"({"rope_scaling": {"beta_fast": 0.5}})", "expected beta_fast > beta_slow > 0");
  check_refused(lite, R"({"rope_scaling": {"original_max_position_embeddings": null}})",
                "rope_scaling.original_max_position_embeddings: expected a whole number");
  check_refused(lite, R"({"rope_parameters": {"rope_theta": 10000}})", "both rope_parameters and rope_scaling");
  check_refused(lite, R"({"rope_scaling": {"type": null}})", "with a factor and without a type");
  check_refused(lite, R"({"rope_scaling": {"llama_4_scaling_beta": 0.1}})",
                "llama_4_scaling_beta 0.1 is not supported");
  check_refused(v3, R"({"quantization_config": {"quant_method": "bitsandbytes"}})", "quantized with bitsandbytes");
  check_refused(v3, R"({"quantization_config": {"weight_block_size": 128}})", "expected rows and columns, found 128");
  check_refused(v3, R"({"quantization_config": {"weight_block_size": [0, 128]}})", "expected rows and columns");
  check_refused(lite, R"({"quantization": {"group_size": 64, "bits": 4}})", "quantized by MLX");
  check_refused(lite, R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized",
                          "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float"}}}}})",
                "expected symmetric ones of 8 bits, found 4 bits");
  check_refused(v3, R"({"quantization_config": {"fmt": "e5m2"}})", "fmt: expected e4m3, found e5m2");
}

TEST_CASE("fields that are missing, of another type, or contradict each other") {
  const Json lite = published_lite(), v2 = published_v2(), v3 = published_v3();
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
                          "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts",
                          "num_experts_per_tok", "moe_intermediate_size"}) {
    CAPTURE(key);
    check_refused(lite, fmt::format(R"({{"{}": null}})", key).c_str(), fmt::format("{}: expected a whole number", key));
    check_refused(lite, fmt::format(R"({{"{}": "8"}})", key).c_str(), fmt::format("{}: expected a whole number", key));
    check_refused(lite, fmt::format(R"({{"{}": -1}})", key).c_str(), "found -1");
    check_refused(lite, fmt::format(R"({{"{}": 1.5}})", key).c_str(), "found 1.5");
    check_refused(lite, fmt::format(R"({{"{}": 1e300}})", key).c_str(), "found 1e+300");
    check_refused(lite, fmt::format(R"({{"{}": 9223372036854775808}})", key).c_str(), "found 9223372036854775808");
  }
  check_refused(lite, R"({"rms_norm_eps": 0})", "rms_norm_eps: expected more than 0");
  check_refused(lite, R"({"rope_theta": 0})", "rope_theta: expected more than 1");
  check_refused(lite, R"({"routed_scaling_factor": 0})", "routed_scaling_factor");
  check_refused(lite, R"({"tie_word_embeddings": "yes"})",
                "tie_word_embeddings: expected true or false, found \"yes\"");
  check_refused(lite, R"({"rope_scaling": [1]})", "rope_scaling: expected an object, found [1]");
  check_refused(lite, R"({"qk_rope_head_dim": 63})", "qk_rope_head_dim: expected an even number");
  check_refused(lite, R"({"num_experts_per_tok": 65})",
                "num_experts_per_tok: expected at most n_routed_experts (64), found 65");
  check_refused(lite, R"({"first_k_dense_replace": 28})", "first_k_dense_replace: expected a whole number of 0 to 27");
  check_refused(v2, R"({"n_group": 7})", "n_group: expected a divisor of n_routed_experts (160), found 7");
  check_refused(v2, R"({"topk_group": 9})", "topk_group: expected at most n_group (8), found 9");
  check_refused(v2, R"({"n_group": 160, "topk_group": 3})", "num_experts_per_tok: expected at most 3");
  check_refused(v3, R"({"n_group": 256, "topk_group": 100})", "noaux_tc ranks groups by their two best experts");
  check_refused(v2, R"({"n_group": null})", "n_group: expected a whole number");
  check_refused(v2, R"({"topk_group": null})", "topk_group: expected a whole number");
  check_refused(lite, R"({"num_attention_heads": 16777216, "num_key_value_heads": 16777216})", "which no model is");
}

TEST_CASE("an absent key takes its class's own default, and that is said") {
  Json json = published_v3();
  for (const char* key : {"norm_topk_prob", "routed_scaling_factor", "n_group", "topk_group", "num_experts_per_tok",
                          "rope_theta", "rms_norm_eps", "max_position_embeddings"}) {
    json.erase(key);
  }
  const HfConfig v3 = parse(json);
  CHECK(v3.norm_topk_prob);
  CHECK(v3.route_scale == 2.5);
  CHECK(v3.n_expert_groups == 8);
  CHECK(v3.n_limited_groups == 4);
  CHECK(v3.n_activated_experts == 8);
  CHECK(v3.rope_theta == 10000);
  CHECK(v3.norm_eps == 1e-6);
  CHECK(v3.max_context == 4096);
  REQUIRE(v3.notes.size() == 1);
  for (const char* said : {"leaves out 8 keys", "DeepseekV3Config", "norm_topk_prob true", "routed_scaling_factor 2.5",
                           "n_group 8", "topk_group 4", "rope_theta 10000"}) {
    CHECK_MESSAGE(contains(v3.notes[0], said), v3.notes[0]);
  }

  json = published_lite();
  for (const char* key : {"norm_topk_prob", "routed_scaling_factor", "topk_method"}) json.erase(key);
  const HfConfig v2 = parse(json);
  CHECK(!v2.norm_topk_prob);
  CHECK(v2.route_scale == 1);
  REQUIRE(v2.notes.size() == 1);
  CHECK(contains(v2.notes[0], "DeepseekV2Config"));
  CHECK(contains(v2.notes[0], "topk_method greedy"));

  CHECK(parse(published_v3()).notes.empty());
  json = published_v3();
  json["norm_topk_prob"] = nullptr;  // false to one program, absent to another
  CHECK(contains(refusal([&] { parse(json); }), "norm_topk_prob: expected a value, found null"));
}

TEST_CASE("sizes that are absent are asked of the tensors, null is none") {
  Json json = published_v3();
  json["q_lora_rank"] = nullptr;
  json["n_shared_experts"] = nullptr;
  CHECK(parse(json).q_lora_rank == 0);
  CHECK(parse(json).n_shared_experts == 0);
  json.erase("q_lora_rank");
  json.erase("n_shared_experts");
  json.erase("first_k_dense_replace");
  CHECK(parse(json).n_dense_layers == HfConfig::kAskTensors);
  CHECK(parse(json).q_lora_rank == HfConfig::kAskTensors);
  CHECK(parse(json).n_shared_experts == HfConfig::kAskTensors);
  json["n_shared_experts"] = 0;
  CHECK(parse(json).n_shared_experts == 0);
}

TEST_CASE("keys that change the forward in ways unknown here are refused by name") {
  for (const char* patch :
       {R"({"sliding_window": 4096})", R"({"attn_logit_softcapping": 30.0})", R"({"final_logit_softcapping": 30.0})",
        R"({"index_topk": 2048})", R"({"logit_scale": 0.5})", R"({"embedding_multiplier": 12.0})",
        R"({"partial_rotary_factor": 0.5})", R"({"attention_factor": 1.2})", R"({"attention_multiplier": 0.01})",
        R"({"llama_4_scaling": {"beta": 0.1}})", R"({"use_qk_norm": true})", R"({"residual_multiplier": 0.22})",
        R"({"swiglu_limit": 7.0})", R"({"attn_temperature_tuning": true})", R"({"use_mla": false})",
        R"({"layer_types": ["full_attention", "linear_attention"]})", R"({"hc_mult": 4})"}) {
    const Json change = Json::parse(patch);
    check_refused(published_v3(), patch, change.begin().key() + " ");
  }
  for (const char* patch :
       {R"({"sliding_window": null})", R"({"logit_scale": 1.0})", R"({"use_qk_norm": false})", R"({"use_mla": true})",
        R"({"partial_rotary_factor": 1.0})", R"({"temperature": 0.7})", R"({"unsloth_version": "2026.1"})",
        R"({"sliding_window": 4096, "use_sliding_window": false})", R"({"head_dim": 64, "qk_head_dim": 192})"}) {
    CAPTURE(patch);
    CHECK(parse(merged(published_v3(), patch)).notes.empty());
  }
  const HfConfig odd = parse(merged(published_v3(), R"({"my_own_word": 3})"));
  REQUIRE(odd.notes.size() == 1);
  CHECK(contains(odd.notes[0], "keys of config.json that are not known here and not used: my_own_word"));
}

TEST_CASE("odd values of keys that nobody asks for stop nothing") {
  std::string text =
      merged(published_v3(), R"({"pad_token_id": -1, "initializer_range": 7, "note": "\"NaN\" \\\\"})").dump();
  text.replace(text.find("\"initializer_range\":7") + 20, 1, "NaN");
  text.insert(1, "\"attention_dropout\":-Infinity,\"aux_loss_alpha\":Infinity,");
  const HfConfig c = parse_hf_config(text, "config.json");
  CHECK(!c.pad_token_id);
  CHECK(std::any_of(c.notes.begin(), c.notes.end(),
                    [](auto& note) { return contains(note, "pad_token_id -1 of config.json is no token"); }));
  CHECK(
      contains(refusal([&] { parse_hf_config(R"({"model_type": "deepseek_v3", "vocab_size": NaN})", "config.json"); }),
               "vocab_size: expected a whole number of 1 to 16777216, found \"NaN\""));
}

TEST_CASE("several ends, and tokens beyond the vocabulary") {
  const HfConfig c = parse(merged(published_v3(), R"({"eos_token_id": [1, 128804, 999999], "bos_token_id": 129280})"));
  CHECK(c.eos_token_ids == std::vector<int64_t>{1, 128804});
  CHECK(!c.bos_token_id);
  CHECK(c.notes.size() == 2);
}

TEST_CASE("rope_parameters beside an equal rope_scaling") {
  Json json = published_lite();
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_type"] = "yarn";
  json["rope_parameters"].erase("type");
  json["rope_parameters"]["rope_theta"] = 10000;
  json["rope_parameters"]["attention_factor"] = nullptr;
  CHECK(parse(json).yarn.has_value());
  json["rope_parameters"]["factor"] = 20;
  CHECK(contains(refusal([&] { parse(json); }),
                 "both rope_parameters and rope_scaling, and their factor differ: 20 and 40"));
  json["rope_parameters"]["factor"] = 40;
  json["rope_parameters"]["rope_theta"] = 50000;
  CHECK(contains(refusal([&] { parse(json); }), "rope_theta: found both 10000 and 50000"));
}

TEST_CASE("FP8 in the words of others") {
  const HfConfig tensor = parse(
      merged(published_v2(), R"({"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}})"));
  CHECK(tensor.scale_block.rows == 128);
  const HfConfig blocks = parse(merged(published_v3(), R"({"quantization_config": {"weight_block_size": [64, 32]}})"));
  CHECK(blocks.scale_block.rows == 64);
  CHECK(blocks.scale_block.cols == 32);
  const HfConfig compressed =
      parse(merged(published_v2(),
                   R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized",
          "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float",
          "symmetric": true, "strategy": "block", "block_structure": [128, 64]}}}, "ignore": ["lm_head"]}})"));
  CHECK(compressed.scale_block.cols == 64);
}

TEST_CASE("text that is no configuration") {
  const auto refused = [](std::string_view text) { return refusal([&] { parse_hf_config(text, "config.json"); }); };
  CHECK(contains(refused(""), "config.json: not valid JSON"));
  CHECK(contains(refused("{\"model_type\": \"deepseek_v2\""), "not valid JSON"));
  CHECK(contains(refused("[1, 2]"), "expected a JSON object, found array"));
  CHECK(contains(refused("{}"), "model_type is missing"));
  const TempDir dir;
  CHECK(contains(refusal([&] { read_hf_config(dir / "config.json"); }), "cannot open"));
}
