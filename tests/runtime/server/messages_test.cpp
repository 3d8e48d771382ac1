// Anthropic's /v1/messages and /v1/messages/count_tokens.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kMessages = "/v1/messages";

Json messages_of(Json messages) {
  return {{"model", "claude"}, {"max_tokens", 100}, {"messages", std::move(messages)}};
}
Json user_says(Json content) {
  return messages_of({{{"role", "user"}, {"content", std::move(content)}}});
}
Json text(const std::string& words) {
  return {{"type", "text"}, {"text", words}};
}

std::vector<std::string> names(const std::vector<Event>& events) {
  std::vector<std::string> all;
  for (const Event& event : events) {
    CHECK(event.json()["type"] == event.name);
    if (all.empty() || all.back() != event.name) all.push_back(event.name);
  }
  return all;
}

}  // namespace

TEST_CASE("messages: a whole answer") {
  Bed bed;
  bed.generator.n_cached = 2;
  const Json answer = bed.post(kMessages, with(user_says("Hi"), {{"system", "Be kind."}}));
  CHECK(bed.last_prompt() == kBos + "Be kind.<｜User｜>Hi<｜Assistant｜>");
  CHECK(bed.last().max_tokens == 100);
  CHECK(answer["id"].get<std::string>().starts_with("msg_"));
  CHECK(answer["type"] == "message");
  CHECK(answer["role"] == "assistant");
  CHECK(answer["model"] == "tiny");
  CHECK(answer["content"] == Json::array({text("Hello you.")}));
  CHECK(answer["stop_reason"] == "end_turn");
  CHECK(answer["stop_sequence"].is_null());
  CHECK(answer["usage"]["input_tokens"] == int64_t(bed.last().prompt.size()) - 2);
  CHECK(answer["usage"]["cache_read_input_tokens"] == 2);
  CHECK(answer["usage"]["output_tokens"] == 10);
}

TEST_CASE("messages: why an answer ended") {
  Bed bed;
  const auto reason = [&](const Json& more) {
    const Json answer = bed.post(kMessages, with(user_says("Hi"), more));
    return std::pair<Json, Json>{answer["stop_reason"], answer["stop_sequence"]};
  };
  CHECK(reason({{"max_tokens", 3}}) == std::pair<Json, Json>{"max_tokens", nullptr});
  CHECK(reason({{"stop_sequences", {"zz", "lo"}}}) == std::pair<Json, Json>{"stop_sequence", "lo"});
  const auto exchange = bed.start(kMessages, user_says("Hi"));
  bed.generator.read(3 - 1);
  bed.generator.finish(3 - 1, StopReason::context_full, 0);
  const Json answer = Json::parse(exchange->response().body);
  CHECK(answer["stop_reason"] == "model_context_window_exceeded");
  CHECK(answer["content"] == Json::array());
}

TEST_CASE("messages: a stream") {
  Bed bed;
  bed.generator.n_cached = 2;
  const auto events = bed.stream(kMessages, user_says("Hi"));
  CHECK(names(events) == std::vector<std::string>{"message_start", "content_block_start", "content_block_delta",
                                                  "content_block_stop", "message_delta", "message_stop"});
  const Json message = events[0].json()["message"];
  CHECK(message["content"] == Json::array());
  CHECK(message["stop_reason"].is_null());
  CHECK(message["usage"]["input_tokens"] == int64_t(bed.last().prompt.size()) - 2);
  CHECK(message["usage"]["cache_read_input_tokens"] == 2);
  CHECK(events[1].json() == Json{{"type", "content_block_start"}, {"index", 0}, {"content_block", text("")}});
  std::string words;
  for (const Event& event : events)
    if (event.name == "content_block_delta") {
      CHECK(event.json()["index"] == 0);
      CHECK(event.json()["delta"]["type"] == "text_delta");
      words += event.json()["delta"]["text"];
    }
  CHECK(words == "Hello you.");
  const Json end = events[events.size() - 2].json();
  CHECK(end["delta"] == Json{{"stop_reason", "end_turn"}, {"stop_sequence", nullptr}});
  CHECK(end["usage"]["output_tokens"] == 10);
}

TEST_CASE("messages: thoughts are a block in front, with something in the place of a signature") {
  Bed bed("deepseek-v3.1");
  bed.generator.says = said_bytes("so</think>yes");
  const Json asked = with(user_says("Hi"), {{"thinking", {{"type", "enabled"}, {"budget_tokens", 1024}}}});
  const Json answer = bed.post(kMessages, asked);
  CHECK(bed.last_prompt().ends_with("<think>"));
  REQUIRE(answer["content"].size() == 2);
  CHECK(answer["content"][0]["type"] == "thinking");
  CHECK(answer["content"][0]["thinking"] == "so");
  CHECK(answer["content"][0]["signature"] != "");
  CHECK(answer["content"][1] == text("yes"));
  CHECK(answer["usage"]["output_tokens_details"]["thinking_tokens"] == 3);

  const auto events = bed.stream(kMessages, asked);
  std::vector<std::string> deltas;
  std::string thoughts, words;
  for (const Event& event : events) {
    const Json json = event.json();
    if (event.name != "content_block_delta") continue;
    const std::string type = json["delta"]["type"];
    CHECK(json["index"] == (type == "text_delta" ? 1 : 0));
    if (deltas.empty() || deltas.back() != type) deltas.push_back(type);
    thoughts += json["delta"].value("thinking", "");
    words += json["delta"].value("text", "");
  }
  CHECK(deltas == std::vector<std::string>{"thinking_delta", "signature_delta", "text_delta"});
  CHECK(thoughts == "so");
  CHECK(words == "yes");

  bed.post(kMessages, with(user_says("Hi"), {{"thinking", {{"type", "disabled"}}}}));
  CHECK(!bed.last_prompt().ends_with("<think>"));
  bed.post(kMessages, with(user_says("Hi"), {{"thinking", {{"type", "adaptive"}}}}));
  CHECK(!bed.last_prompt().ends_with("<think>"));  // as the template does by itself
}

TEST_CASE("messages: the line about billing goes, wherever a system block begins with it") {
  Bed bed;
  const std::string line = "x-anthropic-billing-header: cc_version=2.1.0; cch=";
  bed.post(kMessages,
           with(user_says("Hi"),
                {{"system", Json::array({text(line + "1;"), text(line + "2;\nBe kind."), text("Be brief.")})}}));
  const std::string first = bed.last_prompt();
  CHECK(first == kBos + "Be kind.\nBe brief.<｜User｜>Hi<｜Assistant｜>");
  bed.post(kMessages, with(user_says("Hi"), {{"system", line + "3;\nBe kind.\nBe brief."}}));
  CHECK(bed.last_prompt() == first);
  bed.post(kMessages, with(user_says("Hi"), {{"system", line + "4;"}}));
  CHECK(bed.last_prompt() == kBos + "<｜User｜>Hi<｜Assistant｜>");
  bed.post(kMessages, with(user_says("Hi"), {{"system", "Do not send " + line}}));
  CHECK(contains(bed.last_prompt(), line));
}

TEST_CASE("messages: blocks of every kind in the history") {
  Bed bed;
  bed.post(kMessages,
           messages_of({{{"role", "user"}, {"content", Json::array({text("one"), text("two")})}},
                        {{"role", "assistant"},
                         {"content",
                          {{{"type", "thinking"}, {"thinking", "hm"}, {"signature", "s"}},
                           {{"type", "redacted_thinking"}, {"data", "x"}},
                           text("let me see"),
                           {{"type", "tool_use"}, {"id", "a"}, {"name", "f"}, {"input", {{"z", 1}, {"b", 2}}}},
                           {{"type", "tool_use"}, {"id", "b"}, {"name", "g"}, {"input", Json::object()}}}}},
                        {{"role", "user"},
                         {"content",
                          {{{"type", "tool_result"}, {"tool_use_id", "b"}, {"content", Json::array({text("of g")})}},
                           {{"type", "tool_result"}, {"tool_use_id", "a"}, {"content", "of f"}},
                           text("go on")}}},
                        {{"role", "system"}, {"content", "late"}}}));
  const std::string prompt = bed.last_prompt();
  CHECK(contains(prompt, "<｜User｜>one\ntwo<｜Assistant｜>let me see"));
  CHECK(contains(prompt, "<｜tool▁sep｜>f\n```json\n{\"z\":1,\"b\":2}\n```"));  // in the order in which they came
  CHECK(prompt.find("of f") < prompt.find("of g"));
  CHECK(prompt.find("of g") < prompt.find("<｜User｜>go on"));
}

TEST_CASE("messages: an answer that was begun is gone on with") {
  Bed bed;
  bed.post(kMessages, messages_of({{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "{"}}}));
  CHECK(bed.last_prompt().ends_with("<｜Assistant｜>{"));
}

TEST_CASE("messages: what is wrong is said by its place, in Anthropic's words") {
  Bed bed;
  const server::HttpResponse response = bed.send(kMessages, {{"max_tokens", 1}});
  CHECK(response.status == 400);
  const Json error = Json::parse(response.body);
  CHECK(error["type"] == "error");
  CHECK(error["error"]["type"] == "invalid_request_error");
  CHECK(contains(std::string(error["error"]["message"]), "messages: expected at least one message"));

  const auto refused = [&](const Json& body, const char* param, const char* words = "expected") {
    check_refused(bed, kMessages, body, param, words);
  };
  refused({{"messages", {{{"role", "user"}, {"content", "Hi"}}}}}, "max_tokens");
  refused(with(user_says("Hi"), {{"max_tokens", "many"}}), "max_tokens");
  refused(messages_of(Json::array()), "messages");
  refused(messages_of({{{"role", "robot"}, {"content", "Hi"}}}), "messages[0].role");
  refused(messages_of({{{"role", "system"}}}), "messages[0].role");
  refused(messages_of({{{"role", "system"}, {"content", ""}}}), "messages");
  refused(messages_of({{{"role", "user"}}}), "messages[0].content");
  refused(user_says(5), "messages[0].content");
  refused(user_says(Json::array()), "messages[0].content");
  refused(user_says({"Hi"}), "messages[0].content[0]");
  for (const char* type : {"image", "document", "search_result", "thinking", "tool_use", "redacted_thinking"})
    refused(user_says(Json::array({text("x"), {{"type", type}}})), "messages[0].content[1].type");
  refused(with(user_says("Hi"), {{"system", {{{"type", "a\nb"}}}}}), "system[0].type", "a\\nb");
  for (const char* type : {"image", "tool_result", "server_tool_use"})
    refused(messages_of({{{"role", "assistant"}, {"content", {{{"type", type}}}}}}), "messages[0].content[0].type");
  refused(user_says({{{"type", "tool_result"}, {"tool_use_id", "a"}, {"content", {{{"type", "image"}}}}}}),
          "messages[0].content[0].content[0].type");
  refused(user_says({{{"type", "tool_result"}}}), "messages[0].content[0].tool_use_id");
  refused(with(user_says("Hi"), {{"system", 5}}), "system");
  refused(with(user_says("Hi"), {{"system", {{{"type", "image"}}}}}), "system[0].type");
  refused(with(user_says("Hi"), {{"stop_sequences", {""}}}), "stop_sequences[0]");
  bed.post(kMessages,
           with(user_says("Hi"), {{"output_config", {{"effort", "high"}}}, {"metadata", {{"user_id", "x"}}}}));
}

TEST_CASE("messages: tokens are counted without an answer") {
  Bed bed;
  Json body = user_says("Hi");
  bed.post(kMessages, body);
  const size_t n = bed.last().prompt.size();
  body.erase("max_tokens");
  CHECK(bed.post("/v1/messages/count_tokens", body) == Json{{"input_tokens", n}});
  CHECK(bed.generator.asked.size() == 1);
  check_refused(bed, "/v1/messages/count_tokens", {{"messages", Json::array()}}, "messages");
}
