#include "convert/tokenizer_json.h"

#include <doctest/doctest.h>

#include "quant/gguf_keys.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Texts {
  Json tokenizer = tiny_tokenizer();
  Json config = {{"bos_token", "<bos>"}, {"eos_token", "<eos>"}};
  std::optional<std::string> chat_template, chat_template_json, special_tokens_map;
  int64_t vocab_size = 10;

  HfTokenizer parse() const {
    const std::string a = tokenizer.dump(), b = config.dump();
    TokenizerTexts texts{"dir", a, b, {}, {}, {}};
    if (chat_template) texts.chat_template = *chat_template;
    if (chat_template_json) texts.chat_template_json = *chat_template_json;
    if (special_tokens_map) texts.special_tokens_map = *special_tokens_map;
    return parse_hf_tokenizer(texts, vocab_size);
  }
  std::string refused() const {
    return refusal([&] { parse(); });
  }
};

}  // namespace

TEST_CASE("tokens, types, merges and settings") {
  const HfTokenizer t = Texts().parse();
  CHECK(t.pre == "deepseek-v3");
  CHECK(t.tokens ==
        std::vector<std::string>{"a", "b", "c", "ab", "abc", "<bos>", "<eos>", "<think>", "[PAD8]", "[PAD9]"});
  CHECK(t.types == std::vector<int32_t>{1, 1, 1, 1, 1, 3, 3, 4, 5, 5});
  CHECK(t.merges == std::vector<std::string>{"a b", "ab c"});
  CHECK(t.bos == 5);
  CHECK(t.eos == 6);
  CHECK(!t.pad);
  CHECK(t.add_bos);
  CHECK(!t.add_eos);
  CHECK(!t.chat_template);
  REQUIRE(t.notes.size() == 2);
  CHECK(contains(t.notes[0], "2 of 10 rows of the vocabulary have no token"));
  CHECK(contains(t.notes[1], "has no chat template"));
}

TEST_CASE("both ways to write merges") {
  Texts texts;
  texts.tokenizer["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  CHECK(texts.parse().merges == std::vector<std::string>{"a b", "ab c"});
}

TEST_CASE("tokens that look like control tokens are, marked or not") {
  Texts texts;
  auto& added = texts.tokenizer["added_tokens"][2];
  for (const char* text : {"<｜User｜>", "<|EOT|>"}) {
    added["content"] = text;
    CHECK(texts.parse().types[7] == int32_t(TokenType::control));
  }
  for (const char* text : {"<think>", "｜User｜", "ø"}) {
    added["content"] = text;
    CHECK(texts.parse().types[7] == int32_t(TokenType::user_defined));
  }
}

TEST_CASE("an added token may stand in the vocabulary too") {
  Texts texts;
  texts.tokenizer["model"]["vocab"]["<bos>"] = 5;
  CHECK(texts.parse().types[5] == int32_t(TokenType::control));
}

TEST_CASE("a word that is added though it exists is matched as a whole, and merges keep it") {
  const auto added = [](int id, const char* text, const char* flag = "x") {
    Json entry = {{"id", id}, {"content", text}, {"normalized", true}};
    entry[flag] = true;
    return entry;
  };
  for (const auto& [id, text] : {std::pair(4, "abc"), std::pair(3, "ab"), std::pair(2, "c")}) {
    for (const char* flag : {"x", "special"}) {  // text may become a word, and never a control token
      Texts texts;
      texts.tokenizer["added_tokens"].push_back(added(id, text, flag));
      const HfTokenizer t = texts.parse();
      CHECK(t.types[size_t(id)] == int32_t(TokenType::user_defined));
      CHECK(t.merges.size() == 2);
      CHECK(contains(t.notes[0], fmt::format("added token \"{}\" is an ordinary one too", text)));
    }
  }
  // What GGUF cannot say stays an ordinary token: a word matched alone only, and letters that stand for other bytes.
  Texts single;
  single.tokenizer["added_tokens"].push_back(added(3, "ab", "single_word"));
  CHECK(single.parse().types[3] == int32_t(TokenType::normal));
  Texts letters;
  letters.tokenizer["model"]["vocab"]["\u00e9"] = 8;
  letters.tokenizer["added_tokens"].push_back(added(8, "\u00e9"));
  CHECK(letters.parse().types[8] == int32_t(TokenType::normal));
  CHECK(contains(letters.parse().notes[0], "its letters stand for other bytes"));
}

TEST_CASE("flags that GGUF has no words for are left out with a note") {
  for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
    Texts texts;
    texts.tokenizer["added_tokens"][2][flag] = true;
    const HfTokenizer t = texts.parse();
    CHECK(t.types[7] == int32_t(TokenType::user_defined));
    CHECK(contains(t.notes[0], fmt::format("added token \"<think>\": {} is left out", flag)));
  }
}

TEST_CASE("tokens by name, by object, by special_tokens_map.json") {
  Texts texts;
  texts.config = {{"bos_token", {{"content", "<bos>"}, {"lstrip", false}}},
                  {"eos_token", nullptr},
                  {"pad_token", "<eos>"},
                  {"add_bos_token", false}};
  CHECK(texts.parse().bos == 5);
  CHECK(!texts.parse().eos);
  CHECK(texts.parse().pad == 6);
  CHECK(!texts.parse().add_bos);
  texts.special_tokens_map = R"({"bos_token": "<think>", "eos_token": {"content": "<eos>"}})";
  CHECK(texts.parse().bos == 5);  // tokenizer_config.json goes first
  CHECK(texts.parse().eos == 6);
  texts.config.erase("bos_token");
  CHECK(texts.parse().bos == 7);
  texts.special_tokens_map = R"({"bos_token": "<s>"})";
  CHECK(contains(texts.refused(), "special_tokens_map.json: bos_token \"<s>\" is not in the vocabulary"));
  texts.special_tokens_map = "{";
  CHECK(contains(texts.refused(), "special_tokens_map.json: not valid JSON"));
  texts.special_tokens_map.reset();
  texts.config["pad_token"] = "<pad>";  // nobody needs it
  CHECK(!texts.parse().pad);
}

TEST_CASE("tokens by id, where the tokenizer names none, and every end") {
  Texts texts;
  texts.config = Json::object();
  HfTokenizer t = texts.parse();
  add_token_ids({5, 7, {6, 7}}, t);
  CHECK(t.bos == 5);
  CHECK(t.pad == 7);
  CHECK(t.eos == 6);
  CHECK(t.other_ends == std::vector<int64_t>{7});
  add_token_ids({6, std::nullopt, {7, 4, 9}}, t);
  CHECK(t.bos == 5);
  CHECK(t.other_ends == std::vector<int64_t>{7, 4});
  CHECK(contains(t.notes.back(), "eos_token_id 9 is a row without a token"));
  GgufMetadata m;
  add_tokenizer_metadata(t, m);
  CHECK(m.unsigned_integer(key::kEosTokenId) == 6);
  CHECK(m.unsigned_integer(key::kEotTokenId) == 7);
  CHECK(m.unsigned_integer(key::kEomTokenId) == 4);
}

TEST_CASE("without BOS none is added") {
  Texts texts;
  texts.config = Json::object();
  GgufMetadata m;
  add_tokenizer_metadata(texts.parse(), m);
  CHECK(!m.find(key::kBosTokenId));
  CHECK(m.boolean(key::kAddBosToken) == false);
}

TEST_CASE("the chat template: a file, a text, a list, an object") {
  Texts texts;
  texts.config["chat_template"] = "text";
  CHECK(texts.parse().chat_template == "text");
  texts.config["chat_template"] = {{{"name", "tool_use"}, {"template", "x"}}, {{"name", "default"}, {"template", "y"}}};
  CHECK(texts.parse().chat_template == "y");
  texts.config["chat_template"] = {{"tool_use", "x"}, {"default", "z"}};
  CHECK(texts.parse().chat_template == "z");
  texts.chat_template_json = R"({"chat_template": "json"})";
  CHECK(texts.parse().chat_template == "json");
  texts.chat_template = "file";
  CHECK(texts.parse().chat_template == "file");
  texts.chat_template.reset();
  texts.chat_template_json.reset();
  texts.config["chat_template"] = {{{"name", "tool_use"}, {"template", "x"}}};  // the only one
  CHECK(texts.parse().chat_template == "x");
  for (const Json& odd : {Json(3), Json{{{"name", "a"}, {"template", "x"}}, {{"name", "b"}, {"template", "y"}}}}) {
    texts.config["chat_template"] = odd;
    const HfTokenizer t = texts.parse();
    CHECK(!t.chat_template);
    CHECK(std::any_of(t.notes.begin(), t.notes.end(),
                      [](auto& n) { return contains(n, "expected a text or several with one named default"); }));
  }
}

TEST_CASE("the three pre-tokenizers, line ends written either way") {
  const auto split = [](const std::string& regex) {
    return Json{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  };
  const std::string cjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  Texts texts;
  auto& steps = texts.tokenizer["pre_tokenizer"]["pretokenizers"];
  for (const char* line_ends : {"[\r\n]", "[\\r\\n]"}) {
    steps = {split(line_ends), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split(cjk), digits, byte_level};
    CHECK(texts.parse().pre == "deepseek-coder");
  }
  // The letters of deepseek-llm are a list too long to repeat here: from the published form in the golden checkpoints.
  const Json lite = Json::parse(std::ifstream(source_dir() / "tests/golden/models/lite/tokenizer.json"));
  texts.tokenizer["pre_tokenizer"] = lite["pre_tokenizer"];
  CHECK(texts.parse().pre == "deepseek-llm");

  Json& letters = texts.tokenizer["pre_tokenizer"]["pretokenizers"][1]["pattern"]["Regex"];
  std::string more = letters;
  letters = more.insert(more.size() - 2, "Z");
  CHECK(contains(texts.refused(), "expected the pre-tokenizer of deepseek-llm, deepseek-coder or deepseek-v3"));
}

TEST_CASE("tokenizers of another kind") {
  const auto refused = [](const char* pointer, const Json& value) {
    Texts texts;
    texts.tokenizer[Json::json_pointer(pointer)] = value;
    return texts.refused();
  };
  CHECK(contains(refused("/pre_tokenizer", nullptr), "expected the pre-tokenizer of"));
  CHECK(contains(refused("/pre_tokenizer", 3), "expected the pre-tokenizer of"));
  CHECK(contains(refused("/pre_tokenizer/pretokenizers", Json::array()), "expected the pre-tokenizer of"));
  CHECK(contains(refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{N}"), "found 4 steps: \\p{N}"));
  CHECK(contains(refused("/pre_tokenizer/pretokenizers/0/behavior", "Removed"), "found 4 steps: step {"));
  CHECK(contains(refused("/pre_tokenizer/pretokenizers/0/invert", true), "found 4 steps: step {"));
  CHECK(contains(refused("/pre_tokenizer/pretokenizers/3/use_regex", true), "expected the pre-tokenizer of"));
  CHECK(contains(refused("/normalizer", {{"type", "NFC"}}), "expected no normalizer, found {\"type\":\"NFC\"}"));
  CHECK(contains(refused("/model/type", "Unigram"), "expected a BPE model, found \"Unigram\""));
  CHECK(contains(refused("/model/byte_fallback", true), "byte_fallback is not supported"));
  CHECK(contains(refused("/model/ignore_merges", true), "ignore_merges is not supported"));
  CHECK(contains(refused("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix \"</w>\" is not supported"));
}

TEST_CASE("vocabularies and merges that contradict themselves") {
  const auto refused = [](const char* pointer, const Json& value) {
    Texts texts;
    texts.tokenizer[Json::json_pointer(pointer)] = value;
    return texts.refused();
  };
  CHECK(contains(refused("/model", nullptr), "dir/tokenizer.json: has no model"));
  CHECK(contains(refused("/model/vocab", Json::array()), "has no vocab"));
  CHECK(contains(refused("/model/vocab/c", 1), "id 1 is both \"b\" and \"c\""));
  CHECK(contains(refused("/model/vocab/c", 10), "token \"c\": expected an id below vocab_size 10, found 10"));
  CHECK(contains(refused("/model/vocab/c", -1), "token \"c\": expected an id, found -1"));
  CHECK(contains(refused("/model/vocab/c", "2"), "token \"c\": expected an id, found \"2\""));
  CHECK(contains(refused("/model/vocab/<bos>", 8), "token \"<bos>\" has two ids: 8 and 5"));
  CHECK(contains(refused("/added_tokens/0/id", 0), "id 0 is both \"a\" and \"<bos>\""));
  CHECK(contains(refused("/added_tokens/0/id", 99), "below vocab_size 10, found 99"));
  CHECK(contains(refused("/added_tokens/0/content", ""), "id 5 has an empty token"));
  CHECK(contains(refused("/added_tokens/0", 3), "expected objects with id and content, found 3"));
  CHECK(contains(refused("/added_tokens", 3), "added_tokens: expected an array, found 3"));
  CHECK(contains(refused("/model/merges", nullptr), "has no merges"));
  CHECK(contains(refused("/model/merges/1", "abc"), "merge 1: expected two tokens without spaces, found \"abc\""));
  CHECK(contains(refused("/model/merges/1", {"a", "b", "c"}), "merge 1: expected two tokens"));
  CHECK(contains(refused("/model/merges/1", {"a", 3}), "merge 1: expected two tokens"));
  CHECK(contains(refused("/model/merges/1", "a  b"), "merge 1: expected two tokens without spaces"));
  CHECK(contains(refused("/model/merges/1", "a x"), "\"x\" is not in the vocabulary"));
  CHECK(contains(refused("/model/merges/1", "b a"), "\"ba\" is not in the vocabulary"));
}

TEST_CASE("text that is no JSON, names that no token has") {
  const std::string good = tiny_tokenizer().dump(), config = "{}";
  const auto refused = [](std::string_view tokenizer, std::string_view settings) {
    return refusal([&] { parse_hf_tokenizer({"dir", tokenizer, settings, {}, {}, {}}, 10); });
  };
  CHECK(refused(good, config) == "");
  CHECK(contains(refused("", config), "dir/tokenizer.json: not valid JSON"));
  CHECK(contains(refused("[]", config), "dir/tokenizer.json: expected a JSON object, found array"));
  CHECK(contains(refused(good, "{"), "dir/tokenizer_config.json: not valid JSON"));
  CHECK(contains(refused(good, R"({"eos_token": "<end>"})"), "eos_token \"<end>\" is not in the vocabulary"));
  CHECK(contains(refused(good, R"({"eos_token": 3})"), "eos_token: expected the text of a token, found 3"));
  CHECK(contains(refused(good, R"({"add_bos_token": "yes"})"), "add_bos_token: expected true or false"));
  for (size_t size = 0; size < good.size(); size += 7) {
    CAPTURE(size);
    CHECK(refused(good.substr(0, size), config) != "");
  }
}

TEST_CASE("the files of a directory, and their absence") {
  const TempDir dir;
  const auto refused = [&] { return refusal([&] { read_hf_tokenizer(dir.path(), 10); }); };
  CHECK(contains(refused(), "tokenizer.json: cannot open"));
  write_text(dir / "tokenizer.json", tiny_tokenizer().dump());
  CHECK(contains(refused(), "tokenizer_config.json: cannot open"));
  write_text(dir / "tokenizer_config.json", R"({"chat_template": "config"})");
  CHECK(read_hf_tokenizer(dir.path(), 10).chat_template == "config");
  write_text(dir / "chat_template.jinja", "file");
  write_text(dir / "special_tokens_map.json", R"({"eos_token": "<eos>"})");
  const HfTokenizer t = read_hf_tokenizer(dir.path(), 10);
  CHECK(t.chat_template == "file");
  CHECK(t.eos == 6);
}

TEST_CASE("keys of the file") {
  Texts texts;
  texts.config["chat_template"] = "T";
  GgufMetadata m;
  add_tokenizer_metadata(texts.parse(), m);
  CHECK(m.string(key::kTokenizerModel) == "gpt2");
  CHECK(m.string(key::kTokenizerPre) == "deepseek-v3");
  CHECK(m.strings(key::kTokens)->size() == 10);
  CHECK(m.integers(key::kTokenTypes)->size() == 10);
  CHECK(m.strings(key::kMerges)->at(1) == "ab c");
  CHECK(m.unsigned_integer(key::kBosTokenId) == 5);
  CHECK(m.unsigned_integer(key::kEosTokenId) == 6);
  CHECK(!m.find(key::kPaddingTokenId));
  CHECK(m.boolean(key::kAddBosToken) == true);
  CHECK(m.boolean(key::kAddEosToken) == false);
  CHECK(m.string(key::kChatTemplate) == "T");
}

TEST_CASE("the published tokenizer of V3" * doctest::test_suite("may skip")) {
  const fs::path data = shared_data("DeepSeek-V3's own tokenizer.json");
  if (data.empty()) return;
  const HfTokenizer t = read_hf_tokenizer(data / "tokenizers/deepseek-v3", 129280);
  CHECK(t.pre == "deepseek-v3");
  CHECK(t.merges.size() == 127741);
  CHECK(t.bos == 0);
  CHECK(t.eos == 1);
  CHECK(t.tokens[128803] == "<｜User｜>");
  CHECK(t.types[128803] == int32_t(TokenType::control));
  CHECK(t.types[129279] == int32_t(TokenType::unused));
  CHECK(t.chat_template->starts_with("{% if not add_generation_prompt"));
}
