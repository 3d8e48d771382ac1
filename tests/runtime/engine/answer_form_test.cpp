// Answers that are bound to a form: which tokens may come, thoughts in front of it or not.
#include "runtime/engine/answer_form.h"

#include <doctest/doctest.h>

#include "runtime/grammar/refusal.h"
#include "tests/runtime/chat/chat_vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Tokenizer& vocabulary() {
  static const Tokenizer t(ChatVocabulary().metadata());
  return t;
}
const int64_t kRows = int64_t(vocabulary().size()) + 70;  // with padding

bool allows(std::span<const uint64_t> mask, Token token) {
  return mask[size_t(token) / 64] >> (size_t(token) % 64) & 1;
}

const AnswerForm kSum = {AnswerForm::Kind::schema,
                         R"({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
                             "additionalProperties": false})"};

// Says the text byte by byte. What could not come is left, "|" and nothing if it may end there.
std::string taken(const AnswerForm& form, const std::string& text, ThoughtsInFront thoughts = {},
                  std::vector<Token> turn_ends = {}) {
  const AnswerForms forms(vocabulary(), kRows, turn_ends);
  const auto constraint = forms.bind(form, thoughts);
  for (size_t i = 0;; ++i) {
    const auto mask = constraint->allowed();
    REQUIRE(mask.size() == size_t(kRows + 63) / 64);
    bool some = false;
    for (Token t = 0; t < Token(kRows); ++t) {
      some = some || allows(mask, t);
      const bool text_token =
          size_t(t) < vocabulary().size() && !vocabulary().is_control(t) && !vocabulary().is_unused(t);
      const bool ends = size_t(t) < vocabulary().size() && vocabulary().ends_text(t);
      if (allows(mask, t) && !text_token && !ends) CHECK(std::ranges::find(turn_ends, t) != turn_ends.end());
    }
    CHECK(some);
    for (const Token end : turn_ends) CHECK(allows(mask, end) == allows(mask, *vocabulary().eos()));
    const bool may_end = allows(mask, *vocabulary().eos());
    if (i == text.size()) return may_end ? "|" : "";
    const std::vector<Token> byte = vocabulary().encode(text.substr(i, 1), false);
    REQUIRE(byte.size() == 1);
    if (!allows(mask, byte[0])) return text.substr(i);
    constraint->accept(byte[0]);
  }
}

}  // namespace

TEST_CASE("an answer keeps to its schema, and may end where that does") {
  CHECK(taken(kSum, R"({"sum": 12})") == "|");
  CHECK(taken(kSum, "\n{\n  \"sum\": -4\n}") == "|");
  CHECK(taken(kSum, R"({"sum": 1)") == "");
  CHECK(taken(kSum, R"({"sum": "1"})") == R"("1"})");
  CHECK(taken(kSum, R"({"sum": 1}} )") == "} ");
  CHECK(taken(kSum, "   {") == "  {");  // not blanks for ever
  CHECK(taken(AnswerForm::json_object(), R"({"any": [1, null], "b": {}})") == "|");
  CHECK(taken(AnswerForm::json_object(), "[") == "[");
  CHECK(taken({AnswerForm::Kind::gbnf, R"(root ::= "yes" | "no" ("!" | ""))"}, "no!") == "|");
  CHECK(taken({AnswerForm::Kind::gbnf, R"(root ::= "yes" | "no" ("!" | ""))"}, "noo") == "o");
}

TEST_CASE("thoughts come in front of the form where there are any") {
  const ThoughtsInFront opened = {.opened = true}, possible = {.possible = true};
  CHECK(taken(kSum, "12 and 7, {hm}\n</think>\n\n{\"sum\": 19}", opened) == "|");
  CHECK(taken(kSum, "{\"sum\": 19}", opened) == "");  // that was a thought
  CHECK(taken(kSum, "x</think>nine", opened) == "nine");
  CHECK(taken(kSum, "{\"sum\": 19}", possible) == "|");
  CHECK(taken(kSum, "<think>easy</think>{\"sum\": 19}", possible) == "|");
  CHECK(taken(kSum, "<thinks>", possible) == "s>");
  CHECK(taken(kSum, "<think>") == "<think>");
}

TEST_CASE("tokens that end a turn come where the form may end") {
  const Token user = vocabulary().encode("<｜User｜>", true).at(0);
  CHECK(taken(kSum, R"({"sum": 12})", {}, {user}) == "|");
}

TEST_CASE("a form that cannot be kept to is refused with the place") {
  const AnswerForms forms(vocabulary(), kRows);
  const auto where = [&](AnswerForm::Kind kind, const std::string& text) {
    try {
      forms.bind({kind, text});
    } catch (const grammar::Refusal& refusal) {
      CHECK(refusal.kind == ErrorKind::usage);
      return refusal.where;
    }
    return std::string("taken");
  };
  CHECK(where(AnswerForm::Kind::schema, R"({"properties": {"a": {"type": "objekt"}}})") == "/properties/a/type");
  CHECK(where(AnswerForm::Kind::gbnf, "root ::= \"a\"\nb ::= (") == "line 2");
}
