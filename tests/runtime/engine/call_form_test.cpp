// Calls that an answer is bound to: whatever is chosen among the tokens that may come, the parser of the format finds
// calls of the functions in it, with arguments that satisfy their schemas, and nothing else.
#include "runtime/engine/call_form.h"

#include <doctest/doctest.h>

#include <random>

#include "runtime/engine/answer.h"
#include "runtime/engine/answer_form.h"
#include "runtime/grammar/grammar.h"
#include "tests/runtime/chat/chat_vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Tokenizer& tokens() {
  static const Tokenizer t(ChatVocabulary().metadata());
  return t;
}

const std::vector<CallForm::Function> kFunctions = {
    {"add", R"({"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}, "b": {"enum": ["x", "]}"]}},
                "required": ["a"], "additionalProperties": false})"},
    {"stop-it", R"({"type": "object", "additionalProperties": false})"},
};
const CallSyntax kDsml = {.format = CallFormat::dsml, .names = {"add", "stop-it"}};

// Says what may be said, by chance, and hands it to an answer.
Answer at_random(const CallForm& form, ThoughtsInFront thoughts, std::mt19937& random) {
  const AnswerForms forms(tokens(), int64_t(tokens().size()));
  const auto constraint = forms.bind(form, thoughts);
  Answer answer = Answer::in_chat(tokens(), thoughts.opened, "", {}, {}, CallWishes{form.syntax, form.one_only});
  for (int n = 0; n < 3000; ++n) {
    const auto mask = constraint->allowed();
    std::vector<Token> allowed;
    for (Token t = 0; size_t(t) < tokens().size(); ++t)
      if (mask[size_t(t) / 64] >> (size_t(t) % 64) & 1) allowed.push_back(t);
    REQUIRE(!allowed.empty());
    const Token token = allowed[random() % allowed.size()];
    if (tokens().ends_text(token)) {
      answer.finish();
      return answer;
    }
    constraint->accept(token);
    answer.add(token);
  }
  FAIL("no end");
  return answer;
}

}  // namespace

TEST_CASE("bound calls are calls, in every format that can be bound") {
  std::mt19937 random(11);
  const CallSyntax ways[] = {{.format = CallFormat::marked, .marks_are_tokens = true},
                             {.format = CallFormat::marked, .marks_are_tokens = true, .fenced = false},
                             {.format = CallFormat::marked},
                             {.format = CallFormat::tagged, .names = {"add", "stop-it"}},
                             kDsml};
  size_t most = 0;
  for (const CallSyntax& syntax : ways) {
    for (int round = 0; round < 40; ++round) {
      CAPTURE(int(syntax.format));
      CAPTURE(syntax.fenced);
      const bool one_only = round % 2 == 0;
      const Answer answer = at_random({syntax, kFunctions, one_only}, {}, random);
      CHECK(answer.text() == "");
      REQUIRE(!answer.calls().empty());
      if (one_only) CHECK(answer.calls().size() == 1);
      most = std::max(most, answer.calls().size());
      for (const AnswerCall& call : answer.calls()) {
        CAPTURE(call.arguments);
        CHECK((call.name == "add" || call.name == "stop-it"));
        grammar::Matcher matcher(grammar::compile_schema(kFunctions[call.name == "add" ? 0 : 1].parameters));
        CHECK(matcher.advance(call.arguments) == call.arguments.size());
        CHECK(matcher.may_end());
      }
    }
  }
  CHECK(most > 1);
}

TEST_CASE("thoughts come in front of bound calls") {
  std::mt19937 random(5);
  const CallSyntax v31 = {.format = CallFormat::marked, .marks_are_tokens = true, .fenced = false};
  const AnswerForms forms(tokens(), int64_t(tokens().size()));
  const auto constraint = forms.bind(CallForm{v31, kFunctions, true}, {.opened = true});
  const auto may = [&](const std::string& text) {
    const Token token = tokens().encode(text, true).at(0);
    const auto mask = constraint->allowed();
    const bool allowed = mask[size_t(token) / 64] >> (size_t(token) % 64) & 1;
    if (allowed) constraint->accept(token);
    return allowed;
  };
  CHECK(may("h"));
  CHECK(!may("<｜tool▁calls▁begin｜>"));
  CHECK(may("</think>"));
  CHECK(!may("h"));
  CHECK(may("<｜tool▁calls▁begin｜>"));
}

TEST_CASE("V3.2's arguments are bound one by one: strings as they are, all else as JSON") {
  const auto reads = [&](const std::string& schema, const std::string& text) {
    grammar::Matcher matcher(compile_calls({kDsml, {{"add", schema}}, true}));
    const std::string all = "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"add\">\n" + text +
                            "</｜DSML｜invoke>\n</｜DSML｜function_calls>";
    return matcher.advance(all) == all.size() && matcher.may_end();
  };
  const auto parameter = [](const std::string& name, bool string, const std::string& value) {
    return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + (string ? "true" : "false") + "\">" + value +
           "</｜DSML｜parameter>\n";
  };
  const std::string text = R"({"properties": {"s": {"type": "string", "description": "x"}}, "required": ["s"]})";
  CHECK(reads(text, parameter("s", true, "a \"b\"\n</b>")));
  CHECK(reads(text, parameter("s", true, "")));
  CHECK(!reads(text, parameter("s", false, "\"a\"")));
  CHECK(!reads(text, ""));
  CHECK(!reads(text, parameter("t", true, "a")));
  // What a text by itself does not tell is JSON: so lengths, patterns, and mixed types are kept to.
  const std::string lengths = R"({"properties": {"s": {"type": "string", "maxLength": 2}, "n": {"$ref": "#/$defs/n"}},
                                  "$defs": {"n": {"type": ["integer", "null"]}}})";
  CHECK(reads(lengths, ""));
  CHECK(reads(lengths, parameter("s", false, "\"ab\"") + parameter("n", false, "null")));
  CHECK(reads(lengths, parameter("n", false, "-5")));
  CHECK(!reads(lengths, parameter("s", false, "\"abc\"")));
  CHECK(!reads(lengths, parameter("s", true, "ab")));
  CHECK(!reads(lengths, parameter("n", false, "1.5")));
  const std::string words =
      R"({"properties": {"e": {"enum": ["red", "blue"]}, "c": {"type": "string", "const": "x"}, "never": false,
                                "m": {"enum": ["a", 1]}}, "required": ["e", "other"], "additionalProperties": {"type": "boolean"}})";
  const std::string other = parameter("other", false, "true");
  CHECK(reads(words, parameter("e", true, "red") + parameter("c", true, "x") + other));
  CHECK(reads(words, parameter("e", true, "blue") + parameter("m", false, "\"a\"") + other));
  CHECK(!reads(words, parameter("e", true, "green") + other));
  CHECK(!reads(words, parameter("e", true, "red")));
  CHECK(!reads(words, parameter("e", true, "red") + parameter("c", false, "\"x\"") + other));
  CHECK(!reads(words, parameter("e", true, "red") + parameter("never", false, "1") + other));
}

TEST_CASE("text may stand in front of bound calls, or instead") {
  std::mt19937 random(3);
  const CallSyntax ways[] = {{.format = CallFormat::marked, .marks_are_tokens = true},
                             {.format = CallFormat::marked, .marks_are_tokens = true, .fenced = false},
                             {.format = CallFormat::tagged, .names = {"add", "stop-it"}},
                             kDsml};
  const std::string mark[] = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>", "<tool_call>", "<｜DSML｜"};
  for (size_t way = 0; way < std::size(ways); ++way) {
    CAPTURE(way);
    CallForm form = {.syntax = ways[way], .functions = kFunctions, .text_too = true};
    form.functions[1].parameters = "";
    const AnswerForms forms(tokens(), int64_t(tokens().size()));
    // Text alone.
    const auto constraint = forms.bind(form);
    const auto may = [&](Token token) { return constraint->allowed()[size_t(token) / 64] >> (size_t(token) % 64) & 1; };
    const Token eos = tokens().eos().value();
    CHECK(may(eos));
    for (const Token token : tokens().encode("Hello <tool", false)) {
      CHECK(may(token));
      constraint->accept(token);
    }
    CHECK(may(eos));
    // From the mark on, a call.
    for (const Token token : tokens().encode(mark[way], true)) {
      CHECK(may(token));
      constraint->accept(token);
    }
    CHECK(!may(eos));
    CHECK(!may(tokens().encode("z", false).at(0)));
  }
}

TEST_CASE("calls that cannot be bound are refused") {
  const auto where = [&](const CallSyntax& syntax, const char* schema) {
    try {
      compile_calls({syntax, {{"f", schema}}});
      return std::string("taken");
    } catch (const grammar::Refusal& refusal) {
      return refusal.where;
    }
  };
  CHECK(where({}, R"({"type": 5})") == "/type");
  CHECK(where(kDsml, "5") == "");
  CHECK(where(kDsml, R"({"maxProperties": 2})") == "/maxProperties");
  CHECK(where(kDsml, R"({"properties": 5})") == "/properties");
  CHECK(where(kDsml, R"({"required": 5})") == "/required");
  CHECK(where(kDsml, R"({"required": [5]})") == "/required");
  CHECK(where(kDsml, R"({"properties": {"a/b": {"type": 5}}})") == "/properties/a~1b/type");
  CHECK(where(kDsml, R"({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": 5}}})") ==
        "/$defs/b/type");
  CHECK(where(kDsml, R"({"properties": {"a\"": {}}})") == "/properties/a\"");
  CHECK(where(kDsml, R"({"properties": {"a": false}, "required": ["a"]})") == "/properties/a");
}
