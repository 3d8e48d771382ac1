// Calls that the model makes, in each protocol's words: whole and as a stream.
#include "runtime/server/call_memory.h"
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const Json kTools = {{{"type", "function"}, {"function", {{"name", "f"}}}},
                     {{"type", "function"}, {"function", {{"name", "g"}}}}};
const Json kFlatTools = {{{"type", "function"}, {"name", "f"}}, {{"type", "function"}, {"name", "g"}}};
const Json kNamedTools = {{{"name", "f"}}, {{"name", "g"}}};
const Json kHi = {{{"role", "user"}, {"content", "Hi"}}};
const Json kChatBody = {{"messages", kHi}, {"tools", kTools}};
const Json kResponsesBody = {{"input", "Hi"}, {"tools", kFlatTools}};
const Json kMessagesBody = {{"messages", kHi}, {"max_tokens", 500}, {"tools", kNamedTools}};

const std::string kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";

std::string fenced_call(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments + "\n```<｜tool▁call▁end｜>";
}
// What a model says that has something to say, and two things to ask for.
std::string two_calls() {
  return "So:" + kCallsBegin + fenced_call("f", "{\"x\": [1, 2]}") + "\n" + fenced_call("g", "{}") + kCallsEnd;
}

// A message put together from a stream's deltas, as clients do.
Json streamed_message(Bed& bed, const Json& body) {
  Json message = {{"role", "assistant"}, {"content", ""}};
  Json finish;
  for (const Event& event : bed.stream("/v1/chat/completions", body)) {
    if (event.data == "[DONE]") break;
    const Json choice = event.json()["choices"][0];
    CHECK(finish.is_null());
    finish = choice["finish_reason"];
    const Json& delta = choice["delta"];
    if (delta.contains("content"))
      message["content"] = message["content"].get<std::string>() + delta["content"].get<std::string>();
    if (delta.contains("reasoning_content"))
      message["reasoning_content"] =
          message.value("reasoning_content", "") + delta["reasoning_content"].get<std::string>();
    for (const Json& call : delta.value("tool_calls", Json::array())) {
      const size_t index = call["index"];
      if (call.contains("id")) {
        CHECK(index == message.value("tool_calls", Json::array()).size());
        message["tool_calls"].push_back(
            {{"type", call["type"]}, {"function", {{"name", call["function"]["name"]}, {"arguments", ""}}}});
        CHECK(call["id"].get<std::string>().starts_with("call_"));
      }
      Json& arguments = message["tool_calls"].at(index)["function"]["arguments"];
      arguments = arguments.get<std::string>() + call["function"]["arguments"].get<std::string>();
    }
  }
  if (message["content"] == "" && message.contains("tool_calls")) message["content"] = nullptr;
  message["finish"] = finish;
  return message;
}
Json whole_message(Bed& bed, const Json& body) {
  const Json choice = bed.post("/v1/chat/completions", body)["choices"][0];
  Json message = choice["message"];
  message.erase("refusal");
  for (Json& call : message["tool_calls"].is_array() ? message["tool_calls"] : message["none"]) call.erase("id");
  if (message["tool_calls"].is_null()) message.erase("tool_calls");
  message.erase("none");
  message["finish"] = choice["finish_reason"];
  return message;
}
// Both, which are the same but for their order.
Json both(Bed& bed, const Json& body) {
  const Json whole = whole_message(bed, body);
  CHECK(nlohmann::json(streamed_message(bed, body)) == nlohmann::json(whole));
  return whole;
}
std::vector<std::string> calls_in(const Json& message) {
  std::vector<std::string> all;
  for (const Json& call : message.value("tool_calls", Json::array()))
    all.push_back(call["function"]["name"].get<std::string>() + call["function"]["arguments"].get<std::string>());
  return all;
}
using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("calls: chat, whole and as a stream") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  const Json message = both(bed, kChatBody);
  CHECK(message["content"] == "So:");
  CHECK(calls_in(message) == Strings{"f{\"x\": [1, 2]}", "g{}"});
  CHECK(message["finish"] == "tool_calls");

  bed.generator.says = said_bytes(kCallsBegin + fenced_call("f", "") + kCallsEnd);
  const Json silent = both(bed, kChatBody);
  CHECK(silent["content"].is_null());
  CHECK(calls_in(silent) == Strings{"f{}"});  // clients parse it

  // The first piece of a call has its name, the others its arguments, as they come.
  bed.generator.says = said_bytes(kCallsBegin + fenced_call("f", "{\"x\": 12}") + kCallsEnd);
  size_t pieces = 0;
  for (const Event& event : bed.stream("/v1/chat/completions", kChatBody))
    pieces += contains(event.data, "\"tool_calls\":[");
  CHECK(pieces > 6);
}

TEST_CASE("calls: the answer is over with the list, and with the first call where one is all") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls() + "<｜tool▁outputs▁begin｜>invented");
  CHECK(both(bed, kChatBody)["content"] == "So:");
  const Json one = both(bed, with(kChatBody, {{"parallel_tool_calls", false}}));
  CHECK(calls_in(one) == Strings{"f{\"x\": [1, 2]}"});
  CHECK(one["finish"] == "tool_calls");
  const Json answer = bed.post("/v1/chat/completions", with(kChatBody, {{"parallel_tool_calls", false}}));
  const size_t said = said_bytes(two_calls().substr(0, two_calls().find("]}") + 2)).size();
  CHECK(answer["usage"]["completion_tokens"] == said);
  bed.generator.says = said_bytes("Plain.");
  CHECK(both(bed, kChatBody)["finish"] == "stop");
}

TEST_CASE("calls: what is cut short says so, and what is no call is text") {
  Bed bed;
  const std::string said = kCallsBegin + fenced_call("f", "{\"x\": 12}");
  const std::string until = said.substr(0, said.find("12") + 1);
  bed.generator.says = said_bytes(said);
  const Json cut = both(bed, with(kChatBody, {{"max_tokens", said_bytes(until).size()}}));
  CHECK(calls_in(cut) == Strings{"f{\"x\": 1"});
  CHECK(cut["finish"] == "length");
  for (const std::string& broken :
       {kCallsBegin + "x" + kCallsEnd, kCallsBegin + fenced_call("f", "{'x'}"), kCallsBegin}) {
    bed.generator.says = said_bytes(broken);
    const Json message = both(bed, kChatBody);
    CHECK(message["content"] == broken);
    CHECK(!message.contains("tool_calls"));
    CHECK(message["finish"] == "stop");
  }
}

TEST_CASE("calls: without tools, and where none may be called, there are none") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  for (const Json& body : {Json{{"messages", kHi}}, with(kChatBody, {{"tool_choice", "none"}})}) {
    const Json message = both(bed, body);
    CHECK(message["content"] == two_calls());
    CHECK(message["finish"] == "stop");
  }
}

TEST_CASE("calls: inside thoughts, behind them, and text that only looks like one") {
  Bed bed("deepseek-v3.1");
  const Json body = with(kChatBody, {{"enable_thinking", true}});
  const std::string call =
      kCallsBegin + "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": 1}<｜tool▁call▁end｜>" + kCallsEnd;
  for (const std::string& said : {"hm" + call, "hm</think>" + call, "<think>hm\n</think>\n\n" + call}) {
    bed.generator.says = said_bytes(said);
    const Json message = both(bed, body);
    CHECK(message["reasoning_content"] == "hm");
    CHECK(message["content"].is_null());
    CHECK(calls_in(message) == Strings{"f{\"x\": 1}"});
  }
  bed.generator.says = served_tokenizer().encode("You said " + call, false);
  CHECK(both(bed, with(kChatBody, {{"enable_thinking", false}}))["content"] == "You said " + call);
  bed.generator.says = served_tokenizer().encode("hm" + call + "</think>So", true);  // </think> as a token; marks too
  CHECK(calls_in(both(bed, body)).size() == 1);
}

TEST_CASE("calls: of models without a format of their own, in the answer alone") {
  Bed bed("deepseek-v2");
  const auto call = [](const std::string& name) {
    return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": {\"x\": 1}}\n</tool_call>";
  };
  bed.generator.says = said_bytes(" So:\n" + call("f") + "\n" + call("g") + "\nUser: invented");
  const Json message = both(bed, kChatBody);
  CHECK(message["content"] == "So:");
  CHECK(calls_in(message) == Strings{"f{\"x\": 1}", "g{\"x\": 1}"});
  bed.generator.says = said_bytes(call("h"));  // there is none
  CHECK(both(bed, kChatBody)["content"] == call("h"));
  bed.generator.says = said_bytes("<think>a " + call("f") + "</think>b");
  const Json thought = both(bed, kChatBody);
  CHECK(thought["content"] == "b");
  CHECK(!thought.contains("tool_calls"));

  Bed dsml("deepseek-v3.2");
  dsml.generator.says = said_bytes(
      "So:\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"true\">a\"b"
      "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>");
  const Json tags = both(dsml, kChatBody);
  CHECK(tags["content"] == "So:");
  CHECK(calls_in(tags) == Strings{"f{\"x\": \"a\\\"b\"}"});
}

TEST_CASE("calls: stop strings end answers, not arguments") {
  Bed bed;
  bed.generator.says = said_bytes("a1b" + kCallsBegin + fenced_call("f", "{\"x\": 12}") + kCallsEnd);
  const Json message = both(bed, with(kChatBody, {{"stop", {"12", "b!"}}}));
  CHECK(message["content"] == "a1b");  // what may have been a stop string is said before the call
  CHECK(calls_in(message) == Strings{"f{\"x\": 12}"});
  const Json stopped = both(bed, with(kChatBody, {{"stop", "1"}}));
  CHECK(stopped["content"] == "a");
  CHECK(stopped["finish"] == "stop");
}

TEST_CASE("calls: logged tokens are those of the text") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  const Json body = with(kChatBody, {{"logprobs", true}});
  CHECK(bed.post("/v1/chat/completions", body)["choices"][0]["logprobs"]["content"].size() == 3);
  size_t streamed = 0;
  for (const Event& event : bed.stream("/v1/chat/completions", body))
    if (event.data != "[DONE]" && event.json()["choices"][0]["logprobs"].is_object())
      streamed += event.json()["choices"][0]["logprobs"]["content"].size();
  CHECK(streamed == 3);
  bed.generator.says = said_bytes(kCallsBegin + fenced_call("f", "{}") + kCallsEnd);
  CHECK(bed.post("/v1/chat/completions", body)["choices"][0]["logprobs"]["content"].empty());
}

TEST_CASE("calls: several choices have calls of their own") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  const Json answer = bed.post("/v1/chat/completions", with(kChatBody, {{"n", 2}}));
  for (const Json& choice : answer["choices"]) CHECK(calls_in(choice["message"]).size() == 2);
  CHECK(answer["choices"][0]["message"]["tool_calls"][0]["id"] !=
        answer["choices"][1]["message"]["tool_calls"][0]["id"]);
}

TEST_CASE("calls: a tool loop's next prompt begins with the last one and what the model said") {
  for (const char* name :
       {"deepseek-v2", "deepseek-v2.5", "deepseek-v3", "deepseek-v3-0324", "deepseek-v3.1", "deepseek-v3.2"}) {
    CAPTURE(name);
    Bed bed(name);
    std::string said = two_calls();
    if (name == std::string("deepseek-v3.1"))
      said = "So:" + kCallsBegin + "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": [1, 2]}<｜tool▁call▁end｜>" + kCallsEnd;
    if (name == std::string("deepseek-v2"))
      said = " So:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, 2]}}\n</tool_call>";
    if (name == std::string("deepseek-v3.2"))
      said =
          "So:\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" "
          "string=\"false\">"
          "[1, 2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
    bed.generator.says = said_bytes(said);
    const Json message = bed.post("/v1/chat/completions", kChatBody)["choices"][0]["message"];
    const std::string before = bed.last_prompt() + said;
    Json messages = kHi;
    messages.push_back(message);
    for (const Json& call : message["tool_calls"])
      messages.push_back({{"role", "tool"}, {"tool_call_id", call["id"]}, {"content", "7"}});
    bed.post("/v1/chat/completions", {{"messages", messages}, {"tools", kTools}});
    CHECK(bed.last_prompt().starts_with(before));
  }
}

TEST_CASE("calls: what the model wrote comes again token by token, however the client writes it") {
  for (const std::string arguments : {"{\"x\":  [1, 2.0]}", "{\"x\": \"\\u00e4\", \"a\": 1}", ""}) {
    Bed bed;
    const std::vector<Token> said = said_bytes("So:" + kCallsBegin + fenced_call("f", arguments) + kCallsEnd);
    bed.generator.says = said;
    const Json content = bed.post("/v1/messages", kMessagesBody)["content"];
    std::vector<Token> before = bed.last().prompt;
    before.insert(before.end(), said.begin(), said.end());
    const auto next_prompt = [&](const Json& blocks) {
      Json messages = kHi;
      messages.push_back({{"role", "assistant"}, {"content", blocks}});
      messages.push_back(
          {{"role", "user"},
           {"content", {{{"type", "tool_result"}, {"tool_use_id", blocks[1]["id"]}, {"content", "7"}}}}});
      bed.post("/v1/messages", with(kMessagesBody, {{"messages", messages}}));
      return bed.last().prompt;
    };
    const std::vector<Token> next = next_prompt(content);
    REQUIRE(next.size() > before.size());
    CHECK(std::equal(before.begin(), before.end(), next.begin()));
    // What the client made of it is what it says, where that is something else.
    Json other = content;
    other[1]["input"] = {{"y", 1}};
    CHECK(contains(served_tokenizer().decode(next_prompt(other), true), "{\"y\":1}"));
    other = content;
    other[1]["name"] = "g";
    CHECK(contains(served_tokenizer().decode(next_prompt(other), true), "<｜tool▁sep｜>g"));
    other = content;
    other[1]["id"] = "toolu_unknown";
    CHECK(contains(served_tokenizer().decode(next_prompt(other), true), "<｜tool▁sep｜>f"));
  }
}

TEST_CASE("calls: those that are remembered are bounded") {
  server::CallMemory memory;
  const auto said = [](const std::string& id) {
    server::SaidMessage one{.message = calls({{"f", "{\"x\":1}"}}), .call_ids = {id}};
    return std::vector<server::SaidMessage>{one};
  };
  const auto known = [&](const std::string& id) {
    auto messages = said(id);
    memory.restore(messages);
    return messages[0].message.tool_calls[0].arguments == "{\"x\": 1}" && !messages[0].message.tokens.empty();
  };
  for (size_t i = 0; i <= server::CallMemory::kMostAnswers; ++i)
    memory.keep({{.id = std::to_string(i), .name = "f", .arguments = "{\"x\": 1}"}}, {1, 2});
  CHECK(!known("0"));
  CHECK(known("1"));
  memory.keep({{.id = "large", .name = "f", .arguments = "{\"x\": 1}"}},
              std::vector<Token>(server::CallMemory::kMostBytes / sizeof(Token) / 2));
  CHECK(known("large"));
  memory.keep({{.id = "larger", .name = "f", .arguments = "{\"x\": 1}"}},
              std::vector<Token>(server::CallMemory::kMostBytes / sizeof(Token)));
  CHECK(!known("large"));
  CHECK(!known("larger"));
}

TEST_CASE("calls: messages have blocks of them") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  const Json answer = bed.post("/v1/messages", kMessagesBody);
  REQUIRE(answer["content"].size() == 3);
  CHECK(answer["content"][0] == Json{{"type", "text"}, {"text", "So:"}});
  CHECK(answer["content"][1]["type"] == "tool_use");
  CHECK(answer["content"][1]["id"].get<std::string>().starts_with("toolu_"));
  CHECK(answer["content"][1]["name"] == "f");
  CHECK(answer["content"][1]["input"] == Json{{"x", {1, 2}}});
  CHECK(answer["content"][2]["input"] == Json::object());
  CHECK(answer["stop_reason"] == "tool_use");
  CHECK(answer["stop_sequence"].is_null());

  std::vector<Json> blocks;
  std::vector<std::string> inputs;
  Json stop_reason;
  bool open = false;
  for (const Event& event : bed.stream("/v1/messages", kMessagesBody)) {
    const Json json = event.json();
    if (event.name == "content_block_start") {
      CHECK(!std::exchange(open, true));
      CHECK(json["index"] == blocks.size());
      blocks.push_back(json["content_block"]);
      inputs.push_back("");
    } else if (event.name == "content_block_delta") {
      CHECK(open);
      CHECK(json["index"] == blocks.size() - 1);
      const Json& delta = json["delta"];
      const bool text = delta["type"] == "text_delta";
      CHECK((text || delta["type"] == "input_json_delta"));
      inputs.back() += delta[text ? "text" : "partial_json"];
    } else if (event.name == "content_block_stop") {
      CHECK(std::exchange(open, false));
    } else if (event.name == "message_delta") {
      stop_reason = json["delta"]["stop_reason"];
    }
  }
  REQUIRE(blocks.size() == 3);
  CHECK(blocks[1]["type"] == "tool_use");
  CHECK(blocks[1]["name"] == "f");
  CHECK(blocks[1]["input"] == Json::object());
  CHECK(inputs == Strings{"So:", "{\"x\": [1, 2]}", "{}"});
  CHECK(stop_reason == "tool_use");

  const Json one = bed.post(
      "/v1/messages", with(kMessagesBody, {{"tool_choice", {{"type", "auto"}, {"disable_parallel_tool_use", true}}}}));
  CHECK(one["content"].size() == 2);
  CHECK(one["stop_reason"] == "tool_use");
  // Cut short: nobody's to act on.
  const size_t n = said_bytes(two_calls().substr(0, two_calls().find("[1") + 2)).size();
  const Json cut = bed.post("/v1/messages", with(kMessagesBody, {{"max_tokens", n}}));
  CHECK(cut["stop_reason"] == "max_tokens");
  CHECK(cut["content"][1]["input"] == Json::object());
}

TEST_CASE("calls: responses have items of them") {
  Bed bed;
  bed.generator.says = said_bytes(two_calls());
  const Json answer = bed.post("/v1/responses", kResponsesBody);
  REQUIRE(answer["output"].size() == 3);
  CHECK(answer["output"][0]["type"] == "message");
  const Json& call = answer["output"][1];
  CHECK(call["type"] == "function_call");
  CHECK(call["status"] == "completed");
  CHECK(call["call_id"].get<std::string>().starts_with("call_"));
  CHECK(call["name"] == "f");
  CHECK(call["arguments"] == "{\"x\": [1, 2]}");
  CHECK(answer["status"] == "completed");
  CHECK(answer["tools"] == kFlatTools);
  CHECK(answer["parallel_tool_calls"] == true);

  std::vector<Json> done;
  std::string arguments;
  Json last;
  for (const Event& event : bed.stream("/v1/responses", kResponsesBody)) {
    last = event.json();
    if (event.name == "response.output_item.added") CHECK(last["output_index"] == done.size());
    if (event.name == "response.output_item.done") done.push_back(last["item"]);
    if (event.name == "response.function_call_arguments.delta") arguments += last["delta"];
    if (event.name == "response.function_call_arguments.done") {
      CHECK(last["arguments"] == arguments);
      CHECK(last["output_index"] == done.size());
      arguments.clear();
    }
  }
  CHECK(last["type"] == "response.completed");
  CHECK(last["response"]["output"] == Json(done));  // also by their ids
  REQUIRE(done.size() == 3);
  CHECK(done[1]["arguments"] == "{\"x\": [1, 2]}");

  const size_t n = said_bytes(two_calls().substr(0, two_calls().find("[1") + 2)).size();
  const Json cut = bed.post("/v1/responses", with(kResponsesBody, {{"max_output_tokens", n}}));
  CHECK(cut["status"] == "incomplete");
  CHECK(cut["output"][1]["status"] == "incomplete");
  CHECK(bed.post("/v1/responses", with(kResponsesBody, {{"parallel_tool_calls", false}}))["output"].size() == 2);
}

TEST_CASE("calls: text behind a broken call is a part of its own, in the stream as in the whole") {
  Bed bed;
  bed.generator.says = said_bytes("a" + kCallsBegin + fenced_call("f", "{\"x\": 1,,}") + "b");
  const Json message = both(bed, kChatBody);
  CHECK(calls_in(message) == Strings{"f{\"x\": 1,"});
  CHECK(message["content"] == "a,}\n```<｜tool▁call▁end｜>b");
  const Json blocks = bed.post("/v1/messages", kMessagesBody)["content"];
  REQUIRE(blocks.size() == 3);
  CHECK(blocks[0]["text"] == "a");
  CHECK(blocks[1]["input"] == Json::object());
  CHECK(blocks[2]["text"] == ",}\n```<｜tool▁call▁end｜>b");
  std::vector<Json> done;
  Json last;
  for (const Event& event : bed.stream("/v1/responses", kResponsesBody)) {
    last = event.json();
    if (event.name == "response.output_item.done") done.push_back(last["item"]);
  }
  REQUIRE(done.size() == 3);
  CHECK(last["response"]["output"] == Json(done));
  // And the client may say that this was none.
  Json input = kHi;
  for (const Json& item : done) input.push_back(item);
  input.push_back({{"type", "function_call_output"}, {"call_id", done[1]["call_id"]}, {"output", "no JSON"}});
  bed.post("/v1/responses", with(kResponsesBody, {{"input", input}}));
  CHECK(contains(bed.last_prompt(), "a,}\n```<｜tool▁call▁end｜>b<｜tool▁calls▁begin｜>"));
  CHECK(contains(bed.last_prompt(), "no JSON"));
}
