// Answers put together from parts: thoughts first, tools or a schema.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "runtime/grammar/text_paths.h"
#include "runtime/grammar/token_masks.h"

using namespace hearth;
using namespace hearth::grammar;
using Kind = TextPart::Kind;

namespace {

TextPart text(const std::string& exactly) {
  return {.kind = Kind::text, .text = exactly};
}
TextPart schema(const char* own) {
  return {.kind = Kind::grammar, .grammar = compile_schema(own)};
}

bool accepts(const std::vector<TextPath>& paths, const std::string& answer) {
  Matcher matcher(compile_paths(paths));
  return matcher.advance(answer) == answer.size() && matcher.may_end();
}

const char* kNumber = R"({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})";

}  // namespace

TEST_CASE("thoughts up to a mark, then the schema") {
  const std::vector<TextPath> paths = {{{{.kind = Kind::free, .text = "</think>"}, schema(kNumber)}}};
  CHECK(accepts(paths, "Let me see: {\"n\"</thin</think>{\"n\": 1}"));
  CHECK(accepts(paths, "<</think>\n{\"n\": 1}"));
  CHECK(!accepts(paths, "{\"n\": 1}"));
  CHECK(!accepts(paths, "</think>{\"m\": 1}"));
  CHECK(!accepts(paths, "</think>{\"n\": 1} and so on"));
}

TEST_CASE("tools or schema: calls begin with a control token, which free text never has") {
  const std::string begin = control_mark("<calls>"), end = control_mark("</calls>"), other = control_mark("<other>");
  const TextPath answer{{schema(kNumber)}};
  const TextPath calls{{text(begin), text("f "), schema(R"({"enum": [1, 23]})"), text(end)}, 0};
  CHECK(accepts({answer, calls}, "{\"n\": 7}"));
  CHECK(accepts({answer, calls}, begin + "f 1" + end));
  CHECK(accepts({answer, calls}, begin + "f 23" + end + begin + "f 1" + end));
  CHECK(!accepts({answer, calls}, begin + "g 1" + end));
  CHECK(!accepts({answer, calls}, begin + "f 1"));
  CHECK(!accepts({answer, calls}, begin + "f 1" + end + "{\"n\": 7}"));
  const TextPath talk{
      {{.kind = Kind::free, .text = begin, .may_end = true}, text("f "), schema("{\"const\": 1}"), text(end)}};
  CHECK(accepts({talk}, ""));
  CHECK(accepts({talk}, "just talk, <calls> included"));
  CHECK(accepts({talk}, "first talk" + begin + "f 1" + end));
  CHECK(!accepts({talk}, "talk" + begin));
  CHECK(!accepts({talk}, "talk" + other));
  CHECK(!accepts({talk}, "talk" + begin.substr(0, 4)));
}

TEST_CASE("masks of paths have tokens that cross from one part to the next") {
  std::vector<std::string> tokens = {"",
                                     "</think>",
                                     "think",
                                     "</",
                                     ">",
                                     "{\"",
                                     ">{",
                                     "n",
                                     "\":",
                                     " 1",
                                     "}",
                                     "</think>{\"n",
                                     control_mark("<calls>"),
                                     "f",
                                     "x</think>[",
                                     control_mark("<other>"),
                                     "1}",
                                     "\"",
                                     "{",
                                     " "};
  const auto trie = std::make_shared<TokenTrie>(
      tokens.size(), [&](Token token) { return tokens[static_cast<size_t>(token)]; }, std::vector<Token>{0});
  const TextPath think{{{.kind = Kind::free, .text = "</think>"}, schema(kNumber)}};
  const TextPath calls{
      {{.kind = Kind::free, .text = control_mark("<calls>"), .may_end = true}, text("f"), schema(kNumber)}};
  for (const auto& paths : {std::vector{think}, std::vector{calls}, std::vector{think, calls}}) {
    TokenMasks masks(compile_paths(paths), trie);
    for (const std::vector<Token>& way :
         {std::vector<Token>{2, 3, 2, 4, 5, 7, 8, 9, 10}, {11, 8, 9, 10}, {2, 12, 13, 5, 7, 8, 16}, {3, 2, 6}}) {
      Matcher matcher = masks.start();
      for (const Token next : way) {
        const TokenMask& mask = masks.mask(matcher);
        for (size_t i = 1; i < tokens.size(); ++i) {
          Matcher copy = matcher;
          const bool may = copy.advance(tokens[i]) == tokens[i].size();
          CHECK_MESSAGE(mask.has(static_cast<Token>(i)) == may, "token ", tokens[i]);
        }
        CHECK(mask.has(0) == matcher.may_end());
        if (!masks.advance(matcher, next)) break;
      }
    }
  }
}

TEST_CASE("paths that cannot be had") {
  CHECK_THROWS_WITH(compile_paths({}), "paths: expected one or more");
  CHECK_THROWS_WITH(compile_paths({{{text("a")}, 1}}), "path 0: goes on with a part that is not there");
  CHECK_THROWS_WITH(compile_paths({{{text("a"), text("")}, 1}}), "path 0: repeats what may be nothing");
}
