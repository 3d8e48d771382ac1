// JSON Schemas run over texts: schema_cases.json, and what may come next.
#include "runtime/grammar/grammar.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "runtime/grammar/json_value.h"
#include "tests/runtime/grammar/json_text.h"
#include "tests/support/paths.h"
#include "tests/support/text_file.h"

using namespace hearth::grammar;

namespace {

bool accepts(const Grammar& grammar, const std::string& text) {
  const auto state = grammar.start();
  for (const char c : text)
    if (!state->advance(static_cast<uint8_t>(c))) return false;
  return state->may_end();
}

JsonValue cases() {
  const auto path = hearth::test::source_dir() / "tests/runtime/grammar/schema_cases.json";
  return parse_json(hearth::test::read_text(path.string()));
}

int draft_of(const JsonValue& each) {
  const JsonValue* draft = each.find("draft");
  return draft ? std::stoi(draft->text) : 0;
}

}  // namespace

TEST_CASE("our own cases, each text taken or not") {
  int n = 0;
  for (const JsonValue& each : cases().items) {
    const auto grammar = compile_schema(json_text(*each.find("schema")), {.draft = draft_of(each)});
    for (const auto& [text, valid] : each.find("texts")->members) {
      CHECK_MESSAGE(accepts(*grammar, text) == valid.boolean, each.find("description")->text, ": ", text);
      ++n;
    }
  }
  CHECK(n > 100);
}

TEST_CASE("a text is stopped in front of the first byte that may not come") {
  const auto grammar = compile_schema(
      R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false})");
  Matcher matcher(grammar);
  CHECK(matcher.advance(R"({"a": 1)") == 7);
  CHECK(!matcher.may_end());
  Matcher copy = matcher;
  CHECK(copy.advance(R"(, "b")") == 0);
  CHECK(copy.dead());
  CHECK(matcher.advance("2}") == 2);
  CHECK(matcher.may_end());
  CHECK(matcher.allowed().none());
}

TEST_CASE("blank space can be that of people: a space, or line ends and an indentation") {
  const auto taken = [](const std::string& text) { return accepts(*compile_schema("{}", {.few_blanks = true}), text); };
  for (const char* text : {R"({"a b":[1,2]})", R"({ "a": 1 , "b":2 })", "\n\n[\n    1,\n\n \t 2\n]", " 1"})
    CHECK(taken(text));
  for (const char* text : {"[1  ]", "  1", "[ \n1]", "\n\n\n1", "[\n \n1]", "[\t1]", "[\r\n1]"}) CHECK(!taken(text));
  CHECK(taken("[\n" + std::string(60, ' ') + "1]"));
  CHECK(!taken("[\n" + std::string(61, ' ') + "1]"));
  CHECK(accepts(*compile_schema("{}"), "[\r\n" + std::string(300, ' ') + "1\t\t]"));
}

TEST_CASE("formats, where they are asked for") {
  const auto taken = [](const std::string& format, const std::string& text, bool formats = true) {
    return accepts(*compile_schema("{\"format\": \"" + format + "\"}", {.formats = formats}), "\"" + text + "\"");
  };
  CHECK(taken("date", "nonsense", false));
  CHECK(taken("color", "nonsense"));
  CHECK(taken("date", "2024-02-29"));
  CHECK(!taken("date", "2023-02-29"));
  CHECK(!taken("date", "1900-02-29"));
  CHECK(taken("date-time", "1985-04-12T23:20:50.52Z"));
  CHECK(!taken("date-time", "2022-01-01 12:00:00"));
  CHECK(taken("time", "23:59:60Z"));
  CHECK(!taken("time", "24:00:00Z"));
  CHECK(taken("duration", "P1Y2M3DT4H"));
  CHECK(!taken("duration", "P"));
  CHECK(taken("email", "joe.bloggs+x@example.com"));
  CHECK(!taken("email", "2962"));
  CHECK(taken("hostname", "www.example.com"));
  CHECK(!taken("hostname", "-a.example"));
  CHECK(taken("ipv4", "192.168.0.1"));
  CHECK(!taken("ipv4", "256.0.0.1"));
  for (const char* good : {"::", "::1", "1::", "1::8", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "1:2::192.168.0.1",
                           "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8"})
    CHECK_MESSAGE(taken("ipv6", good), good);
  for (const char* bad :
       {"1", ":::", "1::2::3", "1:2:3:4:5:6:7", "12345::", "1:2:3:4:5:6:7:8:9", ":2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::"})
    CHECK_MESSAGE(!taken("ipv6", bad), bad);
  CHECK(taken("uuid", "2EB8AA08-AA98-11EA-B4AA-73B441D16380"));
  CHECK(!taken("uuid", "2eb8aa08aa9811eab4aa73b441d16380"));
  CHECK(taken("uri", "http://user@[::1]:80/a/b?c=d#e"));
  CHECK(taken("uri", "urn:oasis:names"));
  CHECK(!taken("uri", "//foo.bar/?baz"));
  CHECK(taken("json-pointer", "/a~1b/~0"));
  CHECK(!taken("json-pointer", "a"));
  CHECK_THROWS_WITH(taken("iri", "x"), "/format: format iri cannot be asserted");
}

TEST_CASE("from every place that was reached something may come, or the text may end") {
  std::mt19937 random(7);
  int finished = 0;
  for (const JsonValue& each : cases().items) {
    const auto grammar = compile_schema(json_text(*each.find("schema")), {.draft = draft_of(each)});
    for (int round = 0; round < 12; ++round) {
      Matcher matcher(grammar);
      std::string text;
      for (int i = 0; i < 150; ++i) {
        const auto allowed = matcher.allowed();
        REQUIRE_MESSAGE((allowed.any() || matcher.may_end()), each.find("description")->text, ": ", text);
        if (matcher.may_end() && (allowed.none() || random() % 3 == 0)) {
          ++finished;
          break;
        }
        // Closing marks more often than others, so that texts end.
        uint8_t byte = 0;
        do byte = random() % 3 == 0 ? static_cast<uint8_t>("\"}]:,1"[random() % 6]) : static_cast<uint8_t>(random());
        while (!allowed[byte]);
        REQUIRE(matcher.advance(byte));
        text += static_cast<char>(byte);
      }
    }
  }
  CHECK(finished > 50);
}

TEST_CASE("numbers of answers end: digits for ever are no answer") {
  const auto taken = [](const char* schema, const std::string& text, bool few) {
    Matcher matcher(compile_schema(schema, {.few_blanks = few}));
    return matcher.advance(text);
  };
  const std::string digits(100, '7');
  for (const char* schema : {"{}", R"({"type": "integer"})", R"({"minimum": 10})"}) {
    CHECK(taken(schema, digits, true) == 40);
    CHECK(taken(schema, digits, false) == 100);
  }
  // Where it may not end yet, its exponent comes, or it goes on.
  CHECK(taken(R"({"type": "integer"})", "7." + digits, true) == 40);
  CHECK(taken(R"({"type": "integer"})", "7." + digits.substr(0, 38) + "e50", true) == 43);
  CHECK(taken(("{\"minimum\": 1" + std::string(60, '0') + "}").c_str(), digits, true) == 61);
  CHECK(taken(R"({"items": {"type": "integer"}})", "[" + digits.substr(0, 40) + ", " + digits, true) ==
        1 + 40 + 2 + 40);
}
