// Calls as V3.2 writes them.
#include "tests/runtime/tools/said_calls.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const CallSyntax kDsml{.format = CallFormat::dsml, .names = {"f", "g"}};
const std::string kListBegin = "<｜DSML｜function_calls>\n", kListEnd = "\n</｜DSML｜function_calls>";

std::string as_text(const std::string& key, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + key + "\" string=\"true\">" + value + "</｜DSML｜parameter>\n";
}
std::string as_json(const std::string& key, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + key + "\" string=\"false\">" + value + "</｜DSML｜parameter>\n";
}
std::string dsml_call(const std::string& name, const std::string& parameters) {
  return "<｜DSML｜invoke name=\"" + name + "\">\n" + parameters + "</｜DSML｜invoke>";
}

Taken dsml_calls(std::vector<SaidCall> made, const std::string& before = "", bool over = true) {
  return only_calls(std::move(made), before, over);
}

}  // namespace

TEST_CASE("dsml: one call and several") {
  CHECK(said_of(kDsml, "\n\n" + kListBegin + dsml_call("f", as_text("city", "New York") + as_json("n", "2")) +
                           kListEnd) == dsml_calls({{"f", "{\"city\": \"New York\", \"n\": 2}"}}));
  CHECK(said_of(kDsml, "See:\n\n" + kListBegin + dsml_call("f", "") + "\n" +
                           dsml_call("g", as_json("l", "[1, {\"a\": null}]")) + kListEnd) ==
        dsml_calls({{"f", "{}"}, {"g", "{\"l\": [1, {\"a\": null}]}"}}, "See:"));
  CHECK(said_of(kDsml, "See:\n\n\n" + kListBegin + dsml_call("f", "\n") + kListEnd).text ==
        "See:\n");  // two are the list's
}

TEST_CASE("dsml: values of all kinds, and strings with anything in them") {
  for (const char* value : {"1", "-2.5e3", "[1, [2]]", "{\"b\": {}}", "true", "null", "\"s\""})
    CHECK(said_of(kDsml, kListBegin + dsml_call("f", as_json("a", value)) + kListEnd) ==
          dsml_calls({{"f", std::string("{\"a\": ") + value + "}"}}));
  for (const std::string value :
       {"", "a\nb\tc", "\"quoted\" \\ back", "</｜DSML｜invoke>", "12", "\x01 ä 💡", "<｜DSML｜"}) {
    const Taken taken = said_of(kDsml, kListBegin + dsml_call("f", as_text("a", value)) + kListEnd);
    REQUIRE(taken.calls.size() == 1);
    CHECK(nlohmann::json::parse(taken.calls[0].arguments) == nlohmann::json{{"a", value}});
  }
  // What is said to be JSON and is none.
  CHECK(said_of(kDsml, kListBegin + dsml_call("f", as_json("a", " New \"York\" ")) + kListEnd) ==
        dsml_calls({{"f", "{\"a\": \"New \\\"York\\\"\"}"}}));
}

TEST_CASE("dsml: what models leave out") {
  CHECK(said_of(kDsml, "So\n\n" + dsml_call("f", as_text("x", "y")) + kListEnd) ==
        dsml_calls({{"f", "{\"x\": \"y\"}"}}, "So"));
  CHECK(said_of(kDsml, kListBegin + dsml_call("f", as_text("x", "y"))) ==
        dsml_calls({{"f", "{\"x\": \"y\"}"}}, "", false));
  CHECK(said_of(kDsml, kListBegin + dsml_call("f", as_text("x", "y")) + "\n") ==
        dsml_calls({{"f", "{\"x\": \"y\"}"}}, "", false));
}

TEST_CASE("dsml: what is no call is text, to the last byte") {
  for (const std::string& none :
       {std::string("\n\n<｜DSML｜"), "a\n\n" + kListBegin, kListBegin + kListEnd, kListBegin + "x" + kListEnd,
        "\n\n" + kListBegin + dsml_call("h", ""), kListBegin + "<｜DSML｜invoke name=\"f",
        kListBegin + "<｜DSML｜invoke name=\"f\" x>", kListBegin + "<｜DSML｜invoke name=\"\">",
        std::string("｜DSML｜ is a word, <｜DSML｜parameter name=\"a\" string=\"true\">b</｜DSML｜parameter>"),
        kListBegin + std::string(1100, ' ') + "x", "<｜DSML｜invoke name=\"" + std::string(1100, 'f'),
        std::string("\n\n<｜DSML｜invoke name=\"f\nx\">")})
    CHECK(said_of(kDsml, none) == only_text(none));
}

TEST_CASE("dsml: a call that breaks off ends, and the rest is text") {
  CHECK(said_of(kDsml, kListBegin + "<｜DSML｜invoke name=\"f\">\nso") == Taken{"\nso", {{"f", ""}}, {0}, false});
  CHECK(said_of(kDsml, kListBegin + "<｜DSML｜invoke name=\"f\">\n" + as_text("x", "y") + "so") ==
        Taken{"\nso", {{"f", "{\"x\": \"y\""}}, {0}, false});
  CHECK(said_of(kDsml,
                kListBegin + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"true\">ab</｜DS") ==
        dsml_calls({{"f", "{\"x\": \"ab</｜DS"}}, "", false));
  CHECK(said_of(kDsml, kListBegin + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"false\">[1") ==
        Taken{"[1", {{"f", "{\"x\": "}}, {0}, false});
  CHECK(said_of(kDsml, kListBegin + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"no\">1") ==
        Taken{"\n<｜DSML｜parameter name=\"x\" string=\"no\">1", {{"f", ""}}, {0}, false});
}

TEST_CASE("dsml: strings come as they are said, and JSON when it is whole") {
  Taker taker(kDsml);
  taker.push(kListBegin + "<｜DSML｜invoke name=\"f\">\n");
  CHECK(taker.so_far().calls == std::vector<SaidCall>{{"f", ""}});
  taker.push("<｜DSML｜parameter name=\"x\" string=\"true\">a\nb");
  CHECK(taker.so_far().calls[0].arguments == "{\"x\": \"a\\nb");
  taker.push("</｜DSML｜parameter><｜DSML｜parameter name=\"y\" string=\"false\">[1");
  CHECK(taker.so_far().calls[0].arguments == "{\"x\": \"a\\nb\", \"y\": ");
  taker.push("]</｜DSML｜parameter>");
  CHECK(taker.so_far().calls[0].arguments == "{\"x\": \"a\\nb\", \"y\": [1]");
}

TEST_CASE("dsml: JSON that is too long to wait for is a string") {
  const std::string list = "[" + std::string(size_t(1) << 20, ' ') + "1]";
  for (const size_t cut : {size_t(0), size_t(100), list.size() / 2, list.size() + 80}) {
    const Taken taken = taken_in_pieces(kDsml, {{kListBegin + dsml_call("f", as_json("a", list)) + kListEnd}}, {cut});
    REQUIRE(taken.calls.size() == 1);
    CHECK(nlohmann::json::parse(taken.calls[0].arguments)["a"] == list);
  }
}
