#include "runtime/tools/json_prefix.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

using namespace hearth;

namespace {

// By the library: with something behind it that makes it whole, where that can be.
bool is_value(const std::string& text) {
  return nlohmann::json::accept(text);
}

size_t taken_of(const std::string& text) {
  return JsonPrefix().push(text);
}

bool complete(const std::string& text) {
  JsonPrefix json;
  return json.push(text) == text.size() && json.complete();
}

}  // namespace

TEST_CASE("a value is taken to its end and no further") {
  CHECK(taken_of("{\"a\": [1, 2.5e-3, true, null, \"\\u00e4\\n\"]} x") == 42);
  CHECK(taken_of("{}{}") == 2);
  CHECK(taken_of("[]]") == 2);
  CHECK(taken_of("\"a\"b") == 3);
  CHECK(taken_of("12 ") == 2);
  CHECK(taken_of("truex") == 4);
  CHECK(taken_of(" {}") == 0);  // blanks are not the value's
}

TEST_CASE("what cannot go on is not taken") {
  const std::pair<const char*, size_t> faults[] = {
      {"{'a'", 1},        {"{a", 1},        {"{\"a\" 1", 5}, {"{\"a\":,", 5}, {"{\"a\":1,}", 7}, {"{\"a\":1]", 6},
      {"[1,]", 3},        {"[01", 2},       {"[1.]", 3},     {"[-a", 2},      {"[1e]", 3},       {"[1e+]", 4},
      {"[\"\\x", 3},      {"[\"\\u12g", 6}, {"[\"a\nb", 3},  {"[tru]", 4},    {"[NaN", 1},       {"}", 0},
      {"{\"a\":1 \"", 7}, {"[1 2", 3},      {"+1", 0},       {".5", 0},
  };
  for (const auto& [text, taken] : faults) {
    CAPTURE(text);
    JsonPrefix json;
    CHECK(json.push(text) == taken);
    CHECK(!json.complete());
  }
}

TEST_CASE("as the library has it, of every beginning and every broken text") {
  const std::string value = R"({"k\"ey": [1, -0.5e+7, 0, {"a": {}}, [], "s\\\u0041", false], "n": null})";
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string text = value.substr(0, random() % (value.size() + 1));
    for (unsigned edits = random() % 3; edits > 0 && !text.empty(); --edits)
      text[random() % text.size()] = "{}[]\",:0-.e\\utrn a"[random() % 18];
    CAPTURE(text);
    const std::string inside = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
    if (inside.empty() || inside[0] == ' ') continue;
    CHECK(complete(inside) == is_value(inside));
    // In pieces as in one.
    JsonPrefix json;
    size_t taken = 0;
    while (taken < text.size() && json.push(text.substr(taken, 1)) == 1) ++taken;
    CHECK(taken == taken_of(text));
  }
}

TEST_CASE("depth is bounded") {
  const size_t depth = JsonPrefix::kDepth;
  CHECK(complete(std::string(depth, '[') + std::string(depth, ']')));
  CHECK(taken_of(std::string(depth + 5, '[')) == depth);
}

TEST_CASE("when an object has shown that it is one") {
  JsonPrefix json;
  CHECK(!json.begun());
  json.push("{");
  CHECK(json.begun());
  json.push(" \n");
  CHECK(!json.has_content());
  json.push("\"");
  CHECK(json.has_content());
}
