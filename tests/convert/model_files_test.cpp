// The small files of a checkpoint, made from a GGUF file: convert makes the same file from them again.
#include "convert/export/model_files.h"

#include <doctest/doctest.h>

#include "convert/export/config_json.h"
#include "convert/export/generation_json.h"
#include "convert/export/metadata_config.h"
#include "convert/generation_config.h"
#include "quant/gguf_keys.h"
#include "tests/convert/published_configs.h"
#include "tests/support/convert.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// What a file tells of the model: nothing of the weights' bytes, and no list too long to be shown.
std::vector<std::string> told(const GgufMetadata& metadata) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : metadata.entries()) {
    if (key == key::kHearthChecksums || key == key::kHearthChecksumNames || key == key::kHearthAppendix) continue;
    lines.push_back(key + " " + value.type_text() + " " + value.text(1 << 20));
  }
  return lines;
}

GgufMetadata model_metadata(const Json& config) {
  GgufMetadata metadata;
  metadata.source = "model.gguf";
  metadata.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
  const HfConfig parsed = parse_hf_config(config.dump(), "config.json");
  add_model_metadata(parsed, metadata);
  if (parsed.n_mtp_layers > 0)
    metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(uint32_t(parsed.n_mtp_layers)));
  if (parsed.bos_token_id) metadata.set(key::kBosTokenId, GgufValue::of_u32(uint32_t(*parsed.bos_token_id)));
  if (!parsed.eos_token_ids.empty())
    metadata.set(key::kEosTokenId, GgufValue::of_u32(uint32_t(parsed.eos_token_ids.front())));
  return metadata;
}

Json exported_config(const GgufMetadata& metadata, ExportFormat format = ExportFormat::kBf16,
                     const std::vector<std::string>& not_converted = {}) {
  return Json::parse(config_json(config_of_metadata(metadata), format, not_converted));
}

std::string config_refusal(GgufMetadata metadata, const char* key, std::optional<GgufValue> value) {
  value ? metadata.set(key, *value) : metadata.erase(key);
  return refusal([&] { config_of_metadata(metadata); });
}

const fs::path kGolden = source_dir() / "tests" / "golden" / "models";

}  // namespace

TEST_CASE("golden models and the demo, to a file, to small files, to the same file") {
  for (const fs::path& source : {kGolden / "lite", kGolden / "lite_plain", kGolden / "v2", kGolden / "v3",
                                 kGolden / "v3_plain", kGolden / "v3fp8", source_dir() / "demo" / "checkpoint"}) {
    CAPTURE(source);
    TempDir dir;
    convert(source, dir / "first.gguf", "bf16");
    const GgufFile first = GgufFile::open(dir / "first.gguf");
    const fs::path folder = dir / "checkpoint";
    fs::create_directory(folder);
    for (const auto& entry : fs::directory_iterator(source)) {
      const std::string name = entry.path().filename().string();
      if (name.find("safetensors") != std::string::npos) fs::create_symlink(entry.path(), folder / name);
    }
    const auto files = model_files(first.metadata(), ExportFormat::kBf16, {});
    CHECK(files.size() == 4);
    for (const ModelFile& file : files) write_text(folder / file.name, file.text);
    convert(folder, dir / "second.gguf", "bf16");
    CHECK(told(GgufFile::open(dir / "second.gguf").metadata()) == told(first.metadata()));
    // Not only the same to us: what the source's config.json says of these keys is what the written one says.
    const Json ours = Json::parse(files[0].text), theirs = Json::parse(read_text(source / "config.json"));
    int same = 0;
    for (const auto& [key, value] : ours.items()) {
      if (!theirs.contains(key) || key == "_name_or_path" || key == "torch_dtype") continue;
      CHECK_MESSAGE(value == theirs[key], key, ": ", value.dump(), " for ", theirs[key].dump());
      ++same;
    }
    CHECK(same >= 30);
    const Json sampling = Json::parse(files[1].text),
               published = Json::parse(read_text(source / "generation_config.json"));
    for (const auto& [key, value] : sampling.items()) CHECK_MESSAGE(value == published[key], key);
  }
}

TEST_CASE("config.json as published: V2-Lite, V2, V3") {
  const struct {
    Json json;
    std::vector<std::string> left_out;  // of training, or set by the form of the weights
  } published[] = {
      {published_lite(), {"aux_loss_alpha", "initializer_range", "pretraining_tp", "seq_aux"}},
      {published_v2(), {"aux_loss_alpha", "initializer_range", "pretraining_tp", "seq_aux"}},
      {published_v3(), {"aux_loss_alpha", "initializer_range", "pretraining_tp", "seq_aux", "quantization_config"}}};
  for (auto [json, left_out] : published) {
    for (const std::string& key : left_out) json.erase(key);
    CHECK(exported_config(model_metadata(json)) == json);
  }
}

TEST_CASE("numbers are the decimals that they were") {
  for (const char* patch : {R"({"rope_scaling": {"mscale": 1.0, "mscale_all_dim": 1.0}})",
                            R"({"rope_scaling": {"mscale": 0.1, "mscale_all_dim": 0.1, "factor": 2.5}})",
                            R"({"rope_scaling": {"mscale": 0.3, "mscale_all_dim": 0.3, "beta_fast": 31.7}})",
                            R"({"rms_norm_eps": 1e-5, "rope_theta": 500000.5, "routed_scaling_factor": 1.7})"}) {
    const Json json = merged(published_v2(), patch);
    const Json ours = exported_config(model_metadata(json));
    for (const char* key : {"rope_scaling", "rms_norm_eps", "rope_theta", "routed_scaling_factor"})
      CHECK_MESSAGE(ours[key] == json[key], ours[key].dump());
  }
  // A multiplier that no short mscale gives.
  GgufMetadata metadata = model_metadata(published_v2());
  metadata.set(key::kYarnLogMultiplier, GgufValue::of_f32(0.0707107f));
  GgufMetadata again;
  add_model_metadata(parse_hf_config(exported_config(metadata).dump(), "config.json"), again);
  CHECK(again.number(key::kYarnLogMultiplier) == metadata.number(key::kYarnLogMultiplier));
}

TEST_CASE("kinds of models: no groups, no shared experts, tied, without YaRN") {
  Json json =
      merged(published_v3(), R"({"n_group": 1, "topk_group": 1, "n_shared_experts": null, "rope_scaling": null})");
  json["rope_scaling"] = nullptr;
  json["n_shared_experts"] = nullptr;
  const Json ours = exported_config(model_metadata(json));
  CHECK(ours["topk_method"] == "noaux_tc");
  CHECK(ours["n_group"] == 1);
  CHECK(ours["n_shared_experts"].is_null());
  CHECK(ours["rope_scaling"].is_null());
  CHECK(ours["tie_word_embeddings"] == false);
  CHECK(ours["num_nextn_predict_layers"] == 1);
  CHECK(!exported_config(model_metadata(published_lite())).contains("num_nextn_predict_layers"));
}

TEST_CASE("layers for multi-token prediction as other programs count them") {
  GgufMetadata metadata = model_metadata(published_v3());
  metadata.erase(key::kHearthMtpLayerCount);
  metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  metadata.set(key::kBlockCount, GgufValue::of_u32(62));
  CHECK(exported_config(metadata)["num_hidden_layers"] == 61);
  CHECK(exported_config(metadata)["num_nextn_predict_layers"] == 1);
  metadata.set(key::kHearthVersion, GgufValue::of_string("0"));  // an older file of ours, which did not count them
  CHECK(exported_config(metadata)["num_hidden_layers"] == 62);
}

TEST_CASE("heads' widths from the keys of older files") {
  GgufMetadata metadata = model_metadata(published_lite());
  const auto width = [&](const char* key, uint32_t value) { metadata.set(key, GgufValue::of_u32(value)); };
  metadata.erase(key::kKeyLengthMla);
  metadata.erase(key::kValueLengthMla);
  CHECK(contains(refusal([&] { config_of_metadata(metadata); }),
                 "model.gguf: deepseek2.attention.key_length: 576 is the latent's width"));
  width(key::kKeyLength, 192);
  width(key::kValueLength, 128);
  CHECK(exported_config(metadata)["qk_nope_head_dim"] == 128);
  CHECK(exported_config(metadata)["v_head_dim"] == 128);
}

TEST_CASE("quantization_config of FP8 in blocks") {
  const Json config =
      exported_config(model_metadata(published_v3()), ExportFormat::kFp8, {"model.layers.0.mlp.down_proj", "lm_head"});
  const Json& how = config["quantization_config"];
  CHECK(how["quant_method"] == "fp8");
  CHECK(how["fmt"] == "e4m3");
  CHECK(how["activation_scheme"] == "dynamic");
  CHECK(how["weight_block_size"] == Json({128, 128}));
  const auto plain = how["modules_to_not_convert"].get<std::vector<std::string>>();
  CHECK(how["ignored_layers"] == how["modules_to_not_convert"]);
  CHECK(plain.size() == 61);  // the head, routers of layers 3 to 60 and of the MTP layer, the one named; none twice
  CHECK(plain.front() == "lm_head");
  CHECK(plain[1] == "model.layers.3.mlp.gate");
  CHECK(plain[59] == "model.layers.61.mlp.gate");
  CHECK(plain.back() == "model.layers.0.mlp.down_proj");
  const HfConfig read = parse_hf_config(config.dump(), "config.json");
  CHECK(read.quantization.method == QuantMethod::fp8);
  CHECK(read.scale_block.rows == 128);
}

TEST_CASE("quantization_config of packed integers") {
  const Json config =
      exported_config(model_metadata(published_lite()), ExportFormat::kInt4, {"model.layers.0.mlp.down_proj"});
  CHECK(config["quantization_config"] == Json::parse(R"re({
    "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
    "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null, "output_activations": null,
      "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128,
                  "dynamic": false, "actorder": null, "block_structure": null, "observer": "minmax",
                  "observer_kwargs": {}}}},
    "kv_cache_scheme": null, "ignore": ["lm_head", "re:.*mlp\\.gate$", "model.layers.0.mlp.down_proj"]})re"));
  const HfConfig read = parse_hf_config(config.dump(), "config.json");
  REQUIRE(read.quantization.schemes.size() == 1);
  CHECK(read.quantization.schemes[0].text() == "4 bits, groups of 128");
}

TEST_CASE("a checkpoint's own config.json keeps all but how weights are quantized") {
  const std::string config = published_v3().dump();
  const std::string begin = R"({"zeta": [1, {"b": 1e-06, "a": "é"}], )";
  const std::string text = begin + config.substr(1);
  const auto keys = [](const std::string& json) {
    std::vector<std::string> names;
    const auto object = nlohmann::ordered_json::parse(json);
    for (const auto& [name, value] : object.items()) names.push_back(name);
    return names;
  };
  const auto made = [&](ExportFormat format) { return requantized_config_json(text, "config.json", format, {"x"}); };
  const auto plain = nlohmann::ordered_json::parse(made(ExportFormat::kBf16));
  CHECK(!plain.contains("quantization_config"));
  CHECK(plain["zeta"].dump() == R"([1,{"b":1e-06,"a":"é"}])");
  CHECK(plain["rope_scaling"] == nlohmann::ordered_json::parse(text)["rope_scaling"]);
  CHECK(keys(made(ExportFormat::kInt4)) == keys(text));
  CHECK(plain.size() + 1 == keys(text).size());
  CHECK(Json::parse(made(ExportFormat::kInt4))["quantization_config"]["ignore"].back() == "x");
  CHECK(Json::parse(made(ExportFormat::kFp8))["quantization_config"]["ignored_layers"].size() == 61);
  const auto refused = [](const std::string& json) {
    return refusal([&] { requantized_config_json(json, "config.json", ExportFormat::kFp8, {}); });
  };
  CHECK(contains(refused("{"), "config.json: not valid JSON"));
  CHECK(contains(refused("[]"), "config.json: expected a JSON object, found array"));
  CHECK(contains(refused(R"({"model_type": "llama"})"), "model_type llama is not supported"));
}

TEST_CASE("generation_config.json: greedy, several ends, nothing") {
  GgufMetadata metadata;
  CHECK(!generation_config_json(metadata));
  metadata.set(key::kBosTokenId, GgufValue::of_u32(5));
  metadata.set(key::kEosTokenId, GgufValue::of_u32(6));
  CHECK(Json::parse(*generation_config_json(metadata)) == Json::parse(R"({"bos_token_id": 5, "eos_token_id": 6})"));
  metadata.set(key::kEotTokenId, GgufValue::of_u32(7));
  metadata.set(key::kEomTokenId, GgufValue::of_u32(6));
  metadata.set(key::kSamplingTemp, GgufValue::of_f32(0));
  metadata.set(key::kSamplingTopK, GgufValue::of_i32(40));
  metadata.set(key::kSamplingMinP, GgufValue::of_f32(0.05f));
  metadata.set(key::kSamplingPenaltyRepeat, GgufValue::of_f32(1.1f));
  const Json json = Json::parse(*generation_config_json(metadata));
  CHECK(json == Json::parse(R"({"bos_token_id": 5, "eos_token_id": [6, 7], "do_sample": false, "temperature": 0.0,
                                "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1})"));
  GgufMetadata again;
  add_sampling_metadata(parse_generation_config(json.dump(), "generation_config.json", 10), again);
  for (const auto& [key, value] : again.entries()) CHECK(metadata.find(key)->data == value.data);
  CHECK(again.entries().size() == 4);
}

TEST_CASE("refusals name file and key") {
  const GgufMetadata good = model_metadata(published_v3());
  const auto u32 = [](uint32_t value) { return GgufValue::of_u32(value); };
  const struct {
    const char* key;
    std::optional<GgufValue> value;
    const char* why;
  } cases[] = {
      {key::kArchitecture, GgufValue::of_string("llama"), "general.architecture: expected deepseek2, found llama"},
      {key::kArchitecture, std::nullopt, "general.architecture: expected deepseek2, found no such key"},
      {key::kVocabSize, std::nullopt, "deepseek2.vocab_size: expected a whole number, the key is missing"},
      {key::kExpertGroupCount, std::nullopt,
       "deepseek2.expert_group_count: expected a whole number, the key is missing"},
      {key::kExpertGroupCount, u32(7), "expected a divisor of the 256 experts, found 7"},
      {key::kBlockCount, u32(0), "deepseek2.block_count: expected 1 to 10000, found 0"},
      {key::kBlockCount, u32(2), "deepseek2.leading_dense_block_count: expected 0 to 2, found 3"},
      {key::kKeyLengthMla, u32(64), "key_length_mla: expected more than the 64 rope dimensions, found 64"},
      {key::kExpertGatingFunc, u32(3), "expert_gating_func: expected 1 to 2, found 3"},
      {key::kRopeScalingType, GgufValue::of_string("linear"), "rope.scaling.type: expected yarn or none, found linear"},
      {key::kYarnLogMultiplier, std::nullopt, "yarn_log_multiplier: expected a number, the key is missing"},
      {key::kRmsEpsilon, GgufValue::of_f32(0), "layer_norm_rms_epsilon: expected more than 0, found 0"},
      {key::kRopeFreqBase, GgufValue::of_f32(NAN), "rope.freq_base: expected more than 0, found nan"},
      {key::kEosTokenId, u32(129280), "eos_token_id: expected 0 to 129279, found 129280"},
      {key::kBlockCount, GgufValue::of_string("61"), "deepseek2.block_count"},
  };
  CHECK(refusal([&] { config_of_metadata(good); }) == "");
  for (const auto& [key, value, why] : cases) {
    const std::string message = config_refusal(good, key, value);
    CHECK_MESSAGE((contains(message, "model.gguf: ") && contains(message, why)), key, ": ", message);
  }
  CHECK(contains(refusal([&] { model_files(good, ExportFormat::kBf16, {}); }),
                 "model.gguf: has no tokenizer (tokenizer.ggml.model is missing)"));
}
