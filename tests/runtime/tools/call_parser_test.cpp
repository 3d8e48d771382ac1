// What every parser of calls keeps, whatever a model says.
#include "tests/runtime/tools/said_calls.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const std::vector<CallSyntax> kSyntaxes = {{.format = CallFormat::marked, .marks_are_tokens = true},
                                           {.format = CallFormat::marked},
                                           {.format = CallFormat::dsml, .names = {"f", "g"}},
                                           {.format = CallFormat::tagged, .names = {"f", "g"}}};

// Parts of calls of each format, and what is between them.
const std::vector<std::string> kWords = {"<｜tool▁calls▁begin｜>",
                                         "<｜tool▁calls▁end｜>",
                                         "<｜tool▁call▁begin｜>",
                                         "<｜tool▁call▁end｜>",
                                         "<｜tool▁sep｜>",
                                         "function",
                                         "f",
                                         "g",
                                         "\n```json\n",
                                         "\n```",
                                         "{\"x\": 1}",
                                         "{",
                                         "}",
                                         "\"",
                                         "[1]",
                                         "{}",
                                         "\n",
                                         " ",
                                         "12",
                                         "{\"a\": \"",
                                         "<tool_call>",
                                         "</tool_call>",
                                         "{\"name\": \"f\", \"arguments\": ",
                                         "{\"name\": \"g\"}",
                                         "<tool",
                                         ", \"id\": 7}",
                                         "<｜DSML｜function_calls>",
                                         "</｜DSML｜function_calls>",
                                         "<｜DSML｜invoke name=\"f\">",
                                         "</｜DSML｜invoke>",
                                         "\n\n",
                                         "<｜DSML｜parameter name=\"a\" string=\"true\">",
                                         "<｜DSML｜parameter name=\"b\" string=\"false\">",
                                         "</｜DSML｜parameter>",
                                         "<｜DSML",
                                         "💡",
                                         "\xF0\x9F",
                                         "text "};

// Calls that are well begun, so that the states behind their beginnings are met as often.
const std::vector<std::string> kBeginnings = {
    "", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"x\": ",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}",
    "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ",
    "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">"};

}  // namespace

TEST_CASE("whatever is said, in whatever pieces: the same calls and the same text") {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text = kBeginnings[random() % kBeginnings.size()];
    for (size_t n = random() % 14; n > 0; --n) text += kWords[random() % kWords.size()];
    for (const CallSyntax& syntax : kSyntaxes) {
      const Said said = syntax.marks_are_tokens ? said_in_tokens(text) : Said{{text}};
      const Taken whole = taken(syntax, said);
      std::vector<size_t> cuts;
      const size_t longest = 1 + random() % 12;
      for (size_t at = 0; at < text.size(); at += 1 + random() % longest) cuts.push_back(at);
      const Taken pieces = taken_in_pieces(syntax, said, cuts);
      if (!(pieces == whole)) {
        CAPTURE(text);
        CHECK(pieces == whole);
      }
      // Without calls there is only text, and all of it; with calls, all that there is was said in this order.
      if (whole.calls.empty() && whole.text != text) CHECK(whole.text == text);
    }
  }
}

TEST_CASE("text without a call passes at once") {
  for (const CallSyntax& syntax : kSyntaxes) {
    Taker taker(syntax);
    std::string text;
    for (const std::string word : {"Hello", " you", ".\n", "1 < 2", " {\"x\": 1}", "```json\n"}) {
      taker.push(word);
      text += word;
      const std::string& out = taker.so_far().text;
      CHECK(text.starts_with(out));
      CHECK(text.size() - out.size() <= 1);  // a line end, or the beginning of a tag
    }
    CHECK(taker.finish() == only_text(text));
  }
}

TEST_CASE("what is held back is bounded") {
  const std::vector<std::string> beginnings = {
      "<｜tool▁calls▁begin｜>",
      "<｜tool▁call▁begin｜>",
      "<｜tool▁call▁begin｜>f<｜tool▁sep｜>",
      "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{",
      "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}",
      "<tool_call>",
      "<tool_call>{",
      "<tool_call>{\"name\": \"f\", \"arguments\": {",
      "<tool_call>{\"name\": \"f\", \"arguments\": {}",
      "\n\n",
      "<｜DSML｜function_calls>",
      "<｜DSML｜invoke name=\"f\">",
      "<｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=\"true\">"};
  for (const CallSyntax& syntax : kSyntaxes) {
    for (const std::string& beginning : beginnings) {
      for (const char* filling : {" ", "x", "\n", "1", "\""}) {
        CAPTURE(beginning);
        Taker taker(syntax);
        const Said begun = syntax.marks_are_tokens ? said_in_tokens(beginning) : Said{{beginning}};
        for (const SaidPiece& piece : begun) taker.push(piece.text, piece.control);
        size_t said = beginning.size();
        for (int i = 0; i < 200; ++i) {
          taker.push(std::string(100, *filling));
          said += 100;
        }
        size_t out = taker.so_far().text.size();
        for (const SaidCall& call : taker.so_far().calls) out += call.arguments.size();
        CHECK(said < out + 6000);
      }
    }
  }
}

TEST_CASE("long arguments take time by their length alone") {
  std::string arguments = "{\"text\": \"";
  for (int i = 0; i < 200000; ++i) arguments += "abcd\\n";
  arguments += "\"}";
  const std::string marked = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>" + arguments + "<｜tool▁call▁end｜>";
  const std::string tagged = "<tool_call>{\"name\": \"f\", \"arguments\": " + arguments + "}</tool_call>";
  for (const auto& [syntax, text] :
       {std::pair(kSyntaxes[0], marked), std::pair(kSyntaxes[1], marked), std::pair(kSyntaxes[3], tagged)}) {
    const Said said = syntax.marks_are_tokens ? said_in_tokens(text) : Said{{text}};
    std::vector<size_t> cuts;
    for (size_t at = 0; at < text.size(); at += 4) cuts.push_back(at);
    const Taken taken = taken_in_pieces(syntax, said, cuts);
    REQUIRE(taken.calls.size() == 1);
    CHECK(taken.calls[0].arguments == arguments);
  }
}
