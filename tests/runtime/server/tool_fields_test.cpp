// Tools in requests: what is offered to the model, and what is refused by its place.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct ToolPlace {
  const char* path;
  Json body;
  bool flat;           // a tool's fields are not inside `function`
  const char* schema;  // what its parameters are called
  Json named(const std::string& name) const {
    if (flat && std::string(schema) == "input_schema") return {{"type", "tool"}, {"name", name}};
    if (flat) return {{"type", "function"}, {"name", name}};
    return {{"type", "function"}, {"function", {{"name", name}}}};
  }
  Json tool(Json function) const {
    if (function.contains("parameters") && std::string(schema) != "parameters") {
      function[schema] = function["parameters"];
      function.erase("parameters");
    }
    if (!flat) return {{"type", "function"}, {"function", function}};
    if (std::string(schema) == "parameters") function["type"] = "function";
    return function;
  }
};

const std::vector<ToolPlace>& tool_places() {
  static const Json messages = {{{"role", "user"}, {"content", "Hi"}}};
  static const std::vector<ToolPlace> all = {
      {"/v1/chat/completions", {{"messages", messages}}, false, "parameters"},
      {"/v1/responses", {{"input", "Hi"}}, true, "parameters"},
      {"/v1/messages", {{"messages", messages}, {"max_tokens", 500}}, true, "input_schema"},
  };
  return all;
}

const Json kFunction = {{"name", "get_weather"},
                        {"description", "The weather in a city"},
                        {"parameters", {{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}}}};

}  // namespace

TEST_CASE("tools: every protocol announces the same to the model") {
  std::vector<std::string> prompts;
  for (const ToolPlace& place : tool_places()) {
    Bed bed;
    bed.post(place.path, with(place.body, {{"tools", {place.tool(kFunction), place.tool({{"name", "g"}})}}}));
    prompts.push_back(bed.last_prompt());
    CHECK(contains(prompts.back(), "You are a helpful Assistant.\n\n## Tools\n\n### Function\n\n"));
    CHECK(contains(prompts.back(), "- `get_weather`:\n```json\n" + kFunction.dump(4) + "\n```\n- `g`:\n"));
    CHECK(prompts.back() == prompts.front());
    // auto says nothing new; what is not to be called is not announced, and cannot be called.
    bed.post(place.path, with(place.body, {{"tools", {place.tool(kFunction), place.tool({{"name", "g"}})}},
                                           {"tool_choice", place.flat && std::string(place.schema) == "input_schema"
                                                               ? Json{{"type", "auto"}}
                                                               : Json("auto")}}));
    CHECK(bed.last_prompt() == prompts.front());
    CHECK(bed.last().sampling.logit_bias.empty());
    for (const Json& none : {Json("none"), Json{{"type", "none"}}}) {
      bed.post(place.path, with(place.body, {{"tools", {place.tool(kFunction)}}, {"tool_choice", none}}));
      CHECK(!contains(bed.last_prompt(), "## Tools"));
      REQUIRE(bed.last().sampling.logit_bias.size() == 2);
      CHECK(bed.last().sampling.logit_bias[0].token == *served_tokenizer().find("<｜tool▁calls▁begin｜>"));
      CHECK(bed.last().sampling.logit_bias[0].bias == -100);
    }
    bed.post(place.path, with(place.body, {{"tools", Json::array()}}));
    CHECK(!contains(bed.last_prompt(), "## Tools"));
  }
  Bed bed;
  CHECK(
      contains(bed.post("/apply-template", with(tool_places()[0].body, {{"tools", {tool_places()[0].tool(kFunction)}}}))
                   .at("prompt")
                   .get<std::string>(),
               "## Tools"));
  const Json with_tool = with(tool_places()[2].body, {{"tools", {tool_places()[2].tool(kFunction)}}});
  CHECK(bed.post("/v1/messages/count_tokens", with_tool)["input_tokens"] >
        bed.post("/v1/messages/count_tokens", tool_places()[2].body)["input_tokens"]);
}

TEST_CASE("tools: of those allowed alone the model is told, and it may call no others") {
  for (size_t i = 0; i < 2; ++i) {
    const ToolPlace& place = tool_places()[i];
    CAPTURE(place.path);
    Bed bed;
    const Json body = with(place.body, {{"tools", {place.tool(kFunction), place.tool({{"name", "g"}})}}});
    const auto allowed = [&](const Json& choice) {
      Json whole = i == 0 ? Json{{"type", "allowed_tools"}, {"allowed_tools", choice}} : choice;
      whole["type"] = "allowed_tools";
      return with(body, {{"tool_choice", whole}});
    };
    bed.post(place.path, allowed({{"mode", "auto"}, {"tools", {place.named("g")}}}));
    CHECK(contains(bed.last_prompt(), "- `g`"));
    CHECK(!contains(bed.last_prompt(), "get_weather"));
    CHECK(bed.last().constraint == nullptr);
    bed.post(place.path, allowed({{"mode", "required"}, {"tools", {place.named("g")}}}));
    CHECK(bed.last().constraint != nullptr);
    const std::string list = i == 0 ? "tool_choice.allowed_tools.tools" : "tool_choice.tools";
    check_refused(bed, place.path, allowed({{"mode", "auto"}}), list, "found none");
    check_refused(bed, place.path, allowed({{"mode", "none"}, {"tools", {place.named("g")}}}),
                  list.substr(0, list.size() - 5) + "mode");
    check_refused(bed, place.path, allowed({{"tools", {place.named("h")}}}), list + "[0].name", "found \"h\"");
    check_refused(bed, place.path, allowed({{"tools", {{{"type", "mcp"}}}}}), list + "[0].type", "found \"mcp\"");
    check_refused(bed, place.path, allowed({{"tools", {5}}}), list + "[0]");
  }
}

TEST_CASE("tools: what is none is refused by its place") {
  Bed bed;
  for (const ToolPlace& place : tool_places()) {
    CAPTURE(place.path);
    const std::string inside = place.flat ? "tools[0]" : "tools[0].function";
    const auto refused = [&](const Json& tools, const std::string& param, const char* words = "expected") {
      check_refused(bed, place.path, with(place.body, {{"tools", tools}}), param, words);
    };
    refused("f", "tools", "expected a list");
    refused(Json::array({5}), "tools[0]");
    refused(Json::array({place.tool({{"description", "x"}})}), inside + ".name");
    for (const Json& name : {Json(""), Json("a b"), Json("a\n"), Json("é"), Json("<｜tool▁sep｜>"), Json("a\"b"),
                             Json(std::string(129, 'a')), Json(7)})
      refused(Json::array({place.tool({{"name", name}})}), inside + ".name");
    refused(Json::array({place.tool({{"name", "f"}, {"description", 1}})}), inside + ".description");
    refused(Json::array({place.tool({{"name", "f"}, {"parameters", "x"}})}), inside + "." + place.schema);
    for (const Json& type : {Json("string"), Json({"object", "null"}), Json(5)})
      refused(Json::array({place.tool({{"name", "f"}, {"parameters", {{"type", type}}}})}),
              inside + "." + place.schema + ".type", "expected object");
    refused(Json::array({place.tool({{"name", "f"}}), place.tool({{"name", "f"}})}), "tools[1]", "comes twice");
    refused(Json(1001, place.tool({{"name", "f"}})), "tools", "at most 1000");
    const Json fine = {place.tool(kFunction)};
    bed.post(place.path,
             with(place.body, {{"tools", {place.tool({{"name", "mcp.server:a/b-c_1"}, {"parameters", nullptr}})}}}));
    for (const Json& choice : {Json("required"), place.named("get_weather"), Json{{"type", "any"}}}) {
      bed.post(place.path, with(place.body, {{"tools", fine}, {"tool_choice", choice}}));
      CHECK(bed.last().constraint != nullptr);
    }
    bed.post(place.path, with(place.body, {{"tools", fine}}));
    CHECK(bed.last().constraint == nullptr);
    check_refused(bed, place.path, with(place.body, {{"tool_choice", "required"}}), "tool_choice", "expected tools");
    check_refused(bed, place.path, with(place.body, {{"tools", fine}, {"tool_choice", place.named("h")}}),
                  "tool_choice", "expected one of the tools, found \"h\"");
    for (const Json& choice : {Json("sometimes"), Json(1), Json{{"type", "custom"}}})
      check_refused(bed, place.path, with(place.body, {{"tools", fine}, {"tool_choice", choice}}), "tool_choice");
  }
  check_refused(bed, "/v1/chat/completions",
                with(tool_places()[0].body, {{"tools", {{{"type", "custom"}, {"custom", {{"name", "f"}}}}}}}),
                "tools[0].type", "expected function");
  check_refused(bed, "/v1/chat/completions", with(tool_places()[0].body, {{"tools", {{{"type", "function"}}}}}),
                "tools[0].function");
  check_refused(bed, "/v1/responses", with(tool_places()[1].body, {{"tools", {{{"type", "custom"}, {"name", "f"}}}}}),
                "tools[0].type", "expected function");
  check_refused(bed, "/v1/messages",
                with(tool_places()[2].body, {{"tools", {{{"type", "bash_20250124"}, {"name", "bash"}}}}}),
                "tools[0].type");
  for (const char* path : {"/v1/chat/completions", "/v1/responses"})
    check_refused(bed, path,
                  with(path == std::string("/v1/responses") ? tool_places()[1].body : tool_places()[0].body,
                       {{"parallel_tool_calls", "no"}}),
                  "parallel_tool_calls");
}

TEST_CASE("tools: what a service would run itself is dropped") {
  Bed bed;
  bed.post("/v1/responses", {{"input", "Hi"}, {"tools", {{{"type", "web_search"}}, {{"type", "image_generation"}}}}});
  CHECK(!contains(bed.last_prompt(), "## Tools"));
  bed.post("/v1/messages",
           with(tool_places()[2].body, {{"tools", {{{"type", "web_search_20250305"}, {"name", "web_search"}}}}}));
  CHECK(!contains(bed.last_prompt(), "## Tools"));
}

TEST_CASE("tools: names that are no text, and results that are too long, are one clear answer each") {
  Bed bed;
  const auto refused = [&](const std::string& body, const char* words) {
    const auto response = bed.start("POST", "/v1/chat/completions", body)->response();
    CHECK(response.status == 400);
    CHECK_MESSAGE(contains(Json::parse(response.body)["error"]["message"].get<std::string>(), words), response.body);
  };
  const std::string head = R"({"messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":)";
  refused(head + R"({"name":"f\ud800"}}]})", "not JSON");
  refused(head + "{\"name\":\"f\xED\xA0\x80\"}}]}", "not JSON");
  refused(head + R"({"name":"f","name":"g"}}]})", "twice");
  std::string deep = "1";
  for (int i = 0; i < 200; ++i) deep = "{\"properties\":" + deep + "}";
  refused(head + R"({"name":"f","parameters":)" + deep + "}}]}", "nested");
  const Json call = {{"id", "a"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{}"}}}};
  const Json long_result = {{"messages",
                             {{{"role", "user"}, {"content", "Hi"}},
                              {{"role", "assistant"}, {"tool_calls", {call}}},
                              {{"role", "tool"}, {"tool_call_id", "a"}, {"content", std::string(1 << 20, 'x')}}}}};
  const auto response = bed.send("/v1/chat/completions", long_result);
  CHECK(response.status == 400);
  CHECK(Json::parse(response.body)["error"]["type"] == "exceed_context_size_error");
}
