#include "runtime/server/http_keys.h"

#include <doctest/doctest.h>

#include <fstream>

#include "tests/support/paths.h"
#include "tests/support/refusal.h"

namespace hearth::test {

using namespace hearth::server;

namespace {

std::string written(const TempDir& dir, const std::string& text) {
  std::ofstream(dir / "keys", std::ios::binary) << text;
  return dir / "keys";
}

}  // namespace

TEST_CASE("a file of keys has one a line") {
  const TempDir dir;
  const std::vector<std::string> two = {"sk-one", "two#2"};
  CHECK(read_api_keys(written(dir, "# ours\n\nsk-one\n  two#2 \t\n#three\n")) == two);
  CHECK(read_api_keys(written(dir, "sk-one\r\ntwo#2")) == two);
}

TEST_CASE("a file without keys is refused, without telling what is in it") {
  const TempDir dir;
  const auto said = [&](const std::string& text) {
    const std::string path = written(dir, text);
    return refusal([&] { read_api_keys(path); });
  };
  CHECK(contains(said(""), "expected API keys, one a line, found none"));
  CHECK(contains(said("# nothing\n \n"), "found none"));
  CHECK(contains(said("good\nhalf secret\n"), "keys:2: expected one API key"));
  CHECK(!contains(said("good\nhalf secret\n"), "secret"));
  CHECK(contains(said("k\xc3\xa9y\n"), "keys:1"));
  CHECK(contains(refusal([&] { read_api_keys(dir / "none"); }), "No such file"));
  CHECK(contains(refusal([&] { read_api_keys(dir.path().string()); }), dir.path().string()));  // a folder
  try {
    read_api_keys(dir / "none");
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::file);
  }
}

TEST_CASE("keys are compared whole, whatever their length") {
  CHECK(equal_in_constant_time("abc", "abc"));
  for (const char* other : {"", "a", "ab", "abd", "xbc", "abcd", "abcabc", "ABC"})
    CHECK(!equal_in_constant_time("abc", other));
  CHECK(!equal_in_constant_time("", ""));
  CHECK(!equal_in_constant_time("", "a"));
  CHECK(is_one_of({"a", "b", "c"}, "c"));
  CHECK(is_one_of({"a", "b", "c"}, "a"));
  CHECK(!is_one_of({"a", "b", "c"}, "d"));
  CHECK(!is_one_of({}, ""));
}

}  // namespace hearth::test
