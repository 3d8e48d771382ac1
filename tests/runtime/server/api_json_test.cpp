#include "runtime/server/api_json.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::server;
using namespace hearth::test;

namespace {

std::string complaint(const std::string& body) {
  std::string text;
  try {
    parse_body(body);
  } catch (const ApiError& error) {
    CHECK(error.status == 400);
    text = error.what();
    CHECK(text.size() < 500);
  }
  return text;
}

std::string nested(size_t depth) {
  return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

}  // namespace

TEST_CASE("a body is read as it stands: kinds, order, numbers") {
  const std::string text =
      R"({"z":1,"a":[true,null,-2,1.5,18446744073709551615,{"b":{},"a":[]}],"t":"é \u00e9 \ud83d\ude00 \u0000"})";
  const Json json = parse_body(text);
  CHECK(json == Json::parse(text));
  CHECK(json.dump() == Json::parse(text).dump());
  CHECK(parse_body(" {} ") == Json::object());
  CHECK(json["a"][4].get<uint64_t>() == UINT64_MAX);
}

TEST_CASE("what is no JSON object is refused in words") {
  CHECK(contains(complaint(""), "the body is empty"));
  CHECK(contains(complaint(" \n"), "the body is empty"));
  CHECK(contains(complaint("[1]"), "the body is a list: expected an object"));
  CHECK(contains(complaint("\"x\""), "the body is a string"));
  CHECK(contains(complaint("null"), "the body is null"));
  CHECK(contains(complaint("17"), "the body is the number 17"));
  for (const char* body :
       {"{", "{}x", "{\"a\":}", "{'a':1}", "{\"a\":NaN}", "{\"a\":1,}", "{\"a\":01}", "hello", "{}{}"}) {
    CAPTURE(body);
    CHECK(contains(complaint(body), "the body is not JSON: parse error at line 1"));
  }
  CHECK(contains(complaint("{\"a\":1e999}"), "not JSON: number overflow"));
  CHECK(contains(complaint("{\"a\":\"\xFF\"}"), "ill-formed UTF-8"));
  CHECK(contains(complaint("{\"a\":\"\\ud800\"}"), "the body is not JSON"));
  CHECK(contains(complaint(std::string("{\"a\":\"\0\"}", 9)), "the body is not JSON"));
}

TEST_CASE("names come once, nesting and the body's fields are bounded") {
  CHECK(contains(complaint(R"({"a":1,"a":2})"), "the name \"a\" twice"));
  CHECK(contains(complaint(R"({"b":{"a":1,"c":{"a":1},"a":2}})"), "the name \"a\" twice"));
  CHECK(complaint(R"({"b":{"a":1,"c":{"a":1}},"a":2})") == "");
  CHECK(complaint(nested(128)) == "");
  CHECK(contains(complaint(nested(129)), "nested deeper than 128 levels"));
  CHECK(contains(complaint(std::string(5'000'000, '[')), "nested deeper than 128 levels"));
  const auto fields = [](size_t n) {
    Json json;
    for (size_t i = 0; i < n; ++i) json[std::to_string(i)] = 0;
    return json.dump();
  };
  CHECK(complaint(fields(1000)) == "");
  CHECK(contains(complaint(fields(1001)), "more than 1000 fields"));
  CHECK(complaint("{\"a\":" + fields(1001) + "}") == "");
}

TEST_CASE("events are lines of one JSON text, and text is always UTF-8") {
  CHECK(event({{"a", "x\ny"}}) == "data: {\"a\":\"x\\ny\"}\n\n");
  CHECK(event("name", Json::object()) == "event: name\ndata: {}\n\n");
  CHECK(to_text("a\xFFz") == "\"a\uFFFDz\"");
  CHECK(kind_of(1.5) == "the number 1.5");
  CHECK(kind_of(false) == "false");
  CHECK(kind_of(Json::object()) == "an object");
}
