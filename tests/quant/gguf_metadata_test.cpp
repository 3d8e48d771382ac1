#include <doctest/doctest.h>

#include "tests/quant/gguf_bytes.h"

using namespace hearth;
using namespace hearth::test;

namespace {

GgufMetadata metadata() {
  GgufMetadata m = every_type();
  m.source = "x.gguf";
  return m;
}

}  // namespace

TEST_CASE("getters give the value, or nothing when the key is absent") {
  const GgufMetadata m = metadata();
  CHECK(m.unsigned_integer("t.u8") == 255);
  CHECK(m.unsigned_integer("t.u64") == ~uint64_t(0));
  CHECK(m.number("t.f32") == double(0.1f));
  CHECK(m.number("t.f64") == 0.1);
  CHECK(m.number("t.i8") == -128.0);
  CHECK(m.number("t.u16") == 65535.0);
  CHECK(m.boolean("t.bool") == true);
  CHECK(m.string("t.empty") == "");
  CHECK(m.strings("a.string")->at(1) == "left right");
  CHECK(m.u64s("a.u64")->at(0) == ~uint64_t(0));
  CHECK(m.integers("a.i32") == std::vector<int64_t>{-1, 0, 1});
  CHECK(m.integers("a.u8") == std::vector<int64_t>{0, 255});
  CHECK(std::get<std::vector<double>>(m.find("a.f32")->data) == std::vector<double>{1.5, double(-0.1f)});
  CHECK(m.integers("a.i8") == std::vector<int64_t>{-128, 127});
  CHECK(m.integers("a.u16") == std::vector<int64_t>{1, 65535});

  CHECK(!m.unsigned_integer("none"));
  CHECK(!m.number("none"));
  CHECK(!m.boolean("none"));
  CHECK(!m.string("none"));
  CHECK(!m.strings("none"));
  CHECK(!m.u64s("none"));
  CHECK(!m.integers("none"));
}

TEST_CASE("a positive integer of a signed type is an unsigned integer") {
  GgufMetadata m;
  m.set("k", GgufValue::of_i32(7));
  CHECK(m.unsigned_integer("k") == 7);
}

TEST_CASE("a value of another type is refused with file, key, expected and found") {
  const GgufMetadata m = metadata();
  CHECK_THROWS_WITH_AS(m.unsigned_integer("t.i8"), "x.gguf: key t.i8: expected an unsigned integer, found i8 -128",
                       Error);
  CHECK_THROWS_WITH_AS(m.unsigned_integer("t.f32"), "x.gguf: key t.f32: expected an unsigned integer, found f32 0.1",
                       Error);
  CHECK_THROWS_WITH_AS(m.number("general.architecture"),
                       "x.gguf: key general.architecture: expected a number, found string \"deepseek2\"", Error);
  CHECK_THROWS_WITH_AS(m.number("a.i32"), "x.gguf: key a.i32: expected a number, found array of i32 [-1, 0, 1]", Error);
  CHECK_THROWS_WITH_AS(m.boolean("t.u8"), "x.gguf: key t.u8: expected a bool, found u8 255", Error);
  CHECK_THROWS_WITH_AS(m.string("t.bool"), "x.gguf: key t.bool: expected a string, found bool true", Error);
  CHECK_THROWS_WITH_AS(m.strings("t.string"),
                       "x.gguf: key t.string: expected an array of strings, found string \"a\\x00\\n\xff\"", Error);
  CHECK_THROWS_WITH_AS(m.u64s("a.u32"), "x.gguf: key a.u32: expected an array of u64, found array of u32 [7]", Error);
  CHECK_THROWS_WITH_AS(m.integers("a.f32"),
                       "x.gguf: key a.f32: expected an array of integers, found array of f32 [1.5, -0.1]", Error);
  CHECK_THROWS_WITH_AS(m.integers("a.u64"),
                       "x.gguf: key a.u64: expected integers below 2^63, found array of u64 [18446744073709551615, 1]",
                       Error);
  CHECK_THROWS_WITH_AS(m.integers("a.bool"),
                       "x.gguf: key a.bool: expected an array of integers, found array of bool [true, false, true]",
                       Error);
}

TEST_CASE("set replaces in place, erase closes the gap") {
  GgufMetadata m;
  for (const char* key : {"a", "b", "c"}) m.set(key, GgufValue::of_string(key));
  m.set("b", GgufValue::of_u32(5));
  CHECK(m.entries()[1].first == "b");
  CHECK(m.unsigned_integer("b") == 5);
  m.erase("a");
  m.erase("none");
  REQUIRE(m.entries().size() == 2);
  CHECK(m.string("c") == "c");
  CHECK(m.unsigned_integer("b") == 5);
  CHECK(!m.find("a"));
  m.set("a", GgufValue::of_bool(false));
  CHECK(m.entries()[2].first == "a");
}

TEST_CASE("text for people shortens what is long and shows control characters") {
  CHECK(GgufValue::of_i32s({1, 2, 3, 4}).text(2) == "[1, 2, ... 4 items]");
  CHECK(GgufValue::of_strings({"a", "b"}).text() == "[\"a\", \"b\"]");
  CHECK(GgufValue::of_strings({}).text() == "[]");
  CHECK(GgufValue::of_f32(0.1f).text() == "0.1");
  CHECK(GgufValue::of_string(std::string(100, 'x')).text() == "\"" + std::string(60, 'x') + "\"... (100 bytes)");
  CHECK(GgufValue::of_string("\x1b[2J").text() == "\"\\x1b[2J\"");
  CHECK(GgufValue::of_strings({"a", "b"}).type_text() == "array of string");
  CHECK(GgufValue::of_strings({"a", "b"}).count() == 2);
  CHECK(GgufValue::of_string("abc").count() == 1);
  CHECK(GgufValue::of_u32(9).count() == 1);
}
