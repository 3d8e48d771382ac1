#include "runtime/server/api_fields.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::server;
using hearth::test::refusal;

TEST_CASE("fields are read by kind; null is none") {
  const Json json = {{"t", "x"},  {"i", 3},       {"w", 4.0},    {"d", 0.5},
                     {"f", true}, {"n", nullptr}, {"l", {1, 2}}, {"o", {{"inner", "y"}}}};
  const Fields fields(json, "at[1]");
  CHECK(fields.text("t") == "x");
  CHECK(fields.integer("i", 0, 9) == 3);
  CHECK(fields.integer("w", 0, 9) == 4);
  CHECK(fields.number("d", 0, 1) == 0.5);
  CHECK(fields.number("i", 0, 9) == 3.0);
  CHECK(fields.flag("f") == true);
  CHECK(fields.list("l")->size() == 2);
  CHECK(fields.object("o")->text("inner") == "y");
  CHECK(fields.object("o")->path("inner") == "at[1].o.inner");
  CHECK(Fields(json).path("x") == "x");
  for (const char* none : {"n", "missing"}) {
    CHECK(!fields.has(none));
    CHECK(!fields.text(none));
    CHECK(!fields.integer(none, 0, 1));
    CHECK(!fields.number(none, 0, 1));
    CHECK(!fields.flag(none));
    CHECK(!fields.list(none));
    CHECK(!fields.object(none));
  }
  CHECK(fields.word("t", {"w", "x"}, "w") == "x");
  CHECK(fields.word("missing", {"w", "x"}, "w") == "w");
}

TEST_CASE("what is of another kind or out of range is refused by its path") {
  const Json json = {{"t", 1},     {"i", 1.5}, {"big", 1e300}, {"huge", UINT64_MAX}, {"low", -1},
                     {"d", "0.5"}, {"f", 0},   {"l", "x"},     {"o", Json::array()}, {"w", "z"}};
  const Fields fields(json, "m");
  const auto said = [](auto f) { return refusal([&] { f(); }); };
  CHECK(said([&] { fields.text("t"); }) == "m.t: expected a string, found the number 1");
  CHECK(said([&] { fields.required_text("none"); }) == "m.none: expected a string, found none");
  CHECK(said([&] { fields.integer("i", 0, 9); }) == "m.i: expected an integer from 0 to 9, found the number 1.5");
  CHECK(said([&] { fields.integer("big", 0, 9); }) ==
        "m.big: expected an integer from 0 to 9, found the number 1e+300");
  CHECK(said([&] { fields.integer("huge", 0, 9); }).starts_with("m.huge: expected an integer from 0 to 9"));
  CHECK(said([&] { fields.integer("low", 0, 9); }) == "m.low: expected an integer from 0 to 9, found the number -1");
  CHECK(said([&] { fields.integer("d", 0, 9); }) == "m.d: expected an integer from 0 to 9, found a string");
  CHECK(said([&] { fields.number("d", 0, 1); }) == "m.d: expected a number from 0 to 1, found a string");
  CHECK(said([&] { fields.number("low", 0, 1); }) == "m.low: expected a number from 0 to 1, found the number -1");
  CHECK(said([&] { fields.flag("f"); }) == "m.f: expected true or false, found the number 0");
  CHECK(said([&] { fields.list("l"); }) == "m.l: expected a list, found a string");
  CHECK(said([&] { fields.object("o"); }) == "m.o: expected an object, found a list");
  CHECK(said([&] { fields.word("w", {"a", "b"}, "a"); }) == "m.w: expected a, b, found \"z\"");
  CHECK(said([&] { Fields(json["t"], "m.t"); }) == "m.t: expected an object, found the number 1");
}
