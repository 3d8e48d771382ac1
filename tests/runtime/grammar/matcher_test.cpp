// JSON Schemas run over documents: what is taken, where it is stopped, what may come next.
#include <doctest/doctest.h>

#include <string>

#include "runtime/grammar/grammar.h"

using namespace hearth::grammar;

namespace {

// "accepted", "unfinished", or the bytes that were taken.
std::string run(const std::string& schema, const std::string& text, int draft = 0) {
  Matcher matcher(compile_schema(schema, {.draft = draft}));
  const size_t taken = matcher.advance(text);
  if (taken < text.size()) return text.substr(0, taken);
  return matcher.may_end() ? "accepted" : "unfinished";
}

}  // namespace

TEST_CASE("a document is taken byte by byte, and stopped in front of the first that cannot be") {
  const std::string schema = R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})";
  CHECK(run(schema, R"({"a": 12})") == "accepted");
  CHECK(run(schema, R"({"a": 1)") == "unfinished");
  CHECK(run(schema, R"({"a": "x"})") == R"({"a": )");
  CHECK(run(schema, R"({"b": 1})") == R"({"b": 1)");
  CHECK(run(schema, R"([])") == "");
}
