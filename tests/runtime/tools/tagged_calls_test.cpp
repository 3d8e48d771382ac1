// Calls between tags, as any model can write them.
#include "tests/runtime/tools/said_calls.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const CallSyntax kTagged{.format = CallFormat::tagged, .names = {"f", "g"}};

std::string tagged(const std::string& object) {
  return "<tool_call>\n" + object + "\n</tool_call>";
}
std::string tagged_call(const std::string& name, const std::string& arguments) {
  return tagged("{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}");
}

}  // namespace

TEST_CASE("tagged: one call and several") {
  CHECK(said_of(kTagged, tagged_call("f", "{\"x\": 1}")) == only_calls({{"f", "{\"x\": 1}"}}));
  CHECK(said_of(kTagged, "See:\n" + tagged_call("f", "{}") + "\n" + tagged_call("g", "{\"y\": [{}]}") + "\n") ==
        only_calls({{"f", "{}"}, {"g", "{\"y\": [{}]}"}}, "See:"));
  CHECK(said_of(kTagged, "See:\n\n" + tagged_call("f", "{}")).text == "See:\n");  // one line end is the tag's
  CHECK(said_of(kTagged, "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":1}}</tool_call>") ==
        only_calls({{"f", "{\"x\":1}"}}));
  // Of any name, where it is not known which there are.
  CHECK(said_of({.format = CallFormat::tagged}, tagged_call("h", "{}")) == only_calls({{"h", "{}"}}));
}

TEST_CASE("tagged: arguments that end in anything, and hold anything") {
  for (const char* value : {"1", "-2.5e3", "[1, [2]]", "{\"b\": {}}", "\"}\"", "\"\\\"}\"", "true", "null",
                            "\"</tool_call>\"", "\"<tool_call>\""}) {
    const std::string arguments = std::string("{\"a\": ") + value + "}";
    CHECK(said_of(kTagged, tagged_call("f", arguments)) == only_calls({{"f", arguments}}));
  }
}

TEST_CASE("tagged: members in another order, of other names, or missing") {
  CHECK(said_of(kTagged, tagged(R"({"arguments": {"x": 1}, "name": "f"})")) == only_calls({{"f", "{\"x\": 1}"}}));
  CHECK(said_of(kTagged, tagged(R"({"name": "f", "parameters": {"x": 1}})")) == only_calls({{"f", "{\"x\": 1}"}}));
  CHECK(said_of(kTagged, tagged(R"({"id": 7, "name": "f", "arguments": {"x": 1}, "type": ["a"]})")) ==
        only_calls({{"f", "{\"x\": 1}"}}));
  CHECK(said_of(kTagged, tagged(R"({"name": "f"})")) == only_calls({{"f", ""}}));
  CHECK(said_of(kTagged, tagged(R"({"name": "f", "id": true})")) == only_calls({{"f", ""}}));
  // As the text of an object, which some models are used to.
  CHECK(said_of(kTagged, tagged_call("f", R"("{\"x\": \"\\u00e9\\n\\\"\"}")")) ==
        only_calls({{"f", R"({"x": "\u00e9\n\""})"}}));
  CHECK(said_of(kTagged, tagged(R"({"arguments": " {} ", "name": "f"})")) == only_calls({{"f", "{}"}}));
  // At the end of all the tag may be missing.
  CHECK(said_of(kTagged, "<tool_call>{\"name\": \"f\", \"arguments\": {}}") == only_calls({{"f", "{}"}}));
  CHECK(said_of(kTagged, "<tool_call>{\"name\": \"f\", \"arguments\": {}}\n</tool") == only_calls({{"f", "{}"}}));
}

TEST_CASE("tagged: what follows the calls is over") {
  const Taken invented = said_of(kTagged, tagged_call("f", "{}") + "\n<tool_response>\n7\n</tool_response>");
  CHECK(invented == Taken{"\n<tool_response>\n7\n</tool_response>", {{"f", "{}"}}, {0}, true});
  CHECK(said_of(kTagged, tagged_call("f", "{}") + " So " + tagged_call("g", "{}")).over);
}

TEST_CASE("tagged: what is no call is text, to the last byte") {
  for (const std::string& text :
       {std::string("<tool_call>"),
        std::string("a <tool"),
        tagged("{}"),
        tagged("{\"name\": \"h\", \"arguments\": {}}"),
        tagged("[]"),
        tagged("f({})"),
        tagged_call("f", "\"x\""),
        tagged_call("f", "\"[1]\""),
        tagged_call("f", R"("{\"x\": ")"),
        tagged_call("f", "\"{}\\ud800\""),
        tagged("{\"name\": \"\"}"),
        tagged("{\"name\": 7}"),
        tagged("{\"name\": \"f\" \"arguments\": {}}"),
        tagged("{\"arguments\": {\"x\": 1}}"),
        tagged("{\"name\": \"f\", \"arguments\": {'x': 1}}"),
        tagged("{\"name\": \"f\\u0041\"}"),
        "x\n<tool_call>\n" + std::string(5000, ' ') + "{\"name\": \"f\"}",
        std::string("<tool_call>\n{\"name\": \"f\", "),
        std::string("use <tool_call> and </tool_call>\n"),
        tagged("{\"name\": \"f\", \"arguments\": [1]}"),
        tagged("{\"a\": \"" + std::string(5000, 'x') + "\", \"name\": \"f\", \"arguments\": {}}")})
    CHECK(said_of(kTagged, text) == only_text(text));
}

TEST_CASE("tagged: arguments that stop being JSON end their call, and the rest is text") {
  CHECK(said_of(kTagged, tagged_call("f", "{\"x\": 1,,}")) ==
        Taken{",}}\n</tool_call>", {{"f", "{\"x\": 1,"}}, {0}, false});
  CHECK(said_of(kTagged, "<tool_call>{\"name\": \"f\", \"arguments\": {}} so </tool_call>") ==
        Taken{"} so </tool_call>", {{"f", "{}"}}, {0}, false});
  CHECK(said_of(kTagged, "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"a") ==
        only_calls({{"f", "{\"x\": \"a"}}));
  const std::string long_tail(5000, ' ');
  CHECK(said_of(kTagged, "<tool_call>{\"name\": \"f\", \"arguments\": {}" + long_tail + "}</tool_call>") ==
        Taken{long_tail + "}</tool_call>", {{"f", "{}"}}, {0}, false});
}

TEST_CASE("tagged: a call after text that was none") {
  const Taken taken = said_of(kTagged, "<tool_call> is a tag.\n" + tagged_call("f", "{}"));
  CHECK(taken == Taken{"<tool_call> is a tag.", {{"f", "{}"}}, {21}, false});
  CHECK(said_of(kTagged, "<tool_call>" + tagged_call("f", "{}")).calls.size() == 1);
}

TEST_CASE("tagged: calls come as soon as they are certain") {
  Taker taker(kTagged);
  taker.push("Hi\n<tool_call>\n{\"name\": \"f\", \"arguments\": {");
  CHECK(taker.so_far() == only_text("Hi"));
  taker.push("\"x\": 12");
  CHECK(taker.so_far().calls == std::vector<SaidCall>{{"f", "{\"x\": 12"}});
  taker.push("}");
  CHECK(taker.so_far().calls[0].arguments == "{\"x\": 12}");
}
