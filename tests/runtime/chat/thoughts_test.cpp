#include "runtime/chat/thoughts.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace hearth;

namespace {

SplitText split_thoughts(std::string_view text, bool opened, std::string_view lead = "") {
  ThoughtSplitter splitter(opened, lead);
  SplitText all = splitter.push(text);
  SplitText rest = splitter.finish();
  return {all.thoughts + rest.thoughts, all.answer + rest.answer};
}

SplitText split_in_pieces(const std::string& text, bool opened, const std::string& lead,
                          const std::vector<size_t>& cuts) {
  ThoughtSplitter splitter(opened, lead);
  SplitText sum;
  const auto add = [&](const SplitText& more) {
    sum.thoughts += more.thoughts;
    sum.answer += more.answer;
  };
  size_t begin = 0;
  for (const size_t cut : cuts) {
    add(splitter.push(std::string_view(text).substr(begin, cut - begin)));
    begin = cut;
  }
  add(splitter.push(std::string_view(text).substr(begin)));
  add(splitter.finish());
  return sum;
}

const std::vector<std::string> kTexts = {
    "",
    "plain",
    " plain",
    "<think>",
    "<think>\n",
    "<think>\nLet me see.\n</think>\n\nHello",
    "  \n<think>a\n\nb</think>c",
    "a\nb\n</think>\n\nc\n",
    "<think></think>c",
    "<think>\n\n</think>\n\n",
    "</think>c",
    "a</think>b</think>c",
    "<think>never closed\n",
    "<thin",
    "<thinking>is another word",
    "say <think>x</think>",
    "<think>a < b </thin </think </think>d",
    "<think>\n<think>\ntwice</think>e",
    "\n\n",
    "<think>\r\na\r\n</think>\r\n\r\nb",
};

}  // namespace

TEST_CASE("thoughts and answer") {
  CHECK(split_thoughts("plain", false) == SplitText{"", "plain"});
  CHECK(split_thoughts("<think>\nLet me see.\n</think>\n\nHello", false) == SplitText{"Let me see.", "Hello"});
  CHECK(split_thoughts("Let me see.\n</think>\n\nHello\n", true) == SplitText{"Let me see.", "Hello\n"});
  CHECK(split_thoughts(" \n<think>a\n\nb</think>c", false) == SplitText{"a\n\nb", "c"});
  CHECK(split_thoughts("</think>c", true) == SplitText{"", "c"});
  CHECK(split_thoughts("\n</think>\n\n  c", true) == SplitText{"", "  c"});
  CHECK(split_thoughts("<think>\r\na\r\n</think>\r\n\r\nb", false) == SplitText{"a", "b"});
  CHECK(split_thoughts("<think>a < b </thin </think </think>d", false) == SplitText{"a < b </thin </think ", "d"});
  // Only the first ones count, and only at the beginning.
  CHECK(split_thoughts("<think>a</think>b</think>c", false) == SplitText{"a", "b</think>c"});
  CHECK(split_thoughts("say <think>x</think>", false) == SplitText{"", "say <think>x</think>"});
  CHECK(split_thoughts("<thinking>is another word", false) == SplitText{"", "<thinking>is another word"});
  // What nothing opened.
  CHECK(split_thoughts("a</think>b", false) == SplitText{"", "a</think>b"});
  // What never ends.
  CHECK(split_thoughts("<think>\nnever\n", false) == SplitText{"never\n", ""});
  CHECK(split_thoughts("never</thin", true) == SplitText{"never</thin", ""});
  CHECK(split_thoughts("<thin", false) == SplitText{"", "<thin"});
  // What the prompt opened and the model opens again.
  CHECK(split_thoughts("<think>\na</think>b", true) == SplitText{"a", "b"});
}

TEST_CASE("blanks of the format in front of an answer") {
  CHECK(split_thoughts(" Hello", false, " ") == SplitText{"", "Hello"});
  CHECK(split_thoughts("  Hello", false, " ") == SplitText{"", " Hello"});
  CHECK(split_thoughts("Hello", false, " ") == SplitText{"", "Hello"});
  CHECK(split_thoughts(" Hello", false) == SplitText{"", " Hello"});
  CHECK(split_thoughts(" <think>a</think> b", false, " ") == SplitText{"a", " b"});
  CHECK(split_thoughts(" ", false, " ") == SplitText{"", ""});
}

TEST_CASE("however a text comes in pieces, the sums are the same") {
  for (const std::string& text : kTexts) {
    for (const bool opened : {false, true}) {
      for (const char* lead : {"", " "}) {
        CAPTURE(text);
        CAPTURE(opened);
        const SplitText whole = split_thoughts(text, opened, lead);
        for (size_t a = 0; a <= text.size(); ++a)
          for (size_t b = a; b <= text.size(); ++b) CHECK(split_in_pieces(text, opened, lead, {a, b}) == whole);
        std::vector<size_t> each(text.size());
        for (size_t i = 0; i < each.size(); ++i) each[i] = i;
        CHECK(split_in_pieces(text, opened, lead, each) == whole);
      }
    }
  }
}

TEST_CASE("random texts of tags, in random pieces") {
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  const std::vector<std::string> words = {"<think>", "</think>", "\n",     " ",    "a",
                                          "<",       "</",       "think>", "\r\n", "\xE4\xBD\xA0"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t n = below(12); n > 0; --n) text += words[below(words.size())];
    std::vector<size_t> cuts;
    for (size_t at = 0; at < text.size(); at += 1 + below(6)) cuts.push_back(at);
    const bool opened = below(2) == 1;
    CAPTURE(text);
    CHECK(split_in_pieces(text, opened, " ", cuts) == split_thoughts(text, opened, " "));
  }
}

TEST_CASE("whether it is thinking is known while it comes") {
  ThoughtSplitter splitter(false);
  CHECK(!splitter.inside());
  CHECK(splitter.push("<thi") == SplitText{});
  CHECK(!splitter.inside());
  CHECK(splitter.push("nk>\nHm") == SplitText{"Hm", ""});
  CHECK(splitter.inside());
  CHECK(splitter.push(" so\n</thi") == SplitText{" so", ""});
  CHECK(splitter.push("nk>") == SplitText{});
  CHECK(!splitter.inside());
  CHECK(splitter.push("\n\nYes") == SplitText{"", "Yes"});
  CHECK(splitter.finish() == SplitText{});
  CHECK(ThoughtSplitter(true).inside());
}
