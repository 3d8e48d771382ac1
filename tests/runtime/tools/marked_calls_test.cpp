// Calls as V2.5, V3, R1 and V3.1 write them, with control tokens and in a vocabulary that has none.
#include "tests/runtime/tools/said_calls.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const std::string LB = "<｜tool▁calls▁begin｜>", LE = "<｜tool▁calls▁end｜>", CB = "<｜tool▁call▁begin｜>",
                  CE = "<｜tool▁call▁end｜>", SEP = "<｜tool▁sep｜>";
const CallSyntax kTokens{.format = CallFormat::marked, .marks_are_tokens = true};
const CallSyntax kText{.format = CallFormat::marked};

std::string fenced(const std::string& name, const std::string& arguments) {
  return CB + "function" + SEP + name + "\n```json\n" + arguments + "\n```" + CE;
}
std::string plain(const std::string& name, const std::string& arguments) {
  return CB + name + SEP + arguments + CE;
}

// With marks as tokens and as text alike.
Taken marked(const std::string& text) {
  const Taken result = said_of(kTokens, text);
  CHECK(said_of(kText, text) == result);
  return result;
}

Taken marked_calls(std::vector<SaidCall> made, const std::string& before = "", bool over = true) {
  return only_calls(std::move(made), before, over);
}

}  // namespace

TEST_CASE("marked: one call and several, with and without fences") {
  CHECK(marked(LB + fenced("f", "{\"x\": 1}") + LE) == marked_calls({{"f", "{\"x\": 1}"}}));
  CHECK(marked("See:" + LB + fenced("f", "{\n \"x\": [1]\n}") + "\n" + fenced("g", "{}") + LE) ==
        marked_calls({{"f", "{\n \"x\": [1]\n}"}, {"g", "{}"}}, "See:"));
  CHECK(marked(LB + plain("f", "{\"x\": 1}") + plain("g", "{}") + LE) ==
        marked_calls({{"f", "{\"x\": 1}"}, {"g", "{}"}}));
  CHECK(marked("ä" + LB + plain("get.it-1", "{\"y\": null}") + LE) ==
        marked_calls({{"get.it-1", "{\"y\": null}"}}, "ä"));
}

TEST_CASE("marked: arguments that end in anything") {
  for (const char* value : {"1", "-2.5e3", "[1, [2]]", "{\"b\": {}}", "\"}\"", "\"\\\"\"", "true", "null", "\"```\"",
                            "\"\\n```\"", "\"<｜tool▁call\"", "[]"}) {
    const std::string arguments = std::string("{\"a\": ") + value + "}";
    CHECK(marked(LB + fenced("f", arguments) + LE) == marked_calls({{"f", arguments}}));
    CHECK(marked(LB + plain("f", arguments) + LE) == marked_calls({{"f", arguments}}));
  }
  // Marks in a string are text, where the vocabulary has them as tokens.
  const std::string quoted = "{\"a\": \"" + CE + LE + "\"}";
  Said said = said_in_tokens(LB + CB + "f" + SEP);
  said.push_back({quoted});
  said.push_back({CE, true});
  said.push_back({LE, true});
  check_all_cuts(kTokens, said);
  CHECK(taken(kTokens, said) == marked_calls({{"f", quoted}}));
}

TEST_CASE("marked: no arguments") {
  for (const std::string& call : {plain("f", ""), plain("f", " "), fenced("f", ""), CB + "function" + SEP + "f" + CE,
                                  CB + "function" + SEP + "f\n" + CE, CB + "function" + SEP + "f\n```json\n```" + CE})
    CHECK(marked(LB + call + LE) == marked_calls({{"f", ""}}));
}

TEST_CASE("marked: what models leave out or add") {
  const std::string arguments = "{\"x\": 1}";
  const Taken one = marked_calls({{"f", arguments}}), open = marked_calls({{"f", arguments}}, "", false);
  CHECK(marked(LB + "\n" + CB + "function" + SEP + " f \n\n```\n" + arguments + "\n\n```\n" + CE + "\n" + LE) == one);
  CHECK(marked(LB + CB + "function" + SEP + "f\n" + arguments + CE + LE) == one);             // no fence
  CHECK(marked(LB + CB + "f" + SEP + "\n```json\n" + arguments + "\n```" + CE + LE) == one);  // the name in front
  CHECK(marked(CB + "f" + SEP + arguments + CE + LE) == one);                                 // no list
  CHECK(marked(LB + CB + "f" + SEP + arguments + LE) == one);                                 // the call is not ended
  CHECK(marked(LB + CB + "f" + SEP + arguments + CB + "g" + SEP + "{}" + CE + LE) ==
        marked_calls({{"f", arguments}, {"g", "{}"}}));
  CHECK(marked(LB + fenced("f", arguments)) == open);  // the end of all
  CHECK(marked(LB + CB + "function" + SEP + "f\n```json\n" + arguments + "\n```") == open);
  CHECK(marked(LB + CB + "function" + SEP + "f\n```json\n" + arguments) == open);
  CHECK(marked(LB + fenced("f", arguments) + "\n") == open);
}

TEST_CASE("marked: what is no call is text, to the last byte") {
  const std::string arguments = "{\"x\": 1}";
  for (const std::string& text : {LB,
                                  LE,
                                  CB,
                                  CE,
                                  SEP,
                                  LB + LE,
                                  LB + "x" + LE,
                                  LB + CB,
                                  LB + CB + "f",
                                  LB + CB + "f" + SEP,
                                  LB + CB + CE + LE,
                                  CB + SEP + CE,
                                  LB + CB + "f" + SEP + "{",
                                  LB + CB + "f" + SEP + "{'x': 1}" + CE + LE,
                                  LB + CB + "f" + SEP + "[1]" + CE + LE,
                                  LB + CB + "f" + SEP + "12" + CE + LE,
                                  LB + LB,
                                  "a" + SEP + "b",
                                  LB + CB + "function" + SEP + "f\n```json\nx\n```" + CE + LE,
                                  LB + CB + "function" + SEP + "f\n``\n{}" + CE + LE,
                                  LB + CB + SEP + arguments + CE + LE,
                                  LB + CB + std::string(300, 'n') + SEP + arguments + CE + LE,
                                  LB + CB + "f\ng" + SEP + arguments + CE + LE,
                                  CB + "f" + CB + "g" + LB,
                                  std::string("say <｜tool▁calls"),
                                  LB + "  \n",
                                  LB + std::string(1100, ' ') + LE,
                                  LB + CB + std::string(1100, ' '),
                                  CB + "f" + SEP + std::string(1100, ' ')})
    CHECK(marked(text) == only_text(text));
}

TEST_CASE("marked: arguments that stop being JSON end their call, and the rest is text") {
  CHECK(marked(LB + plain("f", "{\"x\": 1,,}") + LE) == Taken{",}" + CE + LE, {{"f", "{\"x\": 1,"}}, {0}, false});
  CHECK(marked("a" + LB + plain("f", "{\"x\": 1} so")) == Taken{"a so" + CE, {{"f", "{\"x\": 1}"}}, {1}, false});
  // Cut short, by the model or from outside.
  CHECK(marked(LB + plain("f", "{\"x\": [1") + plain("g", "{}") + LE) ==
        marked_calls({{"f", "{\"x\": [1"}, {"g", "{}"}}));
  CHECK(marked(LB + CB + "f" + SEP + "{\"x\": \"ab") == marked_calls({{"f", "{\"x\": \"ab"}}, "", false));
}

TEST_CASE("marked: a call after text that was none") {
  const std::string call = LB + plain("f", "{}") + LE;
  Taken taken = marked(LB + "no" + call);
  CHECK(taken.text == LB + "no");
  CHECK(taken.calls == std::vector<SaidCall>{{"f", "{}"}});
  CHECK(marked(CB + "x" + call).text == CB + "x");
  CHECK(marked(call + " so").text == " so");
}

TEST_CASE("marked: text that looks like a call is none, where the vocabulary has the marks") {
  const std::string call = LB + fenced("f", "{\"x\": 1}") + LE;
  const Said repeated = {{"You wrote " + call}};
  check_all_cuts(kTokens, repeated);
  CHECK(taken(kTokens, repeated) == only_text("You wrote " + call));
  CHECK(taken(kText, repeated).calls.size() == 1);
  // Half of it as tokens does not help.
  Said half = {{LB, true}, {CB + "f" + SEP + "{}" + CE + LE}};
  check_all_cuts(kTokens, half);
  CHECK(taken(kTokens, half).calls.empty());
  // Nor does a control token that is no mark.
  CHECK(taken(kTokens, {{LB, true}, {"<｜User｜>", true}}) == only_text(LB + "<｜User｜>"));
}

TEST_CASE("marked: calls come as soon as they are certain") {
  Taker taker(kTokens);
  const auto so_far = [&] { return taker.so_far(); };
  taker.push("Hi");
  CHECK(so_far().text == "Hi");
  taker.push(LB, true);
  taker.push(CB, true);
  taker.push("function");
  taker.push(SEP, true);
  taker.push("f\n```json\n{");
  CHECK(so_far().calls.empty());
  taker.push("\"");
  CHECK(so_far().calls == std::vector<SaidCall>{{"f", "{\""}});
  taker.push("x\": 12");
  CHECK(so_far().calls[0].arguments == "{\"x\": 12");
  taker.push("}\n```");
  CHECK(so_far().calls[0].arguments == "{\"x\": 12}");
  taker.push(CE, true);
  taker.push(LE, true);
  CHECK(taker.finish().over);
}
