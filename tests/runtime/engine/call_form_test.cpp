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
                "required": ["a"], "additionalProperties": false, "maxProperties": 2})"},
    {"stop-it", R"({"type": "object", "maxProperties": 0})"},
};

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
                             {.format = CallFormat::tagged, .names = {"add", "stop-it"}}};
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

TEST_CASE("calls that cannot be bound are refused") {
  CHECK_THROWS_AS(compile_calls({{.format = CallFormat::dsml}, kFunctions}), Error);
  CHECK_THROWS_AS(compile_calls({{}, {{"f", R"({"type": 5})"}}}), grammar::Refusal);
}
