// tokenizer.json and tokenizer_config.json, rebuilt from a GGUF file's tokens and merges.
#include <doctest/doctest.h>

#include "convert/export/tokenizer_files.h"
#include "convert/export/tokenizer_vocabulary.h"
#include "convert/tokenizer_json.h"
#include "quant/gguf_keys.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The keys that `convert` would write for a checkpoint with these files.
GgufMetadata metadata_from(const std::string& tokenizer, const std::string& config, int64_t vocab_size) {
  const TokenizerTexts texts{"dir", tokenizer, config, {}, {}, {}};
  GgufMetadata metadata;
  metadata.source = "model.gguf";
  add_tokenizer_metadata(parse_hf_tokenizer(texts, vocab_size), metadata);
  return metadata;
}

void check_comes_back(const GgufMetadata& metadata) {
  const size_t n = metadata.strings(key::kTokens)->size();
  const GgufMetadata again = metadata_from(tokenizer_json(metadata), tokenizer_config_json(metadata), int64_t(n));
  for (const auto& [key, value] : again.entries()) {
    const GgufValue* before = metadata.find(key);
    REQUIRE_MESSAGE(before, key);
    const bool same = before->data == value.data;
    CHECK_MESSAGE(same, key);
  }
  CHECK(again.entries().size() >= 9);
}

// What of a tokenizer.json decides about ids. Merges are pairs in some files.
void check_parts(const Json& ours, const Json& theirs) {
  for (const char* part : {"normalizer", "pre_tokenizer", "decoder"}) {
    const bool same = ours[part] == theirs[part];
    CHECK_MESSAGE(same, part);
  }
  const bool same_words = ours["model"]["vocab"] == theirs["model"]["vocab"];
  CHECK(same_words);
  const Json &merges = ours["model"]["merges"], &pairs = theirs["model"]["merges"];
  REQUIRE(merges.size() == pairs.size());
  size_t different = 0;
  for (size_t i = 0; i < merges.size(); ++i) {
    const bool same = pairs[i].is_string()
                          ? pairs[i] == merges[i]
                          : merges[i] == pairs[i][0].get<std::string>() + " " + pairs[i][1].get<std::string>();
    different += same ? 0 : 1;
  }
  CHECK(different == 0);
}

GgufMetadata tiny_metadata() {
  return metadata_from(tiny_tokenizer().dump(), R"({"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": "T"})",
                       10);
}

// These files are of a time when rows without a token, and <|User|>, were called user-defined.
GgufMetadata as_told_today(GgufMetadata metadata) {
  const std::vector<std::string>& tokens = *metadata.strings(key::kTokens);
  std::vector<int32_t> types;
  const std::vector<int64_t> told = metadata.integers(key::kTokenTypes).value();
  for (const int64_t type : told) {
    const std::string& token = tokens[types.size()];
    const TokenType now = token.starts_with("[PAD")   ? TokenType::unused
                          : looks_like_control(token) ? TokenType::control
                                                      : TokenType(type);
    types.push_back(int32_t(now));
  }
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(types));
  return metadata;
}

// Tokens "a", "b", ... of these types; no merges.
GgufMetadata letters(const std::vector<int32_t>& types) {
  GgufMetadata metadata = tiny_metadata();
  std::vector<std::string> tokens;
  for (size_t i = 0; i < types.size(); ++i)
    tokens.push_back(fmt::format("{}{}", types[i] == 1 ? "" : "<", char('a' + i)));
  metadata.set(key::kTokens, GgufValue::of_strings(tokens));
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(types));
  metadata.set(key::kMerges, GgufValue::of_strings({}));
  for (const char* key : {key::kBosTokenId, key::kEosTokenId}) metadata.erase(key);
  return metadata;
}

GgufMetadata changed(GgufMetadata metadata, const char* key, std::optional<GgufValue> value) {
  value ? metadata.set(key, *value) : metadata.erase(key);
  return metadata;
}

}  // namespace

TEST_CASE("vocabularies in the tree come back as they were") {
  check_comes_back(tiny_metadata());
  for (const char* name : {"deepseek-llm-small", "deepseek-coder-small", "deepseek-v3-small"}) {
    CAPTURE(name);
    const fs::path golden = source_dir() / "tests" / "golden" / "tokenizers";
    GgufMetadata metadata = GgufFile::open((golden / (std::string(name) + ".gguf")).string()).metadata();
    check_comes_back(metadata);
    // The same steps, words and merges as the file that these were made from has.
    const Json ours = Json::parse(tokenizer_json(metadata));
    const Json theirs = Json::parse(read_text(golden / (std::string(name) + ".json")));
    check_parts(ours, theirs);
  }
  for (const char* name : {"checkpoint", "checkpoint-v3"}) {
    CAPTURE(name);
    const fs::path demo = source_dir() / "demo" / name;
    const std::string text = read_text(demo / "tokenizer.json"), config = read_text(demo / "tokenizer_config.json");
    const GgufMetadata metadata = metadata_from(text, config, 1280);
    check_comes_back(metadata);
    const Json ours = Json::parse(tokenizer_json(metadata)), theirs = Json::parse(text);
    check_parts(ours, theirs);
    CHECK(ours["added_tokens"].size() == theirs["added_tokens"].size());
  }
}

TEST_CASE("published vocabularies come back as they were" * doctest::test_suite("may skip")) {
  const fs::path data = shared_data("published vocabularies");
  if (data.empty()) return;
  const fs::path folder = data / "tokenizers";
  const std::string text = read_text(folder / "deepseek-v3" / "tokenizer.json");
  const GgufMetadata v3 = metadata_from(text, read_text(folder / "deepseek-v3" / "tokenizer_config.json"), 129280);
  check_comes_back(v3);
  // Every part but the one that now puts BOS in front of a text, which the published file leaves to its class.
  const Json ours = Json::parse(tokenizer_json(v3)), theirs = Json::parse(text);
  check_parts(ours, theirs);
  REQUIRE(ours["added_tokens"].size() == theirs["added_tokens"].size());
  for (size_t i = 0; i < ours["added_tokens"].size(); ++i) {
    for (const char* field : {"id", "content", "special", "single_word", "lstrip", "rstrip"}) {
      const Json &mine = ours["added_tokens"][i], &published = theirs["added_tokens"][i];
      CHECK_MESSAGE(mine[field] == published[field], field, " of ", published.dump());
    }
  }
  for (const char* name : {"deepseek-llm.gguf", "deepseek-coder.gguf"}) {
    CAPTURE(name);
    check_comes_back(as_told_today(GgufFile::open((folder / name).string()).metadata()));
  }
}

TEST_CASE("BOS and EOS stand around texts as the file asks") {
  const auto processor = [](const GgufMetadata& metadata) {
    return Json::parse(tokenizer_json(metadata))["post_processor"];
  };
  GgufMetadata metadata = tiny_metadata();
  CHECK(processor(metadata)["processors"][1] == Json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "<bos>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<bos>": {"id": "<bos>", "ids": [5], "tokens": ["<bos>"]}}})"));
  metadata.set(key::kAddEosToken, GgufValue::of_bool(true));
  CHECK(processor(metadata)["processors"][1]["single"][2]["SpecialToken"]["id"] == "<eos>");
  metadata.set(key::kAddBosToken, GgufValue::of_bool(false));
  CHECK(processor(metadata)["processors"][1]["single"][0]["Sequence"]["id"] == "A");
  metadata.set(key::kAddEosToken, GgufValue::of_bool(false));
  CHECK(processor(metadata)["type"] == "ByteLevel");
  metadata.erase(key::kAddBosToken);  // as published models want it
  CHECK(processor(metadata)["type"] == "Sequence");
}

TEST_CASE("added tokens get their ids from the library only where it counts as the file does") {
  using Ids = std::vector<int64_t>;
  CHECK(exported_vocabulary(letters({1, 1, 3, 4})).in_model == Ids{0, 1});
  CHECK(exported_vocabulary(letters({3, 1, 1, 3, 4, 5, 5})).in_model == Ids{0, 1, 2});  // one below, two behind
  CHECK(exported_vocabulary(letters({1, 5, 1, 3, 4})).in_model == Ids{0, 2, 3, 4});     // a gap in front
  CHECK(exported_vocabulary(letters({1, 1, 3, 5, 4})).in_model == Ids{0, 1, 2, 4});     // a gap between
  CHECK(exported_vocabulary(letters({1, 3, 1})).in_model == Ids{0, 1, 2});
  CHECK(exported_vocabulary(letters({1, 1, 3, 4})).added.size() == 2);
  GgufMetadata word = letters({1, 1, 3, 4});  // made by a merge, though it is an added token
  word.set(key::kTokens, GgufValue::of_strings({"a", "b", "<c", "ab"}));
  word.set(key::kMerges, GgufValue::of_strings({"a b"}));
  CHECK(exported_vocabulary(word).in_model == Ids{0, 1, 2, 3});
}

TEST_CASE("tokens that clients look for in a text are not special") {
  GgufMetadata metadata = letters({1, 3, 3, 3, 3, 3, 4});
  metadata.set(key::kTokens, GgufValue::of_strings({"a", "<｜end▁of▁sentence｜>", "<｜User｜>", "<|EOT|>",
                                                    "<｜place▁holder▁no▁1｜>", "<eos>", "<think>"}));
  metadata.set(key::kEosTokenId, GgufValue::of_u32(1));
  std::vector<bool> special;
  for (const auto& token : exported_vocabulary(metadata).added) special.push_back(token.special);
  CHECK(special == std::vector<bool>{true, false, true, true, true, false});
}

TEST_CASE("chat templates: none, one, several") {
  const auto chat = [](const GgufMetadata& metadata) {
    return Json::parse(tokenizer_config_json(metadata)).value("chat_template", Json());
  };
  GgufMetadata metadata = tiny_metadata();
  CHECK(chat(metadata) == "T");
  metadata.set("tokenizer.chat_template.tool_use", GgufValue::of_string("U"));
  CHECK(chat(metadata) ==
        Json::parse(R"([{"name": "default", "template": "T"}, {"name": "tool_use", "template": "U"}])"));
  check_comes_back(metadata);
  metadata.erase(key::kChatTemplate);
  metadata.erase("tokenizer.chat_template.tool_use");
  CHECK(chat(metadata).is_null());
}

TEST_CASE("what has no tokenizer.json is refused") {
  const GgufMetadata good = tiny_metadata();
  const auto strings = [](std::vector<std::string> values) { return GgufValue::of_strings(std::move(values)); };
  const struct {
    const char* key;
    std::optional<GgufValue> value;
    const char* why;
  } cases[] = {
      {key::kTokenizerModel, std::nullopt, "has no tokenizer (tokenizer.ggml.model is missing)"},
      {key::kTokenizerModel, GgufValue::of_string("llama"), "expected gpt2 (byte-level BPE), found llama"},
      {key::kTokenizerPre, std::nullopt, "tokenizer.ggml.pre: expected deepseek-llm"},
      {key::kTokenizerPre, GgufValue::of_string("qwen2"), "or deepseek-v3, found qwen2"},
      {key::kTokens, std::nullopt, "key tokenizer.ggml.tokens is missing"},
      {key::kMerges, std::nullopt, "key tokenizer.ggml.merges is missing"},
      {key::kTokenTypes, std::nullopt, "token_type: expected 10 types, found 0"},
      {key::kTokenTypes, GgufValue::of_i32s({1}), "token_type: expected 10 types, found 1"},
      {key::kTokenTypes, GgufValue::of_i32s({1, 6, 1, 1, 1, 1, 1, 1, 1, 1}), "token 1 ('b') is of type 6: expected"},
      {key::kMerges, strings({"ab"}), "merge 'ab': expected two tokens"},
      {key::kMerges, strings({"a x"}), "merge 'a x': there is no token 'x'"},
      {key::kTokens, strings({"a", "b", "c", "ab", "abc", "a", "7", "8", "9", "10"}), "tokens 0 and 5 are both 'a'"},
      {key::kTokens, strings({"a", "b", "c", "ab", "abc", "", "7", "8", "9", "10"}), "token 5 is empty"},
      {key::kBosTokenId, GgufValue::of_u32(10), "bos_token_id: expected less than 10 tokens, found 10"},
      {key::kTokens, strings({"a", "b", "c", "ab", "abc", "\xff", "7", "8", "9", "10"}), "expected UTF-8"},
      {key::kChatTemplate, GgufValue::of_string("\xff"), "expected UTF-8"},
  };
  for (const auto& [key, value, why] : cases) {
    const GgufMetadata bad = changed(good, key, value);
    const std::string message = refusal([&] {
      tokenizer_json(bad);
      tokenizer_config_json(bad);
    });
    CHECK_MESSAGE((contains(message, "model.gguf: ") && contains(message, why)), key, ": ", message);
  }
}
