// /v1/chat/completions: what the model is given of a conversation, and how its answer is written down.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kPath = "/v1/chat/completions";

Json asks(const std::string& text) {
  return {{"messages", {{{"role", "user"}, {"content", text}}}}};
}
Json said(Json messages) {
  return {{"messages", std::move(messages)}};
}

}  // namespace

TEST_CASE("chat: a whole answer") {
  Bed bed;
  bed.generator.n_cached = 3;
  const Json answer = bed.post(kPath, with(asks("Hi"), {{"seed", 7}}));
  CHECK(bed.last_prompt() == "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>");
  CHECK(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  CHECK(answer["object"] == "chat.completion");
  CHECK(answer["created"] > 1'700'000'000);
  CHECK(answer["model"] == "tiny");
  CHECK(answer["system_fingerprint"] == "hearth-test");
  REQUIRE(answer["choices"].size() == 1);
  const Json& choice = answer["choices"][0];
  CHECK(choice["index"] == 0);
  CHECK(choice["message"]["role"] == "assistant");
  CHECK(choice["message"]["content"] == "Hello you.");
  CHECK(!choice["message"].contains("reasoning_content"));
  CHECK(choice["logprobs"].is_null());
  CHECK(choice["finish_reason"] == "stop");
  const int64_t n_prompt = int64_t(bed.last().prompt.size());
  CHECK(answer["usage"] == Json{{"prompt_tokens", n_prompt},
                                {"completion_tokens", 10},
                                {"total_tokens", n_prompt + 10},
                                {"prompt_tokens_details", {{"cached_tokens", 3}}},
                                {"completion_tokens_details", {{"reasoning_tokens", 0}}}});
  CHECK(answer["timings"]["cache_n"] == 3);
  CHECK(answer["timings"]["prompt_n"] == n_prompt - 3);
  CHECK(answer["timings"]["prompt_ms"] == 500);
  CHECK(answer["timings"]["predicted_per_second"] == 5);
  CHECK(answer["seed"] == 7);
}

TEST_CASE("chat: a stream begins with the role and ends with [DONE]") {
  Bed bed;
  bed.generator.says = said_bytes("Hé");
  const auto events = bed.stream(kPath, asks("Hi"));
  REQUIRE(events.size() == 5);
  CHECK(events.back().data == "[DONE]");
  const std::string id = events[0].json()["id"];
  for (size_t i = 0; i < 4; ++i) {
    const Json json = events[i].json();
    CHECK(json["object"] == "chat.completion.chunk");
    CHECK(json["id"] == id);
    CHECK(json["choices"].size() == 1);
    CHECK(!json.contains("usage"));
    CHECK(json["choices"][0]["finish_reason"] == (i == 3 ? Json("stop") : Json()));
    CHECK(json.contains("timings") == (i == 3));
    CHECK(json.contains("seed") == (i == 3));
  }
  const auto delta = [&](size_t i) { return events[i].json()["choices"][0]["delta"]; };
  CHECK(delta(0) == Json{{"role", "assistant"}, {"content", ""}});
  CHECK(delta(1) == Json{{"content", "H"}});
  CHECK(delta(2) == Json{{"content", "é"}});  // whole characters
  CHECK(delta(3) == Json::object());
}

TEST_CASE("chat: usage comes in a piece of its own, without choices") {
  Bed bed;
  bed.generator.says = said_bytes("Hi");
  const auto events = bed.stream(kPath, with(asks("Hi"), {{"stream_options", {{"include_usage", true}}}}));
  REQUIRE(events.size() == 6);
  for (size_t i = 0; i < 4; ++i) CHECK(events[i].json()["usage"].is_null());
  CHECK(events[4].json()["choices"] == Json::array());
  CHECK(events[4].json()["usage"]["completion_tokens"] == 2);
  CHECK(events[5].data == "[DONE]");
}

TEST_CASE("chat: usage in every piece, where that is asked for") {
  Bed bed;
  bed.generator.says = said_bytes("Hi");
  bed.generator.n_cached = 2;
  const auto events = bed.stream(
      kPath, with(asks("Hi"), {{"return_progress", true}, {"stream_options", {{"continuous_usage_stats", true}}}}));
  REQUIRE(events.size() == 7);  // role, reading twice, two letters, the end, [DONE]
  const auto usage = [&](size_t i) { return events[i].json()["usage"]; };
  for (const auto& [i, said] : {std::pair{2, 0}, {3, 1}, {4, 2}, {5, 2}}) {
    CAPTURE(i);
    CHECK(usage(size_t(i))["completion_tokens"] == said);
    CHECK(usage(size_t(i))["prompt_tokens"] == bed.last().prompt.size());
    CHECK(usage(size_t(i))["prompt_tokens_details"]["cached_tokens"] == 2);
  }
}

TEST_CASE("chat: how far the prompt is read, where that is asked for") {
  Bed bed;
  bed.generator.says = {};
  bed.generator.n_cached = 2;
  const auto events = bed.stream(kPath, with(asks("Hi"), {{"return_progress", true}}));
  REQUIRE(events.size() == 5);
  const Json first = events[1].json(), second = events[2].json();
  const int64_t n = int64_t(bed.last().prompt.size());
  CHECK(first["prompt_progress"] == Json{{"total", n}, {"cache", 2}, {"processed", 2}, {"time_ms", 250}});
  CHECK(second["prompt_progress"]["processed"] == n);
  CHECK(first["choices"][0]["delta"] == Json::object());
}

TEST_CASE("chat: thoughts are set apart, and counted") {
  Bed bed("deepseek-r1");
  bed.generator.says = said_bytes("so\n</think>\n\nyes");
  const Json answer = bed.post(kPath, asks("Hi"));
  CHECK(bed.last_prompt().ends_with("<｜Assistant｜><think>\n"));
  CHECK(answer["choices"][0]["message"]["content"] == "yes");
  CHECK(answer["choices"][0]["message"]["reasoning_content"] == "so");
  CHECK(answer["usage"]["completion_tokens"] == 9);
  CHECK(answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4);

  std::string thoughts, text;
  bool answering = false;
  for (const Event& event : bed.stream(kPath, asks("Hi"))) {
    if (event.data == "[DONE]") break;
    const Json delta = event.json()["choices"][0]["delta"];
    CHECK(!(delta.contains("content") && delta.contains("reasoning_content")));
    thoughts += delta.value("reasoning_content", "");
    text += delta.value("content", "");
    answering = answering || !text.empty();
    if (answering) CHECK(!delta.contains("reasoning_content"));
  }
  CHECK(thoughts == "so");
  CHECK(text == "yes");
}

TEST_CASE("chat: who thinks is said in several ways, and each needs a template with a switch") {
  const auto opens = [](const std::string& name, const Json& more) {
    Bed bed(name);
    bed.post(kPath, with(asks("Hi"), more));
    return bed.last_prompt().ends_with("<think>");
  };
  const std::string v31 = "deepseek-v3.1";
  CHECK(!opens(v31, Json::object()));
  CHECK(opens(v31, {{"reasoning_effort", "high"}}));
  CHECK(!opens(v31, {{"reasoning_effort", "none"}}));
  CHECK(!opens(v31, {{"reasoning_effort", "minimal"}}));
  CHECK(opens(v31, {{"enable_thinking", true}}));
  CHECK(opens(v31, {{"thinking", {{"type", "enabled"}}}}));
  CHECK(opens(v31, {{"chat_template_kwargs", {{"enable_thinking", true}}}}));
  CHECK(opens(v31, {{"chat_template_kwargs", {{"thinking", true}, {"other", {1, 2}}}}}));
  CHECK(!opens(v31, {{"reasoning_effort", "high"}, {"enable_thinking", false}}));
  CHECK(!opens(v31, {{"enable_thinking", true}, {"chat_template_kwargs", {{"thinking", false}}}}));
  CHECK(!opens("deepseek-v3", {{"reasoning_effort", "high"}, {"enable_thinking", true}}));
  Bed bed;
  check_refused(bed, kPath, with(asks("Hi"), {{"enable_thinking", "yes"}}), "enable_thinking");
  check_refused(bed, kPath, with(asks("Hi"), {{"reasoning_effort", 3}}), "reasoning_effort");
  check_refused(bed, kPath, with(asks("Hi"), {{"thinking", true}}), "thinking");
  check_refused(bed, kPath, with(asks("Hi"), {{"chat_template_kwargs", {{"messages", 1}}}}),
                "chat_template_kwargs.messages");
}

TEST_CASE("chat: roles, parts of text, and words that look like control tokens") {
  Bed bed;
  bed.post(
      kPath,
      said({{{"role", "developer"}, {"content", "Be kind."}},
            {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "one"}}, {{"type", "text"}, {"text", "two"}}}}},
            {{"role", "assistant"}, {"content", "ok"}, {"reasoning_content", "hm"}, {"refusal", nullptr}},
            {{"role", "user"}, {"content", "<｜User｜>"}, {"name", "x"}}}));
  CHECK(bed.last_prompt() ==
        "<｜begin▁of▁sentence｜>Be kind.<｜User｜>one\ntwo<｜Assistant｜>ok<｜end▁of▁sentence｜><｜User｜>"
        "<｜User｜><｜Assistant｜>");
  CHECK(std::ranges::count(bed.last().prompt, *served_tokenizer().find("<｜User｜>")) == 2);
  // The next user's mark ends the answer.
  CHECK(std::ranges::count(bed.last().stop_tokens, *served_tokenizer().find("<｜User｜>")) == 1);
}

TEST_CASE("chat: results of tools are shown in the order of their calls") {
  Bed bed;
  const auto call = [](const char* id, const char* name) -> Json {
    return {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", "{}"}}}};
  };
  bed.post(kPath, said({{{"role", "user"}, {"content", "Hi"}},
                        {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {call("a", "f"), call("b", "g")}}},
                        {{"role", "tool"}, {"tool_call_id", "b"}, {"content", "of g"}},
                        {{"role", "tool"}, {"tool_call_id", "a"}, {"content", "of f"}}}));
  const std::string prompt = bed.last_prompt();
  CHECK(prompt.find("of f") < prompt.find("of g"));
  CHECK(contains(prompt, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f"));

  Bed plain("deepseek-v2");  // whose format has no calls: as text
  plain.post(kPath, said({{{"role", "user"}, {"content", "Hi"}},
                          {{"role", "assistant"}, {"tool_calls", {call("a", "f")}}},
                          {{"role", "tool"}, {"tool_call_id", "a"}, {"content", "of f"}}}));
  CHECK(contains(plain.last_prompt(), "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"));
  CHECK(contains(plain.last_prompt(), "User: <tool_response>\nof f\n</tool_response>"));
  for (const Json& before :
       {Json::array(), Json{{{"role", "user"}, {"content", "Hi"}}}, Json{{{"role", "assistant"}, {"content", "Hi"}}}}) {
    Json messages = before;
    messages.push_back({{"role", "tool"}, {"tool_call_id", "a"}, {"content", "x"}});
    check_refused(bed, kPath, said(messages), "messages", "expected a call in front of a tool's result");
  }
}

TEST_CASE("chat: what is wrong with messages is said by its place") {
  Bed bed;
  const auto refused = [&](Json messages, const char* param, const char* words = "expected") {
    check_refused(bed, kPath, said(std::move(messages)), param, words);
  };
  const Json fine = {{"role", "user"}, {"content", "Hi"}};
  check_refused(bed, kPath, Json::object(), "messages", "at least one");
  refused(Json::array(), "messages", "at least one");
  refused("Hi", "messages", "a list");
  refused({fine, "Hi"}, "messages[1]", "an object");
  refused({fine, {{"content", "Hi"}}}, "messages[1].role");
  refused({{{"role", "robot"}, {"content", "Hi"}}}, "messages[0].role", "found \"robot\"");
  refused({{{"role", "function"}, {"content", "Hi"}}}, "messages[0].role");
  refused({{{"role", "user"}}}, "messages[0].content");
  refused({{{"role", "user"}, {"content", nullptr}}}, "messages[0].content");
  refused({{{"role", "user"}, {"content", 5}}}, "messages[0].content");
  refused({{{"role", "user"}, {"content", {"Hi"}}}}, "messages[0].content[0]");
  refused({{{"role", "user"}, {"content", {{{"text", "Hi"}}}}}}, "messages[0].content[0].type");
  refused({{{"role", "user"}, {"content", {{{"type", "text"}}}}}}, "messages[0].content[0].text");
  for (const char* type : {"image_url", "input_audio", "file"})
    refused({fine, {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "x"}}, {{"type", type}}}}}},
            "messages[1].content[1].type", "reads no images, sound or files");
  refused({{{"role", "assistant"}, {"tool_calls", {{{"id", "a"}}}}}}, "messages[0].tool_calls[0].function");
  refused({{{"role", "assistant"}, {"tool_calls", {{{"function", {{"arguments", "{}"}}}}}}}},
          "messages[0].tool_calls[0].function.name");
  Bed base("");
  check_refused(base, kPath, asks("Hi"), "", "no chat template");
}

TEST_CASE("chat: an answer that was begun is gone on with") {
  Bed bed;
  const Json begun = {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Well,"}}};
  bed.generator.says = said_bytes(" then");
  const Json answer = bed.post(kPath, with(said(begun), {{"continue_final_message", true}}));
  CHECK(bed.last_prompt().ends_with("<｜Assistant｜>Well,"));
  CHECK(answer["choices"][0]["message"]["content"] == " then");
  check_refused(bed, kPath, with(asks("Hi"), {{"continue_final_message", true}}), "messages", "an assistant's text");
}

TEST_CASE("chat: an answer behind thoughts is gone on with, and so are thoughts") {
  const auto continued = [](Bed& bed, const Json& message, const Json& more) {
    bed.generator.says = said_bytes(" then");
    const Json begun = {{{"role", "user"}, {"content", "Hi"}}, message};
    return bed.post(kPath, with(with(said(begun), {{"continue_final_message", true}}), more))["choices"][0]["message"];
  };
  const Json answer = {{"role", "assistant"}, {"content", "Well,"}, {"reasoning_content", "so"}};
  const Json thought = {{"role", "assistant"}, {"content", ""}, {"reasoning_content", "so"}};
  const Json on = {{"enable_thinking", true}}, off = {{"enable_thinking", false}};

  Bed r1("deepseek-r1");
  CHECK(continued(r1, answer, Json::object())["content"] == " then");
  CHECK(r1.last_prompt().ends_with("<｜Assistant｜><think>\nso\n</think>\n\nWell,"));
  CHECK(continued(r1, thought, Json::object())["reasoning_content"] == " then");
  CHECK(r1.last_prompt().ends_with("<｜Assistant｜><think>\nso"));
  check_refused(r1, kPath,
                {{"messages", {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Well,"}}}},
                 {"continue_final_message", true}},
                "messages", "thinks before");

  Bed v31("deepseek-v3.1");
  CHECK(continued(v31, answer, on)["content"] == " then");
  CHECK(v31.last_prompt().ends_with("<think>so</think>Well,"));
  CHECK(continued(v31, answer, off)["content"] == " then");  // as it answers then: without thoughts
  CHECK(v31.last_prompt().ends_with("</think>Well,"));
  CHECK(!contains(v31.last_prompt(), "so"));
}

TEST_CASE("chat: lengths, stop strings, stop tokens") {
  Bed bed;
  const auto finish = [&](const Json& more) {
    const Json choice = bed.post(kPath, with(asks("Hi"), more))["choices"][0];
    return std::pair<std::string, std::string>{choice["message"]["content"], choice["finish_reason"]};
  };
  CHECK(finish({{"max_tokens", 3}}) == std::pair<std::string, std::string>{"Hel", "length"});
  CHECK(finish({{"max_tokens", 3}, {"max_completion_tokens", 4}}).first == "Hell");
  CHECK(finish({{"max_tokens", -1}}).second == "stop");
  CHECK(finish({{"stop", "o y"}}) == std::pair<std::string, std::string>{"Hell", "stop"});
  CHECK(finish({{"stop", {"you", "ll"}}}).first == "He");
  CHECK(finish({{"stop", "nowhere"}}).first == "Hello you.");
  CHECK(finish({{"stop_token_ids", said_bytes(" ")}}).first == "Hello");
}

TEST_CASE("chat: logprobs of the answer's tokens, without thoughts, marks and stop strings") {
  Bed bed("deepseek-r1-0528");
  bed.generator.says = said_bytes("<think>a</think>Hé stop");
  const Json wanted = with(asks("Hi"), {{"logprobs", true}, {"top_logprobs", 2}, {"stop", " stop"}});
  const Json answer = bed.post(kPath, wanted);
  CHECK(bed.last().n_logprobs == 2);
  const Json content = answer["choices"][0]["logprobs"]["content"];
  REQUIRE(content.size() == 3);
  CHECK(content[0]["token"] == "H");
  CHECK(content[0]["bytes"] == Json::array({72}));
  CHECK(content[0]["logprob"] == -0.5);
  CHECK(content[0]["top_logprobs"].size() == 2);
  CHECK(content[0]["top_logprobs"][1]["logprob"] == -1.5);
  CHECK(content[1]["token"] == "\uFFFD");
  CHECK(content[1]["bytes"] == Json::array({0xC3}));

  // In a stream each token comes with the text that it is part of.
  std::vector<size_t> sizes;
  for (const Event& event : bed.stream(kPath, wanted)) {
    if (event.data == "[DONE]") break;
    const Json choice = event.json()["choices"][0];
    if (!choice["logprobs"].is_null()) sizes.push_back(choice["logprobs"]["content"].size());
  }
  CHECK(sizes == std::vector<size_t>{1, 2});

  bed.post(kPath, with(asks("Hi"), {{"logprobs", true}}));
  CHECK(bed.last().n_logprobs == 0);
  check_refused(bed, kPath, with(asks("Hi"), {{"top_logprobs", 2}}), "top_logprobs");
  check_refused(bed, kPath, with(asks("Hi"), {{"logprobs", true}, {"top_logprobs", 21}}), "top_logprobs");
  check_refused(bed, kPath, with(asks("Hi"), {{"logprobs", 1}}), "logprobs");
}

TEST_CASE("chat: n choices are requests of their own, with seeds that follow one another") {
  Bed bed;
  const auto exchange = bed.start(kPath, with(asks("Hi"), {{"n", 3}, {"seed", 5}}));
  REQUIRE(bed.generator.asked.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(bed.generator.asked[i].request.sampling.seed == 5 + i);
  bed.generator.says = said_bytes("b");
  bed.generator.answer(1);
  CHECK(!exchange->answered());
  bed.generator.says = said_bytes("a");
  bed.generator.answer(0);
  bed.generator.says = said_bytes("cc");
  bed.generator.answer(2);
  const Json answer = Json::parse(exchange->response().body);
  REQUIRE(answer["choices"].size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(answer["choices"][i]["index"] == i);
  CHECK(answer["choices"][1]["message"]["content"] == "b");
  CHECK(answer["usage"]["completion_tokens"] == 4);
  CHECK(answer["usage"]["prompt_tokens"] == bed.last().prompt.size());  // once

  const auto events = bed.stream(kPath, with(asks("Hi"), {{"n", 2}}));
  std::vector<std::string> texts(2);
  for (const Event& event : events) {
    if (event.data == "[DONE]") break;
    const Json choice = event.json()["choices"][0];
    texts.at(choice["index"]) += choice["delta"].value("content", "");
  }
  CHECK(texts == std::vector<std::string>{"cc", "cc"});
}

TEST_CASE("chat: the blank in front of an answer is the format's") {
  Bed bed("deepseek-v2");
  bed.generator.says = said_bytes(" Hello");
  CHECK(bed.post(kPath, asks("Hi"))["choices"][0]["message"]["content"] == "Hello");
}

TEST_CASE("chat: the billing line of one client is not part of the prompt") {
  Bed bed;
  const std::string line = "x-anthropic-billing-header: cc_version=2.1; cch=abcde;\n";
  bed.post(kPath, said({{{"role", "system"}, {"content", line + "Be kind."}}, {{"role", "user"}, {"content", line}}}));
  CHECK(bed.last_prompt() == "<｜begin▁of▁sentence｜>Be kind.<｜User｜>" + line + "<｜Assistant｜>");
}
