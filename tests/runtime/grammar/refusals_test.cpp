// What a schema or grammar cannot have is said with its place, in bounded time.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <ctime>
#include <string>

#include "runtime/grammar/grammar.h"
#include "tests/support/sanitized.h"

using namespace hearth::grammar;
using hearth::test::kSanitized;

namespace {

// "WHERE: WHY", or "" where there is no refusal.
std::string refused(const std::string& schema, int draft = 0) {
  try {
    compile_schema(schema, {.draft = draft});
    return "";
  } catch (const Refusal& refusal) {
    return refusal.where + ": " + refusal.why;
  }
}

std::string refused_gbnf(const std::string& grammar) {
  try {
    compile_gbnf(grammar);
    return "";
  } catch (const Refusal& refusal) {
    return refusal.where + ": " + refusal.why;
  }
}

std::string times(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("what is no schema") {
  CHECK(refused("{") == ": no JSON: expected a name at byte 1, found the end of the text");
  CHECK(refused("[]") == ": expected a schema: an object, true or false");
  CHECK(refused("{\"a\": \"\xff\"}") == ": no JSON: byte 7 is not UTF-8");
  CHECK(refused(R"({"const": "\ud800"})").find("surrogate") != std::string::npos);
  CHECK(refused(R"({"type": "int"})") ==
        "/type: expected null, boolean, number, integer, string, array or object, found int");
  CHECK(refused(R"({"properties": {"a/b": {"minLength": -1}}})") ==
        "/properties/a~1b/minLength: expected a whole number from 0 to 2^31");
  CHECK(refused(R"({"properties": {"a": {}, "b": 1}})") ==
        "/properties/b: expected a schema: an object, true or false");
  CHECK(refused(R"({"anyOf": []})") == "/anyOf: expected an array of one schema or more");
  CHECK(refused(R"({"multipleOf": 0})") == "/multipleOf: expected a number above 0");
  CHECK(refused(R"({"minimum": "1"})") == "/minimum: expected a number");
  CHECK(refused(R"({"minimum": 1e500})").starts_with("/minimum: a number of more than 400 digits"));
  CHECK(refused(R"({"required": "a"})") == "/required: expected an array of names");
  CHECK(refused(R"({"a": 1, "a": 2})") == ": an object has the name \"a\" twice");
  CHECK(refused(R"({"$schema": "http://example.org/mine"})").starts_with("/$schema: expected draft 4, 6, 7"));
}

TEST_CASE("what somebody wrote is told in one line, and not all of what is long") {
  CHECK(refused(R"({"properties": {"a\nb": {"type": "c\td"}}})").starts_with("/properties/a\\u000ab/type: expected "));
  CHECK(refused_gbnf("root ::= \"a\"\nb ::= \x01").find('\x01') == std::string::npos);
  const std::string what = refused("{\"properties\": {\"" + times("é", 100'000) + "\": 5}}");
  CHECK(what.starts_with("/properties/éé"));
  CHECK(what.size() < 1'100);
  CHECK(what.find("é...") != std::string::npos);
}

TEST_CASE("what is not supported, and what a draft does not have") {
  CHECK(refused(R"({"items": {"uniqueItems": true}})") == "/items/uniqueItems: items that differ are not supported");
  CHECK(refused(R"({"uniqueItems": false})") == "");
  CHECK(refused(R"({"unevaluatedProperties": false})") ==
        "/unevaluatedProperties: unevaluatedProperties is not supported");
  CHECK(refused(R"({"unevaluatedItems": false})") == "/unevaluatedItems: unevaluatedItems is not supported");
  CHECK(refused(R"({"$ref": "other.json"})") == "/$ref: other.json is not in this document");
  CHECK(refused(R"({"const": 1})", 4) == "/const: draft 4 has no const");
  CHECK(refused(R"({"prefixItems": []})", 7) == "/prefixItems: draft 7 has no prefixItems");
  CHECK(refused(R"({"pattern": "(?=a)b"})").starts_with("/pattern: pattern: look-around is not supported"));
  CHECK(refused(R"({"pattern": "(a)\\1"})").starts_with("/pattern: pattern: back references are not supported"));
  CHECK(refused(R"({"pattern": "\\bx"})").starts_with("/pattern: pattern: word boundaries are not supported"));
  CHECK(refused(R"({"patternProperties": {"(": true}})").starts_with("/patternProperties/(: pattern: expected ')'"));
}

TEST_CASE("what no value satisfies") {
  CHECK(refused("false") == ": no value satisfies it");
  CHECK(refused(R"({"type": "integer", "minimum": 1.2, "maximum": 1.8})") == ": no value satisfies it");
  CHECK(refused(R"({"type": "string", "pattern": "^a$", "minLength": 2})") == ": no value satisfies it");
  CHECK(refused(R"({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}})") ==
        ": no value satisfies it");
  CHECK(refused(R"({"type": "object", "required": ["a", "b"], "maxProperties": 1})") == ": no value satisfies it");
}

TEST_CASE("recursion without end, and what explodes: one answer each, soon") {
  const std::clock_t begin = std::clock();  // of the processor: other programs may be busy
  CHECK(refused(R"({"$ref": "#"})") == ": leads to itself without end");
  CHECK(refused(R"({"allOf": [{"$ref": "#"}]})") == ": leads to itself without end");
  CHECK(
      refused(R"({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})") ==
      "/$defs/a: leads to itself without end");
  CHECK(refused(times("{\"items\":", 10'000) + "1").find("more than 256 deep") != std::string::npos);
  CHECK(refused("{\"enum\": [" + times("[", 10'000)).find("more than 256 deep") != std::string::npos);
  std::string alternatives;
  for (int i = 0; i < 12; ++i)
    alternatives +=
        fmt::format(R"({}{{"anyOf": [{{"required": ["a{}"]}}, {{"required": ["b{}"]}}]}})", i ? "," : "", i, i);
  CHECK(refused("{\"allOf\": [" + alternatives + "]}").find("combine in more than 256 ways") != std::string::npos);
  CHECK(refused(R"({"pattern": ")" + times("(", 1000) + times(")", 1000) + "\"}").find("groups more than 200 deep") !=
        std::string::npos);
  CHECK(refused(R"({"pattern": "a{2000000}"})").find("more than 1000000 times") != std::string::npos);
  CHECK(refused(R"({"pattern": ")" + times("a", 20'000) + "\"}").find("a pattern of 20000 characters") !=
        std::string::npos);
  // A pattern whose automaton has 2^n states is one while nobody reads all of them, and an error where somebody does.
  Matcher matcher(compile_schema(R"({"pattern": "^(a|b)*a(a|b){3000}$"})"));
  CHECK_THROWS_WITH_AS(matcher.advance("\"" + times("a", 5'000)), doctest::Contains("a pattern has more than 2000"),
                       hearth::Error);
  const double seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;  // some 0.5
  CHECK((kSanitized || seconds < 5));
}

TEST_CASE("grammars in GBNF that cannot be had") {
  CHECK(refused_gbnf("") == "line 1: there is no rule root");
  CHECK(refused_gbnf("a ::= \"x\"") == "line 1: there is no rule root");
  CHECK(refused_gbnf("root ::= a\n") == "line 1: there is no rule a");
  CHECK(refused_gbnf("root ::= \"a\nb\n") == "line 3: a text or class without an end");
  CHECK(refused_gbnf("root = \"a\"") == "line 1: expected ::=");
  CHECK(refused_gbnf("root ::= \"a\"\nroot ::= \"b\"") == "line 2: a rule that is there already");
  CHECK(refused_gbnf("root ::= \"x\" |\n  x\nx ::= x \"a\" | \"b\"").find("left recursion") != std::string::npos);
  CHECK(refused_gbnf("root ::= \"a\"? root \"b\" | \"c\"").find("left recursion") != std::string::npos);
  CHECK(refused_gbnf("root ::= \"a\" root") == "line 1: root can never be finished");
  CHECK(refused_gbnf("root ::= [z-a]") == "line 1: a range whose ends are the wrong way round");
  CHECK(refused_gbnf("root ::= \"\\q\"") == "line 1: an unknown escape");
  CHECK(refused_gbnf("root ::= <think>") == "line 1: terminals that are tokens are not supported");
  CHECK(refused_gbnf("root ::= \"a\"{3,2}") == "line 1: a repetition whose least is more than its most");
  CHECK(refused_gbnf(times("# ten megabytes\n", 700'000)).find("at most 1048576 are taken") != std::string::npos);
  CHECK(refused_gbnf("root ::= " + times("(", 1000)).find("groups more than 200 deep") != std::string::npos);
}
