#include "runtime/eval/inspect_json.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/quant/gguf_bytes.h"
#include "tests/quant/split_parts.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Json = nlohmann::ordered_json;

// What a document must be like. A string names a type, "?" before it allows null; an array has elements like its first;
// an object has these members, in this order, and no others, unless its only one is "*": then any, all like that.
const Json& schema() {
  static const Json is = Json::parse(R"({
    "file": {"path": "string", "bytes": "number", "n_tensors": "number", "tensor_bytes": "number",
             "bits_per_weight": "number", "parts": [{"path": "string", "bytes": "number", "n_tensors": "number"}]},
    "runs_here": "boolean",
    "why_not": "?string",
    "parameters": {"n": "number", "n_active": "number"},
    "model": {"name": "string", "n_layers": "number", "n_dense_layers": "number", "n_mtp_layers": "number",
              "dim": "number", "n_heads": "number", "vocab_size": "number", "context_length": "number",
              "q_lora_rank": "number", "kv_lora_rank": "number", "qk_nope_head_dim": "number",
              "qk_rope_head_dim": "number", "v_head_dim": "number", "inter_dim": "number", "moe_inter_dim": "number",
              "n_routed_experts": "number", "n_activated_experts": "number", "n_shared_experts": "number",
              "routing": {"score": "string", "n_groups": "number", "n_limited_groups": "number",
                          "group_score": "string", "normalize": "boolean", "scale": "number"},
              "norm_eps": "number", "rope_theta": "number",
              "yarn": {"factor": "number", "original_context": "number", "beta_fast": "number", "beta_slow": "number",
                       "log_multiplier": "number"},
              "layout": "string", "notes": ["string"]},
    "quantization": [{"role": "string", "format": "string", "n_tensors": "number", "n_parameters": "number",
                      "bytes": "number", "bits_per_weight": "number"}],
    "vocabulary": [{"name": "string", "value": "string"}],
    "origin": [{"name": "string", "value": "string"}],
    "metadata": {"*": {"type": "string", "value": "any"}},
    "tensors": [{"name": "string", "role": "string", "layer": "?number", "format": "string", "type": "number",
                 "shape": ["number"], "part": "?number", "offset": "?number", "bytes": "number"}]
  })");
  return is;
}

// Where `value` is not as `expected` says, one line each.
void compare(const Json& value, const Json& expected, const std::string& at, std::vector<std::string>& wrong) {
  if (expected.is_string()) {
    std::string type = expected;
    const bool optional = type.starts_with("?");
    if (optional) type.erase(0, 1);
    if (type != "any" && value.type_name() != type && !(optional && value.is_null()))
      wrong.push_back(at + ": expected " + type + ", found " + value.type_name());
  } else if (value.type() != expected.type()) {
    wrong.push_back(at + ": expected " + expected.type_name() + ", found " + value.type_name());
  } else if (expected.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) compare(value[i], expected[0], fmt::format("{}/{}", at, i), wrong);
  } else if (expected.contains("*")) {
    for (const auto& [key, member] : value.items()) compare(member, expected["*"], at + "/" + key, wrong);
  } else {
    std::vector<std::string> found, wanted;
    for (const auto& [key, member] : value.items()) found.push_back(key);
    for (const auto& [key, member] : expected.items()) wanted.push_back(key);
    if (found != wanted)
      return wrong.push_back(
          fmt::format("{}: expected {}, found {}", at, fmt::join(wanted, " "), fmt::join(found, " ")));
    for (const auto& [key, member] : expected.items()) compare(value[key], member, at + "/" + key, wrong);
  }
}

std::vector<std::string> against_schema(const Json& document, const Json& expected = schema()) {
  std::vector<std::string> wrong;
  compare(document, expected, "", wrong);
  return wrong;
}

Json document_of(const GgufFile& file) {
  return Json::parse(inspect_json(file, inspect(file)));
}

const std::vector<std::string> kNothing;

}  // namespace

TEST_CASE("inspect --json: what is in a file, all of it") {
  TinyModel tiny(TinyShape::v2());
  const GgufMetadata vocabulary = SmallVocabulary().metadata();
  for (const auto& [key, value] : vocabulary.entries()) tiny.metadata.set(key, value);
  for (TinyTensor& t : tiny.tensors)
    if (t.name.find("_exps.") != std::string::npos) t.format = FormatId::q8_0;
  const GgufFile file = tiny.file();
  const Json document = document_of(file);
  CHECK(against_schema(document) == kNothing);
  CHECK(document["runs_here"] == true);
  CHECK(document["why_not"] == nullptr);
  CHECK(document["file"]["path"] == file.path());
  CHECK(document["file"]["bytes"] == std::filesystem::file_size(file.path()));
  CHECK(document["file"]["parts"].size() == 1);
  CHECK(document["model"]["layout"] == "split");
  CHECK(document["model"]["kv_lora_rank"] == 32);
  CHECK(document["model"]["routing"]["scale"] == 4.0);
  CHECK(document["model"]["yarn"]["log_multiplier"] == 0.0707);  // as people write it, not as the float32 is
  CHECK(document["metadata"]["deepseek2.rope.scaling.yarn_log_multiplier"]["value"] == 0.0707);
  CHECK(document["metadata"]["deepseek2.block_count"] == Json({{"type", "u32"}, {"value", 3}}));
  CHECK(document["metadata"]["tokenizer.ggml.tokens"]["type"] == "array of string");
  CHECK(document["metadata"]["tokenizer.ggml.tokens"]["value"] == Json(*vocabulary.strings(key::kTokens)));
  CHECK(document["metadata"].size() == file.metadata().entries().size());

  // Tensors are where they are said to be, and add up to what is said of their kind.
  const std::string text = read_text(file.path());
  REQUIRE(document["tensors"].size() == file.tensors().size());
  std::map<std::string, uint64_t> bytes;
  const auto kind_of = [](const Json& j) {
    return j["role"].get<std::string>() + " " + j["format"].get<std::string>();
  };
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const Json& t = document["tensors"][i];
    const Tensor& tensor = file.tensors()[i];
    CHECK(t["name"] == tensor.name);
    CHECK(t["type"] == uint32_t(tensor.format->id));
    CHECK(t["shape"].size() == size_t(tensor.shape.rank));
    CHECK(t["shape"].back() == tensor.shape.cols());
    CHECK(t["part"] == 0);
    REQUIRE(t["offset"].get<size_t>() + tensor.bytes() <= text.size());
    CHECK(std::memcmp(text.data() + t["offset"].get<size_t>(), tensor.data, tensor.bytes()) == 0);
    bytes[kind_of(t)] += t["bytes"].get<uint64_t>();
  }
  CHECK(document["quantization"].size() == bytes.size());
  for (const Json& group : document["quantization"]) CHECK(group["bytes"] == bytes[kind_of(group)]);
}

TEST_CASE("inspect --json: each part of a split file, and which tensor is in it") {
  TinyModel tiny;
  tiny.make_old_layout();
  const TempDir dir;
  const GgufFile file = GgufFile::open(split_one_by_one(tiny.file(), dir.path()));
  const Json document = document_of(file);
  CHECK(against_schema(document) == kNothing);
  CHECK(document["model"]["layout"] == "unsplit");
  const Json& parts = document["file"]["parts"];
  REQUIRE(parts.size() == file.tensors().size() + 1);
  CHECK(parts[0]["n_tensors"] == 0);
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const Json& t = document["tensors"][i];
    CHECK(t["part"] == i + 1);
    CHECK(parts[i + 1]["n_tensors"] == 1);
    CHECK(t["offset"].get<uint64_t>() + t["bytes"].get<uint64_t>() == parts[i + 1]["bytes"].get<uint64_t>());
  }
}

TEST_CASE("inspect --json: what is no model here, and text and numbers that JSON does not have") {
  TinyModel tiny;
  tiny.metadata.set(key::kArchitecture, GgufValue::of_string("llama"));
  tiny.metadata.set("odd.text", GgufValue::of_string("\xff\"\n"));
  tiny.metadata.set("odd.numbers", GgufValue::of_f32s({NAN, INFINITY, 0.1f}));
  tiny.metadata.set("odd.large", GgufValue::of_u64(~0ull));
  const Json document = document_of(tiny.file());
  Json expected = schema();
  expected["model"] = "null";
  CHECK(against_schema(document, expected) == kNothing);
  CHECK(document["runs_here"] == false);
  CHECK(document["why_not"].get<std::string>().find("llama") != std::string::npos);
  CHECK(document["metadata"]["odd.text"]["value"] == "\uFFFD\"\n");
  CHECK(document["metadata"]["odd.numbers"]["value"] == Json({nullptr, nullptr, 0.1}));
  CHECK(document["metadata"]["odd.large"]["value"] == ~0ull);

  // Of a file that is still to be written there are no places.
  const TinyModel planned;
  std::vector<GgufTensorPlan> plans;
  for (const TinyTensor& t : planned.tensors) plans.push_back({t.name, &format_of(t.format), t.shape});
  const Json plan = document_of(GgufFile::planned("x.gguf", planned.metadata, plans));
  CHECK(against_schema(plan) == kNothing);
  CHECK(plan["tensors"][0]["part"] == nullptr);
  CHECK(plan["tensors"][0]["offset"] == nullptr);
  CHECK(plan["file"]["parts"].empty());
}

TEST_CASE("inspect --json: a vocabulary is one line, and so is a tensor") {
  const GgufFile file = TinyModel().file();
  const std::string text = inspect_json(file, inspect(file));
  CHECK(text.find("\n  {\"name\":\"blk.0.attn_norm.weight\",\"role\":\"norms\",\"layer\":0,") != std::string::npos);
  CHECK(size_t(std::ranges::count(text, '\n')) < file.tensors().size() + file.metadata().entries().size() + 90);
}
