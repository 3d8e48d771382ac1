// OpenAI's /v1/responses.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kResponses = "/v1/responses";

}  // namespace

TEST_CASE("responses: a whole answer") {
  Bed bed;
  bed.generator.n_cached = 4;
  const Json answer = bed.post(
      kResponses, {{"input", "Hi"}, {"instructions", "Be kind."}, {"metadata", {{"a", "b"}}}, {"store", true}});
  CHECK(bed.last_prompt() == kBos + "Be kind.<｜User｜>Hi<｜Assistant｜>");
  CHECK(answer["id"].get<std::string>().starts_with("resp_"));
  CHECK(answer["object"] == "response");
  CHECK(answer["status"] == "completed");
  CHECK(answer["error"].is_null());
  CHECK(answer["incomplete_details"].is_null());
  CHECK(answer["instructions"] == "Be kind.");
  CHECK(answer["metadata"] == Json{{"a", "b"}});
  CHECK(answer["store"] == false);
  CHECK(answer["temperature"] == 0.5);
  REQUIRE(answer["output"].size() == 1);
  CHECK(answer["output"][0]["type"] == "message");
  CHECK(answer["output"][0]["status"] == "completed");
  CHECK(answer["output"][0]["content"] == Json{{{"type", "output_text"},
                                                {"text", "Hello you."},
                                                {"annotations", Json::array()},
                                                {"logprobs", Json::array()}}});
  CHECK(answer["usage"]["input_tokens"] == bed.last().prompt.size());
  CHECK(answer["usage"]["input_tokens_details"]["cached_tokens"] == 4);
  CHECK(answer["usage"]["output_tokens"] == 10);
  CHECK(answer["usage"]["output_tokens_details"]["reasoning_tokens"] == 0);
}

TEST_CASE("responses: an answer that is cut short is incomplete") {
  Bed bed;
  const Json answer = bed.post(kResponses, {{"input", "Hi"}, {"max_output_tokens", 2}});
  CHECK(answer["status"] == "incomplete");
  CHECK(answer["incomplete_details"]["reason"] == "max_output_tokens");
  CHECK(answer["max_output_tokens"] == 2);
  CHECK(answer["output"][0]["status"] == "incomplete");
  CHECK(bed.stream(kResponses, {{"input", "Hi"}, {"max_output_tokens", 2}}).back().name == "response.incomplete");
}

TEST_CASE("responses: events in their order, numbered") {
  Bed bed("deepseek-r1");
  bed.generator.says = said_bytes("so</think>yes");
  const auto events = bed.stream(kResponses, {{"input", "Hi"}});
  std::vector<std::string> names;
  std::string thoughts, text;
  for (size_t i = 0; i < events.size(); ++i) {
    const Json json = events[i].json();
    CHECK(json["type"] == events[i].name);
    CHECK(json["sequence_number"] == i);
    if (names.empty() || names.back() != events[i].name) names.push_back(events[i].name);
    if (events[i].name == "response.reasoning_text.delta") thoughts += json["delta"];
    if (events[i].name == "response.output_text.delta") text += json["delta"];
    if (json.contains("output_index")) CHECK(json["output_index"] == (names.size() > 8 ? 1 : 0));
  }
  CHECK(names == std::vector<std::string>{"response.created", "response.in_progress",                       //
                                          "response.output_item.added", "response.content_part.added",      //
                                          "response.reasoning_text.delta", "response.reasoning_text.done",  //
                                          "response.content_part.done", "response.output_item.done",        //
                                          "response.output_item.added", "response.content_part.added",      //
                                          "response.output_text.delta", "response.output_text.done",        //
                                          "response.content_part.done", "response.output_item.done",
                                          "response.completed"});
  CHECK(thoughts == "so");
  CHECK(text == "yes");
  CHECK(events[0].json()["response"]["status"] == "in_progress");
  const Json response = events.back().json()["response"];
  CHECK(response["id"] == events[0].json()["response"]["id"]);
  CHECK(response["status"] == "completed");
  REQUIRE(response["output"].size() == 2);
  CHECK(response["output"][0]["type"] == "reasoning");
  CHECK(response["output"][0]["content"] == Json::array({{{"type", "reasoning_text"}, {"text", "so"}}}));
  CHECK(response["output"][1]["content"][0]["text"] == "yes");
  CHECK(response["usage"]["output_tokens_details"]["reasoning_tokens"] == 3);
  for (const Event& event : events)
    if (event.name == "response.output_item.done") {
      const Json json = event.json();
      CHECK(json["item"] == response["output"][size_t(json["output_index"])]);
    }
}

TEST_CASE("responses: an error after the stream began") {
  Bed bed;
  const auto exchange = bed.start(kResponses, {{"input", "Hi"}, {"stream", true}});
  bed.generator.fail(0, "the backend is gone");
  const Event last = events_of(exchange->response().body).back();
  CHECK(last.name == "response.failed");
  CHECK(last.json()["response"]["status"] == "failed");
  CHECK(last.json()["response"]["error"]["message"] == "the backend is gone");
}

TEST_CASE("responses: input items; what instructs comes first, wherever it stands") {
  Bed bed;
  bed.post(
      kResponses,
      {{"instructions", "First."},
       {"input",
        {{{"role", "user"}, {"content", {{{"type", "input_text"}, {"text", "one"}}}}},
         {{"type", "message"}, {"role", "developer"}, {"content", "Second."}},
         {{"type", "reasoning"}, {"id", "rs_1"}, {"summary", Json::array()}, {"encrypted_content", "x"}},
         {{"type", "message"},
          {"role", "assistant"},
          {"content", {{{"type", "output_text"}, {"text", "two"}, {"annotations", Json::array()}}}}},
         {{"type", "function_call"}, {"call_id", "a"}, {"name", "f"}, {"arguments", "{\"x\":1}"}},
         {{"type", "function_call"}, {"call_id", "b"}, {"name", "g"}, {"arguments", "{}"}},
         {{"type", "function_call_output"}, {"call_id", "b"}, {"output", "of g"}},
         {{"type", "function_call_output"}, {"call_id", "a"}, {"output", {{{"type", "input_text"}, {"text", "of f"}}}}},
         {{"role", "user"}, {"content", "three"}}}}});
  const std::string prompt = bed.last_prompt();
  CHECK(prompt.starts_with(kBos + "First.\n\nSecond.<｜User｜>one<｜Assistant｜>two<｜tool▁calls▁begin｜>"));
  CHECK(contains(prompt, "<｜tool▁sep｜>f\n```json\n{\"x\":1}\n```"));
  CHECK(prompt.find("of f") < prompt.find("of g"));
  CHECK(prompt.ends_with("<｜User｜>three<｜Assistant｜>"));
}

TEST_CASE("responses: an effort lets the model think, where it can be told to") {
  Bed bed("deepseek-v3.1");
  bed.post(kResponses, {{"input", "Hi"}, {"reasoning", {{"effort", "medium"}, {"summary", "auto"}}}});
  CHECK(bed.last_prompt().ends_with("<think>"));
  bed.post(kResponses, {{"input", "Hi"}, {"reasoning", {{"effort", "none"}}}});
  CHECK(!bed.last_prompt().ends_with("<think>"));
  Bed plain;
  plain.post(kResponses, {{"input", "Hi"}, {"reasoning", {{"effort", "medium"}}}});
}

TEST_CASE("responses: what is wrong or not there is said by its place") {
  Bed bed;
  const Json fine = {{"input", "Hi"}};
  const auto refused = [&](const Json& more, const char* param, const char* words = "expected") {
    check_refused(bed, kResponses, with(fine, more), param, words);
  };
  check_refused(bed, kResponses, Json::object(), "input", "found none");
  refused({{"input", Json::array()}}, "input");
  refused({{"input", 5}}, "input");
  refused({{"input", {"Hi"}}}, "input[0]");
  refused({{"input", {{{"type", "item_reference"}, {"id", "x"}}}}}, "input[0].type");
  refused({{"input", {{{"id", "x"}}}}}, "input[0].type");
  refused({{"input", {{{"type", "computer_call"}}}}}, "input[0].type");
  refused({{"input", {{{"role", "tool"}, {"content", "x"}}}}}, "input[0].role");
  refused({{"input", {{{"role", "user"}}}}}, "input[0].content");
  refused({{"input", {{{"role", "user"}, {"content", {{{"type", "input_image"}}}}}}}}, "input[0].content[0].type");
  refused({{"input", {{{"type", "function_call"}, {"name", "f"}}}}}, "input[0].call_id");
  refused({{"input", {{{"type", "function_call_output"}, {"call_id", "f"}}}}}, "input[0].output");
  refused({{"instructions", 5}}, "instructions");
  refused({{"previous_response_id", "resp_1"}}, "previous_response_id", "nothing is kept");
  refused({{"background", true}}, "background", "nothing is kept");
  refused({{"text", {{"format", {{"type", 1}}}}}}, "text.format.type");
  refused({{"tools", {"f"}}}, "tools[0]");
  refused({{"reasoning", "high"}}, "reasoning");
  refused({{"max_output_tokens", "all"}}, "max_output_tokens");
  bed.post(kResponses,
           with(fine, {{"text", {{"format", {{"type", "text"}}}, {"verbosity", "low"}}}, {"include", {"x"}}}));
}
