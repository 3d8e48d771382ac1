#include "runtime/chat/stop_strings.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Found {
  std::string text;
  bool stopped = false;
  bool operator==(const Found&) const = default;
};

Found in_pieces(const std::vector<std::string>& stops, const std::string& text, std::vector<size_t> cuts) {
  StopStrings strings(stops);
  Found found;
  cuts.push_back(text.size());
  size_t begin = 0;
  for (const size_t cut : cuts) {
    found.text += strings.push(std::string_view(text).substr(begin, cut - begin));
    begin = cut;
  }
  found.text += strings.finish();
  found.stopped = strings.stopped();
  return found;
}

// What is to be found: the place where a stop string is complete first, by trying every place.
Found expected(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops)
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

}  // namespace

TEST_CASE("stop strings: the text before the first that is complete, however it is cut") {
  const std::vector<std::vector<std::string>> lists = {
      {}, {"b"}, {"ab"}, {"aab"}, {"abab"}, {"ab", "b"}, {"bb", "abc"}, {"aaab", "aa"}, {"é"}, {"\n\n", "User:"}};
  for (const auto& stops : lists)
    for (const std::string text : {"", "a", "aaaab", "ababab", "abcabc", "aababc", "caffé au lait", "é", "a\n\nUser: b",
                                   "a\nUser b\n", "bbbb", "aab"}) {
      CAPTURE(text);
      const Found right = expected(stops, text);
      for (size_t a = 0; a <= text.size(); ++a)
        for (size_t b = a; b <= text.size(); ++b) CHECK(in_pieces(stops, text, {a, b}) == right);
      std::vector<size_t> each(text.size());
      for (size_t i = 0; i < each.size(); ++i) each[i] = i;
      CHECK(in_pieces(stops, text, each) == right);
    }
}

TEST_CASE("stop strings: which one was met, and how much of the text went with it") {
  StopStrings strings({"b", "abc", "END"});
  CHECK(strings.push("xa") == "x");
  CHECK(strings.met() == "");
  CHECK(strings.cut() == 0);
  CHECK(strings.push("bcd") == "a");  // "b" is complete before "abc"
  CHECK(strings.met() == "b");
  CHECK(strings.cut() == 3);

  StopStrings longest({"b", "ab"});  // complete at the same place
  CHECK(longest.push("xab!") == "x");
  CHECK(longest.met() == "ab");
  CHECK(longest.cut() == 3);
}

TEST_CASE("stop strings: only what may be the beginning of one is held back") {
  StopStrings strings({"END", "\n\n"});
  CHECK(strings.push("one E") == "one ");
  CHECK(strings.holds_back());
  CHECK(strings.push("N") == "");
  CHECK(strings.push("ough\n") == "ENough");
  CHECK(strings.push("two") == "\ntwo");
  CHECK(!strings.holds_back());
  CHECK(strings.push("EN") == "");
  CHECK(!strings.stopped());
  CHECK(strings.push("D and more") == "");
  CHECK(strings.stopped());
  CHECK(!strings.holds_back());
  CHECK(strings.push("more") == "");  // nobody listens any more
  CHECK(strings.finish() == "");
}

TEST_CASE("stop strings: what was held back and was none belongs to the text") {
  StopStrings strings({"END"});
  CHECK(strings.push("EN") == "");
  CHECK(strings.finish() == "EN");
  CHECK(!strings.stopped());
}

TEST_CASE("stop strings: an empty one is refused") {
  CHECK(refusal([] { StopStrings({"a", ""}); }) == "stop strings: expected text, found an empty one");
}
