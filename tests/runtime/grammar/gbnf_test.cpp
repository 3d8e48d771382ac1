// Grammars in GBNF run over texts.
#include <doctest/doctest.h>

#include <string>

#include "runtime/grammar/grammar.h"

using namespace hearth::grammar;

namespace {

bool accepts(const std::string& grammar, const std::string& text) {
  Matcher matcher(compile_gbnf(grammar));
  return matcher.advance(text) == text.size() && matcher.may_end();
}

}  // namespace

TEST_CASE("texts, classes, alternatives and groups") {
  CHECK(accepts("root ::= \"a\" [b-d] | \"\\x41\\u00e9\\U0001F600\"", "ac"));
  CHECK(accepts("root ::= \"a\" [b-d] | \"\\x41\\u00e9\\U0001F600\"", "Aé😀"));
  CHECK(!accepts("root ::= \"a\" [b-d]", "ae"));
  CHECK(accepts("root ::= (\n  # a comment\n  \"x\" |\n  y\n)\ny-1 ::= \"z\"\ny ::= y-1 \"!\"", "z!"));
  CHECK(accepts("root ::= \"a\" |\n  \"b\"", "b"));
  CHECK(accepts("root ::= [^\\n\\]] [\\[\\]^-]", "ü]"));
  CHECK(!accepts("root ::= [^\\n]", "\n"));
  CHECK(accepts("root ::= .", "中"));
  CHECK(!accepts("root ::= .", "\xe4\xb8"));
  CHECK(accepts("root ::= \"\"", ""));
}

TEST_CASE("repetitions") {
  CHECK(accepts("root ::= \"ab\"*", ""));
  CHECK(accepts("root ::= \"ab\"*", "abab"));
  CHECK(!accepts("root ::= \"ab\"*", "aba"));
  CHECK(accepts("root ::= [0-9]{2,3} \"x\"?", "123x"));
  CHECK(!accepts("root ::= [0-9]{2,3}", "1"));
  CHECK(!accepts("root ::= [0-9]{2,3}", "1234"));
  CHECK(accepts("root ::= [0-9]{2,}", "123456"));
  CHECK(accepts("root ::= ([0-9]{2} \"-\"){2} \"!\"", "12-34-!"));
  CHECK(accepts("root ::= (\"a\"*)* \"b\"", "aab"));
  CHECK(accepts("root ::= (\"a\"? \"b\"?){3} \"c\"", "abac"));
  CHECK(!accepts("root ::= (\"a\"? \"b\"?){2} \"c\"", "aaac"));
  CHECK(accepts("root ::= \"a\"{0} \"b\"", "b"));
}

TEST_CASE("recursion, and what can never be finished is not begun") {
  const std::string brackets = "root ::= \"(\" root \")\" | \"x\"";
  CHECK(accepts(brackets, "((x))"));
  CHECK(!accepts(brackets, "((x)"));
  const std::string deep(100'000, '(');
  Matcher matcher(compile_gbnf(brackets));
  CHECK(matcher.advance(deep) == deep.size());
  Matcher choice(compile_gbnf("root ::= \"a\" endless | \"b\" [] | \"c\"\nendless ::= \"d\" endless"));
  CHECK(choice.allowed().count() == 1);
  CHECK(choice.allowed()['c']);
  // Without memory of its own for each turn.
  Matcher list(compile_gbnf("root ::= \"a\" root | \"b\""));
  CHECK(list.advance(std::string(50'000, 'a')) == 50'000);
  CHECK(list.advance("b") == 1);
  CHECK(list.may_end());
}

TEST_CASE("ways that meet again are one") {
  const std::string many = "root ::= (\"a\" | \"a\" \"a\" | x)* \"!\"\nx ::= \"a\"+";
  std::string text(2'000, 'a');
  text += '!';
  CHECK(accepts(many, text));
}

TEST_CASE("arithmetic") {
  const std::string grammar =
      "root ::= sum \"\\n\"\nsum ::= term ([+-] term)*\nterm ::= [0-9]+ | \"(\" sum \")\" # parentheses";
  CHECK(accepts(grammar, "1+(22-3)-4\n"));
  CHECK(!accepts(grammar, "1+\n"));
}
