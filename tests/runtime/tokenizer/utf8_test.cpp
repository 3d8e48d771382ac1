#include "runtime/tokenizer/utf8.h"

#include <doctest/doctest.h>

#include <random>

using hearth::repair_utf8;
using hearth::Utf8Stream;

TEST_CASE("ill-formed bytes become U+FFFD, one for each maximal subpart") {
  const auto check = [](const std::string& bytes, const std::string& expected) {
    CAPTURE(expected);
    CHECK(repair_utf8(bytes) == expected);
  };
  check("", "");
  check("plain, naïve, 中文, 😀", "plain, naïve, 中文, 😀");
  check(std::string("a\0b", 3), std::string("a\0b", 3));
  check("\xEF\xBF\xBF\xF4\x8F\xBF\xBF\xED\x9F\xBF",
        "\xEF\xBF\xBF\xF4\x8F\xBF\xBF\xED\x9F\xBF");  // the last ones there are
  check("a\xFFz", "a\uFFFDz");
  check("\x80\xBF", "\uFFFD\uFFFD");
  // Tables 3-8 to 3-11 of Unicode 15.
  check("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  check("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  check("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42");
  check("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  // An end in the middle of a character.
  check("a\xE4\xB8", "a\uFFFD");
  check("\xF0\x9F\x98", "\uFFFD");
}

TEST_CASE("a stream hands out whole characters only, and in the end what repair gives") {
  Utf8Stream stream;
  CHECK(stream.push("a\xE4") == "a");
  CHECK(stream.push("\xB8") == "");
  CHECK(stream.push("\xAD\xF0\x9F") == "中");
  CHECK(stream.push("\x98\x80!") == "😀!");
  CHECK(stream.finish() == "");
  CHECK(stream.push("\xE4\xB8") == "");
  CHECK(stream.push("x") == "\uFFFDx");
  CHECK(stream.push("\xE4\xB8") == "");
  CHECK(stream.finish() == "\uFFFD");
  CHECK(stream.finish() == "");

  std::mt19937 random(1);
  const std::string parts[] = {"a",    "\xE4", "\xB8", "\xAD", "\xF0", "\x9F", "\x98",
                               "\x80", "\xC3", "\xA9", "\xED", "\xFF", "中"};
  for (int i = 0; i < 5000; ++i) {
    std::string all, out;
    Utf8Stream pieces;
    for (int n = 0; n < 12; ++n) {
      std::string piece;
      for (unsigned k = random() % 4; k > 0; --k) piece += parts[random() % std::size(parts)];
      all += piece;
      const std::string complete = pieces.push(piece);
      CHECK(repair_utf8(complete) == complete);
      out += complete;
    }
    CHECK(out + pieces.finish() == repair_utf8(all));
  }
}
