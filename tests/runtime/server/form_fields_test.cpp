// Forms in requests: what binds an answer, in each protocol's words, and what is refused by its place.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Json kSumSchema = {{"type", "object"},
                         {"properties", {{"sum", {{"type", "integer"}}}}},
                         {"required", {"sum"}},
                         {"additionalProperties", false}};
const Json kOneMessage = {{{"role", "user"}, {"content", "Hi"}}};
const std::string kOfChat = "/v1/chat/completions", kOfCompletions = "/v1/completions", kOfResponses = "/v1/responses",
                  kOfMessages = "/v1/messages", kOfInfill = "/infill";

// How much of a text may be said.
std::string said(Constraint& constraint, const std::string& text) {
  std::string said;
  for (const Token token : said_bytes(text)) {
    if ((constraint.allowed()[size_t(token) / 64] >> (size_t(token) % 64) & 1) == 0) break;
    constraint.accept(token);
    said += served_tokenizer().bytes_of(token, true);
  }
  return said;
}

// The text of a request's answer is bound to.
std::string bound(const std::string& path, const Json& body, const std::string& text) {
  Bed bed;
  bed.post(path, body);
  const auto& constraint = bed.last().constraint;
  return constraint ? said(*constraint, text) : "not bound";
}

}  // namespace

TEST_CASE("forms: every protocol's words for a schema bind the answer to it") {
  const Json chat = {{"messages", kOneMessage}}, completion = {{"prompt", "1 + 1 ="}}, response = {{"input", "Hi"}},
             message = {{"messages", kOneMessage}, {"max_tokens", 50}},
             infill = {{"input_prefix", "a"}, {"input_suffix", "b"}};
  const Json named = {{"type", "json_schema"},
                      {"json_schema", {{"name", "sum"}, {"strict", true}, {"schema", kSumSchema}}}};
  const Json flat = {{"type", "json_schema"}, {"name", "sum"}, {"schema", kSumSchema}};
  const std::string good = "{\"sum\": 2}", bad = "{\"sum\": [2]}", stopped = "{\"sum\": ";
  for (const auto& [path, body] :
       {std::pair{kOfChat, with(chat, {{"response_format", named}})},
        {kOfChat, with(chat, {{"response_format", {{"type", "json_object"}, {"schema", kSumSchema}}}})},
        {kOfChat, with(chat, {{"json_schema", kSumSchema}})},
        {kOfCompletions, with(completion, {{"response_format", named}})},
        {kOfCompletions, with(completion, {{"json_schema", kSumSchema}})},
        {kOfResponses, with(response, {{"text", {{"format", flat}}}})},
        {kOfMessages, with(message, {{"output_config", {{"format", flat}}}})},
        {kOfMessages, with(message, {{"output_format", flat}})},
        {kOfInfill, with(infill, {{"json_schema", kSumSchema}})}}) {
    CAPTURE(path);
    CAPTURE(body.dump());
    CHECK(bound(path, body, good) == good);
    CHECK(bound(path, body, bad) == stopped);
  }
  for (const auto& [path, body] : {std::pair{kOfChat, chat}, {kOfCompletions, completion}, {kOfInfill, infill}}) {
    CHECK(bound(path, with(body, {{"grammar", "root ::= \"yes\" | \"no\""}}), "nope") == "no");
    CHECK(bound(path, with(body, {{"grammar", ""}, {"json_schema", Json::object()}}), "x") == "not bound");
  }
  CHECK(bound(kOfChat, with(chat, {{"response_format", {{"type", "json_object"}}}}), "[") == "");
  CHECK(bound(kOfChat, with(chat, {{"response_format", {{"type", "json_object"}}}}), "{}") == "{}");
  for (const auto& [path, body] : {std::pair{kOfChat, with(chat, {{"response_format", {{"type", "text"}}}})},
                                   {kOfResponses, with(response, {{"text", {{"format", {{"type", "text"}}}}}})},
                                   {kOfMessages, with(message, {{"output_config", {{"effort", "high"}}}})}})
    CHECK(bound(path, body, "x") == "not bound");
}

TEST_CASE("forms: each of several answers has its own") {
  Bed bed;
  bed.post(kOfChat, {{"messages", kOneMessage}, {"n", 3}, {"json_schema", kSumSchema}});
  REQUIRE(bed.generator.asked.size() == 3);
  for (const auto& asked : bed.generator.asked)
    CHECK(said(*asked.request.constraint, "{\"sum\": 5}x") == "{\"sum\": 5}");
}

TEST_CASE("forms: thoughts come first where the prompt has opened them") {
  Bed bed("deepseek-v3.1");
  const Json body = {
      {"messages", kOneMessage}, {"json_schema", kSumSchema}, {"chat_template_kwargs", {{"thinking", true}}}};
  bed.post(kOfChat, body);
  CHECK(said(*bed.last().constraint, "well</think>{\"sum\": 5}") == "well</think>{\"sum\": 5}");
}

TEST_CASE("forms: what cannot be kept to is refused by its place") {
  Bed bed;
  const auto refused = [&](const std::string& path, const Json& body, const Json& more, const std::string& param,
                           const std::string& words = "") { check_refused(bed, path, with(body, more), param, words); };
  const Json chat = {{"messages", kOneMessage}}, response = {{"input", "Hi"}},
             message = {{"messages", kOneMessage}, {"max_tokens", 50}};
  refused(kOfChat, chat, {{"response_format", "json"}}, "response_format", "expected an object");
  refused(kOfChat, chat, {{"response_format", Json::object()}}, "response_format.type");
  refused(kOfChat, chat, {{"response_format", {{"type", "xml"}}}}, "response_format.type", "json_schema");
  refused(kOfChat, chat, {{"response_format", {{"type", "json_schema"}}}}, "response_format.schema", "found none");
  refused(kOfChat, chat, {{"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "x"}}}}}},
          "response_format.json_schema.schema", "found none");
  const Json unique = {{"type", "array"}, {"items", {{"type", "array"}, {"uniqueItems", true}}}};
  refused(kOfChat, chat, {{"response_format", {{"type", "json_schema"}, {"json_schema", {{"schema", unique}}}}}},
          "response_format.json_schema.schema", "/items/uniqueItems");
  refused(kOfChat, chat, {{"json_schema", unique}}, "json_schema", "/items/uniqueItems");
  refused(kOfChat, chat, {{"json_schema", kSumSchema}, {"grammar", "root ::= \"a\""}}, "grammar",
          "json_schema beside it");
  refused(kOfChat, chat, {{"grammar", "root ::= ("}}, "grammar", "line 1");
  refused(kOfChat, chat, {{"grammar", 5}}, "grammar");
  refused(kOfChat, chat, {{"json_schema", {{"properties", {{"a\nb", {{"type", "c\rd"}}}}}}}}, "json_schema",
          "/properties/a\\u000ab/type: expected");
  refused(kOfResponses, response, {{"text", {{"format", {{"type", "json_schema"}}}}}}, "text.format.schema",
          "found none");
  // (Anthropic's errors have no field of their own for the place.)
  refused(kOfMessages, message, {{"output_config", {{"format", {{"type", "json_schema"}}}}}},
          "output_config.format.schema", "found none");
  const Json tools = {{{"type", "function"}, {"function", {{"name", "f"}}}}};
  refused(kOfChat, chat, {{"json_schema", unique}, {"tools", tools}}, "json_schema", "/items/uniqueItems");
  refused(kOfChat, chat,
          {{"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", {{"properties", 5}}}}}}}},
           {"tool_choice", "required"}},
          "tool_choice", "/properties");
}

TEST_CASE("forms: beside functions the answer is a call or of the form; where one must be called, a call") {
  const Json chat = {{"messages", kOneMessage},
                     {"tools",
                      {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", kSumSchema}}}},
                       {{"type", "function"}, {"function", {{"name", "g"}}}}}}};
  const std::string begins = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                    ends = "\n```<｜tool▁call▁end｜>", all_end = "<｜tool▁calls▁end｜>",
                    f = begins + "f\n```json\n{\"sum\": 1}" + ends,
                    g = begins.substr(begins.find("<｜tool▁call▁")) + "g\n```json\n{}" + ends;
  const Json form = {{"json_schema", kSumSchema}}, none = {{"json_schema", kSumSchema}, {"tool_choice", "none"}},
             must = {{"tool_choice", "required"}}, one = {{"tool_choice", "required"}, {"parallel_tool_calls", false}},
             only_g = {{"tool_choice", {{"type", "function"}, {"function", {{"name", "g"}}}}}};
  const std::string answer = "{\"sum\": 3}";
  CHECK(bound(kOfChat, with(chat, form), answer) == answer);
  CHECK(bound(kOfChat, with(chat, form), f + all_end) == f + all_end);
  CHECK(bound(kOfChat, with(chat, none), answer) == answer);
  CHECK(bound(kOfChat, with(chat, none), f) == "");
  CHECK(bound(kOfChat, with(chat, must), answer) == "");
  CHECK(bound(kOfChat, with(chat, must), f + "\n" + g + all_end + "x") == f + "\n" + g + all_end);
  CHECK(bound(kOfChat, with(chat, one), f + "\n" + g + all_end) == f);
  CHECK(bound(kOfChat, with(chat, only_g), f) == begins);
  CHECK(bound(kOfChat, with(chat, only_g), begins + "g\n```json\n{\"a\":1}" + ends) ==
        begins + "g\n```json\n{\"a\":1}" + ends);
  CHECK(bound(kOfChat, chat, answer) == "not bound");
  const Json message = {
      {"messages", kOneMessage}, {"max_tokens", 50}, {"tools", {{{"name", "f"}, {"input_schema", kSumSchema}}}}};
  CHECK(bound(kOfMessages, with(message, {{"tool_choice", {{"type", "any"}}}}), f) == f);
  CHECK(bound(kOfMessages, with(message, {{"tool_choice", {{"type", "tool"}, {"name", "f"}}}}), answer) == "");
  Bed v32("deepseek-v3.2");
  const auto f_of_most = [](const Json& schema) {
    return Json{{{"type", "function"}, {"function", {{"name", "f"}, {"strict", true}, {"parameters", schema}}}}};
  };
  const Json most = f_of_most({{"type", "object"}, {"maxProperties", 1}});
  check_refused(v32, kOfChat, with(with(chat, must), {{"tools", most}}), "tool_choice", "/maxProperties");
  check_refused(v32, kOfChat, with(chat, {{"tools", most}}), "tools", "/maxProperties");
}

TEST_CASE("forms: arguments of strict functions satisfy their schemas, where the model calls one") {
  Json chat = {{"messages", kOneMessage},
               {"tools",
                {{{"type", "function"}, {"function", {{"name", "f"}, {"strict", true}, {"parameters", kSumSchema}}}},
                 {{"type", "function"}, {"function", {{"name", "g"}, {"parameters", kSumSchema}}}}}}};
  const std::string list = "<｜tool▁calls▁begin｜>", begins = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                    ends = "\n```<｜tool▁call▁end｜>", all_end = "<｜tool▁calls▁end｜>";
  const std::string f = begins + "f\n```json\n{\"sum\": 1}" + ends, g = begins + "g\n```json\n{\"a\": 2}" + ends;
  CHECK(bound(kOfChat, chat, "Some text.") == "Some text.");
  CHECK(bound(kOfChat, chat, "Some text." + list + f + "\n" + g + all_end) ==
        "Some text." + list + f + "\n" + g + all_end);
  CHECK(bound(kOfChat, chat, list + begins + "f\n```json\n{\"a\": 2}") == list + begins + "f\n```json\n{\"");
  chat["tools"][0]["function"]["strict"] = false;
  CHECK(bound(kOfChat, chat, "Some text.") == "not bound");
}
