#include "runtime/cli/chat/words.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>
#include <vector>

using namespace hearth::cli;

TEST_CASE("words: numbers in groups") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(-123) == "-123");
  CHECK(grouped(-1234) == "-1,234");
  CHECK(grouped(std::numeric_limits<int64_t>::min()) == "-9,223,372,036,854,775,808");
}

TEST_CASE("words: the first word, and the rest without blanks around it") {
  const auto split = [](const char* line) {
    const SplitLine parts = split_first_word(line);
    return parts.word + "|" + parts.rest;
  };
  CHECK(split("/set temperature 0.7") == "/set|temperature 0.7");
  CHECK(split("/save   my file.json \t") == "/save|my file.json");
  CHECK(split("/undo") == "/undo|");
  CHECK(split("/system\nBe brief.\nAlways.\n") == "/system|Be brief.\nAlways.");
  CHECK(split("") == "|");
}

TEST_CASE("words: paths with blanks, quotes and a home") {
  setenv("HOME", "/home/somebody", 1);
  CHECK(typed_path("  my notes.txt ") == "my notes.txt");
  CHECK(typed_path("~/a b") == "/home/somebody/a b");
  CHECK(typed_path("~") == "/home/somebody");
  CHECK(typed_path("~other/a") == "~other/a");
  CHECK(typed_path("a~/b") == "a~/b");
  CHECK(typed_path("'my notes.txt'") == "my notes.txt");
  CHECK(typed_path("\"~/x\"") == "/home/somebody/x");
  CHECK(typed_path("'half") == "'half");
  CHECK(typed_path("'") == "'");
  CHECK(typed_path(" \t") == "");
  unsetenv("HOME");
  CHECK(typed_path("~/x") == "~/x");
}

TEST_CASE("words: which one was meant") {
  const std::vector<std::string_view> known = {"/retry", "/undo", "/save", "/set", "/stats", "/load", "/clear"};
  CHECK(nearest_word("/retyr", known) == "/retry");
  CHECK(nearest_word("/rertry", known) == "/retry");
  CHECK(nearest_word("/Retri", known) == "/retry");
  CHECK(nearest_word("/und", known) == "/undo");
  CHECK(nearest_word("/c", known) == "/clear");  // the only one that begins so
  CHECK(nearest_word("/lode", known) == "/load");
  CHECK(nearest_word("/statistics", known) == "");
  CHECK(nearest_word("/xyz", known) == "");
  CHECK(nearest_word("", known) == "");
  CHECK(nearest_word(std::string(100000, 'x'), known) == "");
}

TEST_CASE("words: the last block of code") {
  CHECK(last_code_block("no code") == "");
  CHECK(last_code_block("a\n```python\nx = 1\n\ny = 2\n```\nb") == "x = 1\n\ny = 2");
  CHECK(last_code_block("```\none\n```\n~~~ c\ntwo\n~~~~\n") == "two");
  CHECK(last_code_block("````\n```\nin\n```\n````") == "```\nin\n```");  // a shorter fence ends nothing
  CHECK(last_code_block("```\n~~~\n```") == "~~~");
  CHECK(last_code_block("```\nnot closed\n") == "not closed");
  CHECK(last_code_block("```not `a` fence```\ntext") == "");
  CHECK(last_code_block("   ```\nx\n   ```") == "x");
  CHECK(last_code_block("    ```\nx\n    ```") == "");  // indented text is no fence
  CHECK(last_code_block("```\none\n```\n```\n```\n") == "");
}
