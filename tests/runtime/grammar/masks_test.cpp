// Masks of tokens, against each token's bytes by themselves.
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "runtime/grammar/json_value.h"
#include "runtime/grammar/token_masks.h"
#include "tests/runtime/grammar/json_text.h"
#include "tests/support/paths.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::grammar;

namespace {

constexpr Token kEnd = 0, kControl = 1;

// Every byte, and pieces that tokens of real vocabularies are: across the borders of strings, characters and escapes.
std::vector<std::string> vocabulary() {
  std::vector<std::string> tokens = {"", ""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"{\"",
                           "\":",
                           "\": ",
                           "\": \"",
                           "\",",
                           "\", \"",
                           "\"}",
                           "\"]",
                           "},",
                           "}, {\"",
                           "[[",
                           "]]",
                           "\": [",
                           "\":{\"",
                           "true",
                           "false",
                           "null",
                           ", ",
                           "12",
                           "123",
                           "0.5",
                           "1e",
                           "e5",
                           "-1",
                           "kind",
                           "ki",
                           "nd",
                           "name",
                           "a\"",
                           "\"a",
                           "ab",
                           "abc",
                           "xyz",
                           "hello world",
                           "é",
                           "中文",
                           "\xc3",
                           "\xe4\xb8",
                           "\xad\xe6",
                           "\xf0\x9f\x98",
                           "\x80",
                           "\\n",
                           "\\\"",
                           "\\u00",
                           "e9",
                           "\\ud83d",
                           "\\ude00",
                           "\n\t",
                           "  ",
                           "    ",
                           "\"\"",
                           "b\",\"",
                           "x\":1,\"y\":",
                           "a much longer token of text",
                           "1}",
                           "0]",
                           "\\"})
    tokens.emplace_back(text);
  tokens.resize(tokens.size() + 40);  // padding
  return tokens;
}

TokenMask plain_mask(const Matcher& matcher, const std::vector<std::string>& tokens) {
  TokenMask mask(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    Matcher copy = matcher;
    if (static_cast<Token>(i) == kEnd ? matcher.may_end()
                                      : !tokens[i].empty() && copy.advance(tokens[i]) == tokens[i].size())
      mask.add(static_cast<Token>(i));
  }
  return mask;
}

// Walks at random, comparing masks; how many were compared.
int compare(const std::shared_ptr<const Grammar>& grammar, const std::vector<std::string>& tokens, std::mt19937& random,
            const std::string& about) {
  const auto trie = std::make_shared<TokenTrie>(
      tokens.size(), [&](Token token) { return tokens[static_cast<size_t>(token)]; }, std::vector{kEnd});
  TokenMasks masks(grammar, trie);
  int n = 0;
  for (int round = 0; round < 3; ++round) {
    Matcher matcher = masks.start();
    std::string text;
    for (int i = 0; i < 25; ++i, ++n) {
      const TokenMask& mask = masks.mask(matcher);
      REQUIRE_MESSAGE(mask == plain_mask(matcher, tokens), about, " after ", text);
      REQUIRE_MESSAGE(mask.count() > 0, about, " after ", text);
      std::vector<Token> may;
      for (size_t t = 0; t < tokens.size(); ++t)
        if (mask.has(static_cast<Token>(t))) may.push_back(static_cast<Token>(t));
      const Token token = may[random() % may.size()];
      REQUIRE(masks.advance(matcher, token));
      if (token == kEnd) break;
      text += tokens[static_cast<size_t>(token)];
    }
  }
  return n;
}

}  // namespace

TEST_CASE("a mask has the tokens whose bytes may come, and no others") {
  const std::vector<std::string> tokens = vocabulary();
  std::mt19937 random(3);
  int n = 0;
  const auto path = test::source_dir() / "tests/runtime/grammar/schema_cases.json";
  const JsonValue cases = parse_json(test::read_text(path.string()));
  for (const JsonValue& each : cases.items) {
    const JsonValue* draft = each.find("draft");
    n += compare(compile_schema(json_text(*each.find("schema")), {.draft = draft ? std::stoi(draft->text) : 0}), tokens,
                 random, each.find("description")->text);
  }
  for (const char* schema :
       {R"({"type": "string", "maxLength": 5})", R"({"type": "string", "pattern": "^[^/]{1,9}$"})",
        R"({"type": "string", "pattern": "^\\p{L}+ x*$"})", R"({"enum": ["kind", "kiwi", "中文", "é"]})",
        R"({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}})",
        R"({"type": "array", "items": {"minimum": -5, "maximum": 123.5, "type": "number"}, "minItems": 2})"})
    for (int i = 0; i < 4; ++i) n += compare(compile_schema(schema), tokens, random, schema);
  for (const char* grammar :
       {"root ::= [^\"]* \"\\\"\" [a-z]+", "root ::= (\"kind\" | [é-中]+ | \"x\" root \"y\")", "root ::= .{0,7} \"!\""})
    for (int i = 0; i < 4; ++i) n += compare(compile_gbnf(grammar), tokens, random, grammar);
  CHECK(n > 500);
}

TEST_CASE("control tokens and padding never come, the end exactly where the text may end") {
  const std::vector<std::string> tokens = vocabulary();
  const auto trie = std::make_shared<TokenTrie>(
      tokens.size(), [&](Token token) { return tokens[static_cast<size_t>(token)]; }, std::vector{kEnd});
  TokenMasks masks(compile_schema(R"({"enum": [1, 12]})"), trie);
  Matcher matcher = masks.start();
  CHECK(!masks.mask(matcher).has(kControl));
  CHECK(!masks.mask(matcher).has(kEnd));
  CHECK(!masks.mask(matcher).has(static_cast<Token>(tokens.size() - 1)));
  CHECK(masks.advance(matcher, static_cast<Token>(2 + '1')));
  CHECK(masks.mask(matcher).has(kEnd));
  CHECK(masks.advance(matcher, kEnd));
  CHECK(masks.advance(matcher, static_cast<Token>(2 + '2')));
  CHECK(masks.mask(matcher).has(kEnd));
  CHECK(!masks.advance(matcher, kControl));
}
