#include "runtime/tokenizer/tokenizer.h"

#include <doctest/doctest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "tests/runtime/tokenizer/vocabulary.h"
#include "tests/support/paths.h"
#include "tests/support/sanitized.h"

using namespace hearth;

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Tokens = std::vector<Token>;

Tokenizer small_tokenizer() {
  return Tokenizer(test::SmallVocabulary().metadata());
}

// A file of tests/golden/tokenizers/ or else of the optional test data.
Tokenizer load(const std::string& file) {
  fs::path path = test::source_dir() / "tests/golden/tokenizers" / file;
  if (!fs::exists(path)) path = test::shared_data("") / "tokenizers" / file;
  if (file.ends_with(".json")) {
    GgufMetadata metadata;
    add_tokenizer_metadata(read_hf_tokenizer(path.parent_path(), 129280), metadata);
    return Tokenizer(metadata);
  }
  return Tokenizer(GgufFile::open(path).metadata());
}

// The texts of tokens, joined by bars.
std::string shown(const Tokenizer& tokenizer, const Tokens& tokens) {
  std::string out;
  for (const Token token : tokens) out += (out.empty() ? "" : "|") + tokenizer.bytes_of(token, true);
  return out;
}

std::string from_base64(const std::string& text) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int n = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | uint32_t(digits.find(c));
    n += 6;
    if (n >= 8) out += char(bits >> (n -= 8));
  }
  return out;
}

// All of tests/golden/tokenizers/NAME.cases.json.
void check_cases(const std::string& name) {
  const fs::path path = test::source_dir() / "tests/golden/tokenizers" / (name + ".cases.json");
  const auto json = nlohmann::json::parse(std::ifstream(path));
  const Tokenizer tokenizer = load(json["vocabulary"]);
  REQUIRE(json["cases"].size() > 100);
  for (const auto& row : json["cases"]) {
    const std::string text = row.contains("text") ? row["text"].get<std::string>() : from_base64(row["base64"]);
    CAPTURE(text);
    const Tokens tokens = tokenizer.encode(text, row["special"]);
    CHECK(tokens == row["ids"].get<Tokens>());
    CHECK(tokenizer.decode(tokens, true) == repair_utf8(text));
  }
}

// Texts that pre-tokenizers have opinions about, and bytes that are no text at all.
class RandomText {
 public:
  explicit RandomText(uint64_t seed) : random_(seed) {}

  std::string characters(size_t n) {
    static const Strings common = {" ",
                                   " ",
                                   "  ",
                                   "\n",
                                   "\r",
                                   "\t",
                                   "a",
                                   "B",
                                   "é",
                                   "0",
                                   "9",
                                   ".",
                                   "'",
                                   "_",
                                   "中",
                                   "的",
                                   "あ",
                                   "한",
                                   "ø",
                                   "\xCC\x81",
                                   "👍",
                                   "\xC2\xA0",
                                   "\xE3\x80\x80",
                                   "<｜User｜>",
                                   "<xy>"};
    std::string out;
    while (out.size() < n) out += random_() % 4 ? common[random_() % common.size()] : any_character();
    return out;
  }

  std::string bytes(size_t n) {
    std::string out;
    while (out.size() < n)
      out += random_() % 3 ? char(random_()) : char("\xE4\xB8\xAD\xF0\x9F\x98\x80 a"[random_() % 9]);
    return out;
  }

 private:
  std::string any_character() {
    uint32_t c = uint32_t(random_() % (random_() % 2 ? 0x10FFFF : 0x3000));
    if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
    if (c < 0x80) return {char(c)};
    if (c < 0x800) return {char(0xC0 | c >> 6), char(0x80 | (c & 63))};
    if (c < 0x10000) return {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
    return {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 63)), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
  }

  std::mt19937_64 random_;
};

void check_round_trips(const Tokenizer& tokenizer) {
  RandomText random(20261122);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = i % 2 ? random.characters(size_t(i) % 150) : random.bytes(size_t(i) % 150);
    CAPTURE(i);
    CAPTURE(text);
    CHECK(tokenizer.decode(tokenizer.encode(text, false)) == repair_utf8(text));
    CHECK(tokenizer.decode(tokenizer.encode(text, true), true) == repair_utf8(text));
  }
}

void check_refusal(const GgufMetadata& metadata, ErrorKind kind, const std::string& message) {
  CAPTURE(message);
  try {
    Tokenizer refused(metadata);
    FAIL_CHECK("was taken");
  } catch (const Error& error) {
    CHECK(error.kind == kind);
    CHECK(std::string(error.what()) == message);
  }
}

}  // namespace

TEST_CASE("golden cases of small vocabularies") {
  check_cases("deepseek-llm-small");
  check_cases("deepseek-coder-small");
  check_cases("deepseek-v3-small");
}

TEST_CASE("golden cases of the published vocabularies" * doctest::test_suite("may skip")) {
  if (test::shared_data("golden cases of the published vocabularies").empty()) return;
  check_cases("deepseek-llm");
  check_cases("deepseek-coder");
  check_cases("deepseek-v3");
}

TEST_CASE("published cases of deepseek-llm" * doctest::test_suite("may skip")) {
  const fs::path data = test::shared_data("published cases of deepseek-llm");
  if (data.empty()) return;
  const Tokenizer tokenizer = load("deepseek-llm.gguf");
  std::stringstream inputs;
  inputs << std::ifstream(data / "tokenizers/deepseek-llm.inp", std::ios::binary).rdbuf();
  std::ifstream expected(data / "tokenizers/deepseek-llm.out");
  const std::string border = "\n__ggml_vocab_test__\n", text = inputs.str();
  int n = 0;
  for (size_t at = 0, end; (end = text.find(border, at)) != std::string::npos; at = end + border.size(), ++n) {
    std::string line;
    REQUIRE(std::getline(expected, line));
    std::stringstream numbers(line);
    Tokens ids;
    for (Token id; numbers >> id;) ids.push_back(id);
    CHECK(tokenizer.encode(text.substr(at, end - at), false) == ids);
  }
  CHECK(n > 30);
}

TEST_CASE("pairs merge by rank, the leftmost first") {
  const Tokenizer tokenizer = small_tokenizer();
  const auto words = [&](const std::string& text) { return shown(tokenizer, tokenizer.encode(text, false)); };
  CHECK(words("aaa") == "aa|a");  // one pair of two: the left one
  CHECK(words("aaaaa") == "aa|aa|a");
  CHECK(words("abc") == "a|bc");  // "b c" ranks before "a b", so "ab c" has no chance
  CHECK(words("aab") == "aa|b");
  CHECK(words("xab") == "x|ab");
  CHECK(words(" aab") == " aa|b");  // a product merges on
  CHECK(words("aa abc") == "aa| a|bc");
  CHECK(words("\n\na") == "\n|\n|a");
  CHECK(words("").empty());
  CHECK(words("\xE8\xB1\xA1") == "\xE8\xB1|\xA1");  // inside a character
}

TEST_CASE("control tokens are text unless they are asked for") {
  const Tokenizer tokenizer = small_tokenizer();
  const Token user = tokenizer.find("<｜User｜>").value();
  const std::string text = "a<｜User｜>a";
  const Tokens plain = tokenizer.encode(text, false), special = tokenizer.encode(text, true);
  CHECK(special == Tokens{*tokenizer.find("a"), user, *tokenizer.find("a")});
  CHECK(std::find(plain.begin(), plain.end(), user) == plain.end());
  CHECK(tokenizer.decode(plain) == text);
  CHECK(tokenizer.decode(special) == "aa");
  CHECK(tokenizer.decode(special, true) == text);
  CHECK(tokenizer.encode("<｜User｜", true) == tokenizer.encode("<｜User｜", false));
}

TEST_CASE("user-defined tokens are found in any text, the longest at each place") {
  const Tokenizer tokenizer = small_tokenizer();
  for (const bool special : {false, true}) {
    const auto words = [&](const std::string& text) { return shown(tokenizer, tokenizer.encode(text, special)); };
    CHECK(words("a<xy>a") == "a|<xy>|a");
    CHECK(words("a<xya") == "a|<x|y|a");
    CHECK(words("<x<xy><x") == "<x|<xy>|<x");
    CHECK(words("aøa") == "a|ø|a");
    CHECK(words("ab<x") == "ab|<x");
  }
  // What pads the vocabulary is never found, whatever the file calls it.
  const std::string padding = "[PAD" + std::to_string(tokenizer.size() - 2) + "]";
  CHECK(tokenizer.encode(padding, true).size() == padding.size());
  CHECK(tokenizer.encode("free", true).size() == 4);
}

TEST_CASE("parts are read as if they were joined, but special ones only are special") {
  const Tokenizer tokenizer = small_tokenizer();
  const auto words = [&](const std::vector<PromptPart>& parts) { return shown(tokenizer, tokenizer.encode(parts)); };
  CHECK(words({}).empty());
  CHECK(words({{"<｜User｜>", true}, {"<｜User｜>a", false}}) ==
        "<｜User｜>|" + shown(tokenizer, tokenizer.encode("<｜User｜>a", false)));
  CHECK(words({{"a", false}, {"a", true}, {" ", true}, {"a", false}}) == "aa| a");
  CHECK(words({{"<｜User", true}, {"｜>", true}}) == "<｜User｜>");
  // A user cannot complete what a template began, nor begin what it ends.
  CHECK(words({{"<｜User", true}, {"｜>", false}}) == shown(tokenizer, tokenizer.encode("<｜User｜>", false)));
  CHECK(words({{"<｜User", false}, {"｜>", true}}) == shown(tokenizer, tokenizer.encode("<｜User｜>", false)));
  CHECK(words({{"a\xE8", false}, {"\xB1\xA1", true}}) == words({{"a\uFFFD\uFFFD\uFFFD", false}}));
}

TEST_CASE("remembered tokens stand for themselves, between hard borders") {
  const Tokenizer tokenizer = small_tokenizer();
  const Token a = tokenizer.find("a").value();
  const std::vector<PromptPart> parts = {{"a", false}, {"ignored", true, {a, a}}, {"a", false}, {"a", true}};
  CHECK(tokenizer.encode(parts) == Tokens{a, a, a, *tokenizer.find("aa")});
}

TEST_CASE("tokens and their bytes") {
  const Tokenizer tokenizer = small_tokenizer();
  CHECK(tokenizer.bos() == 0);
  CHECK(tokenizer.eos() == 1);
  CHECK(tokenizer.pad() == 1);
  CHECK(tokenizer.add_bos());
  CHECK(tokenizer.bytes_of(0).empty());
  CHECK(tokenizer.bytes_of(0, true) == "<｜begin▁of▁sentence｜>");
  CHECK(tokenizer.bytes_of(*tokenizer.find(" aa")) == " aa");
  CHECK(tokenizer.bytes_of(*tokenizer.find("\n")) == "\n");
  CHECK(tokenizer.bytes_of(*tokenizer.find("ø")) == "ø");
  CHECK(tokenizer.bytes_of(*tokenizer.find("\x80")) == "\x80");
  CHECK_FALSE(tokenizer.find("no such token"));
  CHECK_FALSE(tokenizer.find(""));
  CHECK(tokenizer.is_control(0));
  CHECK_FALSE(tokenizer.is_control(2));

  const auto size = Token(tokenizer.size());
  for (const Token padding : {size - 1, size - 2, size, size + 1000, -1}) {
    CHECK(tokenizer.is_unused(padding));
    CHECK_FALSE(tokenizer.is_control(padding));
    CHECK(tokenizer.bytes_of(padding).empty());
  }
  CHECK(tokenizer.bytes_of(size, true).empty());
  CHECK_FALSE(tokenizer.is_unused(size - 3));
}

TEST_CASE("decoding gives back the text") {
  check_round_trips(small_tokenizer());
  for (const char* file : {"deepseek-llm-small.gguf", "deepseek-coder-small.gguf", "deepseek-v3-small.gguf"})
    check_round_trips(load(file));
}

TEST_CASE("decoding gives back the text, with a published vocabulary" * doctest::test_suite("may skip")) {
  if (test::shared_data("round trips of a published vocabulary").empty()) return;
  check_round_trips(load("deepseek-llm.gguf"));
}

TEST_CASE("a large text of anything takes a moment") {
  constexpr size_t kSize = test::kSanitized ? 1 << 17 : 1 << 18;
  const auto repeated = [&](const std::string& unit) {
    std::string text;
    while (text.size() < kSize) text += unit;
    return text;
  };
  const std::string spaces(kSize, ' ');
  for (const char* file : {"deepseek-llm-small.gguf", "deepseek-coder-small.gguf", "deepseek-v3-small.gguf"}) {
    const Tokenizer tokenizer = load(file);
    for (const std::string& text :
         {repeated("a"), spaces, spaces + "1", spaces + "中", spaces + "a", repeated(" \t") + "1", repeated("\n"),
          repeated("\r\n "), repeated("7"), repeated("!"), repeated("<"), std::string(kSize, '\0'), repeated("中文"),
          repeated("a\xCC\x81"), repeated("\xF0\x9F\x98\x80"), repeated("\xFF"), repeated("<｜User｜")}) {
      CAPTURE(file);
      CAPTURE(text.substr(text.size() - 6));
      const std::clock_t begin = std::clock();
      const Tokens tokens = tokenizer.encode(text, true);
      CHECK(double(std::clock() - begin) / CLOCKS_PER_SEC < 5);  // some 0.08; minutes if it were quadratic
      CHECK(tokenizer.decode(tokens) == repair_utf8(text));
    }
  }
}

TEST_CASE("vocabularies that contradict themselves are refused") {
  using test::SmallVocabulary;
  const auto without = [](const char* key) {
    GgufMetadata metadata = SmallVocabulary().metadata();
    metadata.erase(key);
    return metadata;
  };
  const auto with = [](const char* key, GgufValue value) {
    GgufMetadata metadata = SmallVocabulary().metadata();
    metadata.set(key, std::move(value));
    return metadata;
  };
  const auto changed = [](auto change) {
    SmallVocabulary vocabulary;
    change(vocabulary);
    return vocabulary.metadata();
  };
  const auto format = ErrorKind::format, model = ErrorKind::model;

  for (const char* key : {key::kTokenizerModel, key::kTokenizerPre, key::kTokens, key::kTokenTypes, key::kMerges})
    check_refusal(without(key), format, std::string("small.gguf: key ") + key + " is missing");
  check_refusal(with(key::kTokenizerModel, GgufValue::of_string("llama")), model,
                "small.gguf: tokenizer model 'llama' is not supported (gpt2, byte-level BPE, is)");
  check_refusal(
      with(key::kTokenizerPre, GgufValue::of_string("qwen2")), model,
      "small.gguf: pre-tokenizer 'qwen2' is not supported (deepseek-llm, deepseek-coder and deepseek-v3 are)");
  check_refusal(with(key::kEosTokenId, GgufValue::of_u32(5000)), format,
                "small.gguf: tokenizer.ggml.eos_token_id is 5000, but there are 259 tokens");
  check_refusal(changed([](auto& v) { v.types.pop_back(); }), format, "small.gguf: 259 tokens, but 258 token types");
  check_refusal(changed([](auto& v) { v.types[3] = 7; }), format,
                "small.gguf: token 3 ('ā') is of type 7: expected 1 to 6");
  check_refusal(changed([](auto& v) { v.tokens[254] = ""; }), format, "small.gguf: token 254 is empty");
  check_refusal(changed([](auto& v) { v.tokens[255] = "<x"; }), format, "small.gguf: tokens 254 and 255 are both '<x'");
  check_refusal(changed([](auto& v) { v.tokens[2 + 'A'] = "other"; }), format,
                "small.gguf: the vocabulary has no token for byte 0x41 ('A')");
  check_refusal(changed([](auto& v) { v.types[2 + ' '] = int32_t(TokenType::control); }), format,
                "small.gguf: the vocabulary has no token for byte 0x20 ('Ġ')");
  check_refusal(changed([](auto& v) { v.merges[2] = "ab"; }), format,
                "small.gguf: merge 2 is 'ab': expected two tokens");
  check_refusal(changed([](auto& v) { v.merges[2] = "a "; }), format,
                "small.gguf: merge 2 is 'a ': expected two tokens");
  check_refusal(changed([](auto& v) { v.merges[2] = "zz b"; }), format,
                "small.gguf: merge 2 ('zz b') needs the token 'zz', which does not exist");
  check_refusal(changed([](auto& v) { v.merges[2] = "a z"; }), format,
                "small.gguf: merge 2 ('a z') needs the token 'az', which does not exist");
  check_refusal(changed([](auto& v) { v.merges[2] = "<｜User｜> y"; }), format,
                "small.gguf: merge 2 ('<｜User｜> y') needs the token '<｜User｜>', which is not an ordinary one");
  check_refusal(changed([](auto& v) { v.merges[3] = v.merges[1]; }), format,
                "small.gguf: merges 1 and 3 are of the same pair");
}

// Hugging Face writes so when a user adds a word that the vocabulary has: it is matched before anything is merged, and
// merges still make it and build on it.
TEST_CASE("user-defined tokens that merges make") {
  test::SmallVocabulary vocabulary;
  const auto id = [&](const char* text) {
    return Token(std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text) - vocabulary.tokens.begin());
  };
  const auto user_defined = [&](const char* text) {
    vocabulary.types[size_t(id(text))] = int32_t(TokenType::user_defined);
  };
  user_defined("bc");
  const Tokenizer whole(vocabulary.metadata());
  CHECK(whole.encode("abc", false) == Tokens{id("a"), id("bc")});  // "abc" without the added word
  CHECK(whole.encode("xbcx", false) == Tokens{id("x"), id("bc"), id("x")});
  CHECK(whole.encode("aab", false) == Tokens{id("aa"), id("b")});
  CHECK(whole.decode(Tokens{id("bc")}) == "bc");

  user_defined("a");  // a byte's token too
  const Tokenizer byte(vocabulary.metadata());
  CHECK(byte.encode("xaa", false) == Tokens{id("x"), id("a"), id("a")});

  user_defined("è±");  // in the byte alphabet: it stands for E8 B1
  CHECK(Tokenizer(vocabulary.metadata()).bytes_of(id("è±")) == "\xE8\xB1");
}

TEST_CASE("a file without BOS opens, and says whether it wants one") {
  GgufMetadata metadata = test::SmallVocabulary().metadata();
  metadata.erase(key::kBosTokenId);
  const Tokenizer none(metadata);
  CHECK(!none.bos());
  CHECK(!none.add_bos());
  metadata.set(key::kAddBosToken, GgufValue::of_bool(true));
  CHECK_THROWS_AS(Tokenizer{metadata}, Error);
}

TEST_CASE("a text may have several ends") {
  test::SmallVocabulary vocabulary;
  GgufMetadata metadata = vocabulary.metadata();
  CHECK(Tokenizer(metadata).ends_text(1));
  CHECK(!Tokenizer(metadata).ends_text(7));
  metadata.set(key::kEotTokenId, GgufValue::of_u32(7));
  metadata.set(key::kEomTokenId, GgufValue::of_u32(8));
  const Tokenizer tokenizer(metadata);
  for (const Token end : {1, 7, 8}) CHECK(tokenizer.ends_text(end));
  CHECK(!tokenizer.ends_text(0));
}
