// `hearth serve` as its users meet it: a program, a port, a model that answers.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "tests/runtime/cli/server.h"
#include "tests/support/sanitized.h"
#include "tests/support/text_file.h"

using namespace hearth::test;

namespace {

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletions = "/v1/completions";
const std::string kRunning = "hearth_requests{state=\"running\"}";
const std::string kCancelled = "hearth_requests_total{result=\"cancelled\"}";

// The one that most cases ask.
Server& server() {
  static Server one({"--parallel", "2"});
  return one;
}

std::string file_of_keys(const std::string& name, const std::string& text) {
  const std::string path = shared_folder() / name;
  std::ofstream(path) << text;
  return path;
}

std::string error_of(const Answer& answer) {
  const Json json = Json::parse(answer.body, nullptr, false);
  REQUIRE_MESSAGE(json.is_object(), answer.body);
  return json["error"]["message"];
}

// A stream whose first words have come.
HttpClient streaming(const Server& from, const char* path = kCompletions, const Json& body = endless(true)) {
  HttpClient client(from.port());
  REQUIRE(client.send(post(path, body.dump())));
  REQUIRE(contains(client.until("data: "), "200 OK"));
  client.until("\n");
  return client;
}

}  // namespace

TEST_CASE("a question is answered as `hearth run` answers it, whole and in pieces, by every protocol") {
  const std::string asked = "What is the capital of France?";
  std::string expected = run_hearth({"run", demo_model(), asked, "--temp", "0"}).out;
  REQUIRE(contains(expected, "Paris"));
  expected.pop_back();  // the line's end
  Json body = question(asked);
  CHECK(server().post(kChat, body)["choices"][0]["message"]["content"] == expected);
  CHECK(server().post("/v1/responses", {{"input", asked}, {"temperature", 0}})["output"][0]["content"][0]["text"] ==
        expected);
  body["max_tokens"] = 100;
  CHECK(server().post("/v1/messages", body)["content"][0]["text"] == expected);

  body["stream"] = true;
  HttpClient client(server().port());
  REQUIRE(client.send(post(kChat, body.dump())));
  const Answer stream = client.answer();
  CHECK(stream.complete);
  CHECK(stream.headers.at("content-type") == "text/event-stream");
  std::string text;
  for (size_t at = 0; (at = stream.body.find("data: {", at)) != std::string::npos; ++at) {
    const Json event = Json::parse(stream.body.substr(at + 6, stream.body.find('\n', at) - at - 6));
    if (!event["choices"].empty()) text += event["choices"][0]["delta"].value("content", "");
  }
  CHECK(text == expected);
  CHECK(stream.body.ends_with("data: [DONE]\n\n"));

  const auto continued = run_hearth({"run", demo_model(), "-p", "One, two,", "--temp", "0", "-n", "8"});
  const Json whole = server().post(kCompletions, {{"prompt", "One, two,"}, {"temperature", 0}, {"max_tokens", 8}});
  CHECK(std::string(whole["choices"][0]["text"]) + "\n" == continued.out);
}

TEST_CASE("the demo's answers are bound to a schema, asked by a client or on the command line") {
  const Json schema = {{"type", "object"},
                       {"properties", {{"sum", {{"type", "integer"}, {"minimum", 10}}}, {"name", {{"maxLength", 9}}}}},
                       {"required", {"sum"}},
                       {"additionalProperties", false}};
  TempDir dir;
  const std::string path = dir / "sum.json";
  write_text(path, schema.dump());
  for (int seed = 0; seed < 8; ++seed) {
    const Json body = {{"messages", {{{"role", "user"}, {"content", "What is 12 + 7?"}}}},
                       {"temperature", 1.5},
                       {"seed", seed},
                       {"response_format", {{"type", "json_schema"}, {"json_schema", {{"schema", schema}}}}}};
    const Json choice = server().post(kChat, body)["choices"][0];
    CHECK(choice["finish_reason"] == "stop");
    for (const std::string& text : {choice["message"]["content"].get<std::string>(),
                                    run_hearth({"run", demo_model(), "What is 12 + 7?", "--schema", path, "--temp",
                                                "1.5", "--seed", std::to_string(seed)})
                                        .out}) {
      CAPTURE(text);
      const Json value = Json::parse(text);
      const double sum = value["sum"];  // it may have more digits than an integer of ours
      CHECK(sum >= 10);
      CHECK(sum == std::floor(sum));
      CHECK(value.size() <= 2);
    }
  }
  write_text(path, R"({"type": "objekt"})");
  check_refused(run_hearth({"run", demo_model(), "Hi", "--schema", path}), 2, {"sum.json: /type: expected"});
}

TEST_CASE("the demo calls where it must, by schema, whatever was asked") {
  const Json function = {{"name", "set_level"},
                         {"parameters",
                          {{"properties", {{"level", {{"type", "integer"}, {"maximum", 5}}}}},
                           {"required", {"level"}},
                           {"additionalProperties", false}}}};
  for (int seed = 0; seed < 4; ++seed) {
    const Json choice = server().post(kChat, {{"messages", {{{"role", "user"}, {"content", "Hello!"}}}},
                                              {"tools", {{{"type", "function"}, {"function", function}}}},
                                              {"tool_choice", "required"},
                                              {"parallel_tool_calls", false},
                                              {"temperature", 1.5},
                                              {"seed", seed}})["choices"][0];
    CHECK(choice["finish_reason"] == "tool_calls");
    REQUIRE(choice["message"]["tool_calls"].size() == 1);
    const Json& call = choice["message"]["tool_calls"][0]["function"];
    CHECK(call["name"] == "set_level");
    CHECK(Json::parse(call["arguments"].get<std::string>())["level"].get<int64_t>() <= 5);
  }
}

TEST_CASE("the demo calls a function, is told the result, and finds what was said in the cache") {
  const Json parameters = {{"type", "object"},
                           {"properties", {{"product", {{"type", "string"}, {"description", "Name of the product"}}}}},
                           {"required", {"product"}}};
  const Json function = {
      {"name", "get_price"}, {"description", "Get the price of a product"}, {"parameters", parameters}};
  Json body = {{"messages", {{{"role", "user"}, {"content", "Tell me the price of apples."}}}},
               {"tools", {{{"type", "function"}, {"function", function}}}},
               {"temperature", 0}};
  const Json first = server().post(kChat, body);
  const Json& message = first["choices"][0]["message"];
  REQUIRE(first["choices"][0]["finish_reason"] == "tool_calls");
  CHECK(message["content"].is_null());
  CHECK(message["tool_calls"][0]["function"] ==
        Json{{"name", "get_price"}, {"arguments", "{\"product\": \"apples\"}"}});

  body["messages"].push_back(message);
  body["messages"].push_back(
      {{"role", "tool"}, {"tool_call_id", message["tool_calls"][0]["id"]}, {"content", "{\"price\": 3}"}});
  const Json second = server().post(kChat, body);
  CHECK(contains(second["choices"][0]["message"]["content"].get<std::string>(), "3"));
  // All of the first question and answer, but for a token that is always run.
  CHECK(second["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>() >=
        first["usage"]["total_tokens"].get<int>() - 1);

  const Json named = {
      {"name", "get_price"}, {"description", "Get the price of a product"}, {"input_schema", parameters}};
  const Json block = server().post("/v1/messages", {{"messages", Json::array({body["messages"][0]})},
                                                    {"tools", Json::array({named})},
                                                    {"max_tokens", 100},
                                                    {"temperature", 0}})["content"][0];
  CHECK(block["type"] == "tool_use");
  CHECK(block["input"] == Json{{"product", "apples"}});
}

TEST_CASE("every other endpoint says something sensible of the demo") {
  const Server& s = server();
  CHECK(s.told(get("/health")) == Json{{"status", "ok"}});
  CHECK(s.told(get("/v1/models"))["data"][0]["id"] == "demo");
  CHECK(s.told(get("/v1/models/demo"))["meta"]["n_ctx_train"] == 2048);
  CHECK(s.ask(get("/v1/models/gpt-4")).status == 404);
  const Json props = s.told(get("/props"));
  CHECK(props["total_slots"] == 2);
  CHECK(props["model_path"] == "demo.gguf");  // and not the folder
  const Json tokens = s.post("/tokenize", {{"content", "Hello you"}})["tokens"];
  CHECK(tokens.size() > 0);
  CHECK(s.post("/detokenize", {{"tokens", tokens}})["content"] == "Hello you");
  const std::string prompt = s.post("/apply-template", question("Hello"))["prompt"];
  CHECK(contains(prompt, "Hello"));
  const Json counted = s.post("/v1/messages/count_tokens", question("Hello"));
  CHECK(counted["input_tokens"] ==
        s.post("/tokenize", {{"content", prompt}, {"parse_special", true}})["tokens"].size());
  for (const char* path : {"/infill", kCompletions}) {
    const Answer refused =
        s.ask(post(path, R"({"input_prefix":"a","input_suffix":"b","prompt":"a","suffix":"b","max_tokens":1})"));
    CHECK(refused.status == 400);
    CHECK(contains(error_of(refused), "was not made to fill in the middle"));
  }
  CHECK(s.ask(post("/v1/embeddings", R"({"input":"x"})")).status == 501);
  CHECK(s.metric("hearth_ready") == 1);
  CHECK(s.metric("hearth_cache_pages{state=\"used\"}") + s.metric("hearth_cache_pages{state=\"free\"}") ==
        2 * 2048 / 64);
}

TEST_CASE("bad input has one clear answer") {
  const auto refused = [](const std::string& request, int status, const std::vector<std::string>& parts) {
    CAPTURE(request.substr(0, 200));
    const Answer answer = server().ask(request);
    CHECK(answer.status == status);
    const std::string message = error_of(answer);
    for (const std::string& part : parts) CHECK_MESSAGE(contains(message, part), message);
    CHECK(!contains(message, "\n"));
  };
  const auto messages = [](const Json& list) { return post(kChat, Json{{"messages", list}}.dump()); };
  std::string words;
  for (int i = 0; i < 3000; ++i) words += "word ";
  const std::string too_long = messages({{{"role", "user"}, {"content", words}}});
  refused(too_long, 400, {"the prompt of ", " tokens does not fit the context of 2048"});
  const Json error = Json::parse(server().ask(too_long).body)["error"];
  CHECK(error["n_prompt_tokens"] > 3000);
  CHECK(error["n_ctx"] == 2048);
  refused(messages(Json::array()), 400, {"messages: "});
  refused(messages({{{"role", "robot"}, {"content", "x"}}}), 400, {"messages[0].role", "robot"});
  const Json image = {{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,AA=="}}}};
  refused(messages({{{"role", "user"}, {"content", {image}}}}), 400, {"messages[0].content[0].type", "image_url"});
  refused(post(kChat, "{\"messages\": \xff}"), 400, {"body"});
  refused(post(kChat, ""), 400, {"body"});
  refused(get("/v1/chat/completions"), 405, {"POST"});
  refused(get("/nothing"), 404, {"/nothing"});
  refused(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: 1073741824\r\n\r\n",
      413, {"1073741824"});
}

TEST_CASE("a large request leaves no memory behind") {
  const Server asked;
  Json messages = Json::array();
  for (int i = 0; i < 30'000; ++i) messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", "a b c d"}});
  const std::string request = post(kChat, Json{{"messages", messages}}.dump());
  REQUIRE(request.size() > 1 << 20);
  const int64_t before = asked.resident_bytes();
  CHECK(asked.ask(request).status == 400);
  if (kSanitized) return;  // whose allocator keeps what is freed
  CHECK(soon([&] { return asked.resident_bytes() < before + (8 << 20); }));
}

TEST_CASE("who may not ask is told so") {
  const std::string body = question("Hello").dump();
  CHECK(server().ask(post(kChat, body, "Origin: http://evil.example\r\n")).status == 403);
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  CHECK(server()
            .ask("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" + length)
            .status == 415);
  CHECK(server().ask("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 403);

  Server guarded({"--api-key-file", file_of_keys("keys", "# mine\nsecret\n"), "--cors", "http://localhost:3000",
                  "--allow-host", "box.local:8080", "--alias", "gpt"});
  CHECK(guarded.ask(get("/v1/models")).status == 401);
  CHECK(guarded.ask(get("/v1/models", "Authorization: Bearer wrong\r\n")).status == 401);
  CHECK(guarded.ask(get("/health")).status == 200);
  const std::string key = "Authorization: Bearer secret\r\n";
  CHECK(guarded.told(get("/v1/models", key))["data"][0]["id"] == "gpt");
  CHECK(guarded.told(get("/v1/models/demo", "x-api-key: secret\r\n"))["id"] == "gpt");
  CHECK(guarded.ask("GET /v1/models HTTP/1.1\r\nHost: box.local\r\n" + key + "\r\n").status == 200);
  const Answer page = guarded.ask(post(kChat, body, key + "Origin: http://localhost:3000\r\n"));
  CHECK(page.status == 200);
  CHECK(page.headers.at("access-control-allow-origin") == "http://localhost:3000");
  CHECK(guarded.ask(post(kChat, body, key + "Origin: http://localhost:3001\r\n")).status == 403);
}

TEST_CASE("what cannot be served is refused, in one line") {
  const auto refused = [](std::vector<std::string> options, int exit_code, const std::vector<std::string>& parts,
                          const std::string& model = demo_model()) {
    options.insert(options.begin(), {"serve", model, "--port", "0"});
    check_refused(run_hearth(options), exit_code, parts);
  };
  refused({"--host", "0.0.0.0"}, 2, {"0.0.0.0", "--api-key-file", "--no-api-key"});
  refused({"--host", "box.local", "--no-api-key"}, 2, {"expected an address", "box.local"});
  refused({"--api-key-file", shared_folder() / "none"}, 1, {"none: No such file"});
  refused({"--api-key-file", file_of_keys("empty", "")}, 2, {"empty: expected API keys, one a line, found none"});
  refused({"--api-key-file", file_of_keys("two", "one two\n")}, 2, {"two:1: expected one API key"});
  refused({"--cors", "*"}, 2, {"expected one origin of web pages", "found \"*\""});
  refused({"--cors", "http://localhost:3000/chat"}, 2, {"expected one origin of web pages"});
  refused({"--allow-host", "http://box.local"}, 2, {"expected a name of this server", "http://box.local"});
  refused({"--parallel", "0"}, 2, {"--parallel", "from 1 to 256"});
  refused({"--max-waiting", "-1"}, 2, {"--max-waiting", "-1"});
  refused({"--port", "65536"}, 2, {"--port", "65536"});
  refused({"--port", std::to_string(server().port())}, 2, {"--port", "2 times"});
  check_refused(run_hearth({"serve", demo_model(), "--port", std::to_string(server().port())}), 1,
                {"port " + std::to_string(server().port()), "in use"});

  refused({}, 1, {"none.gguf: cannot open: No such file"}, shared_folder() / "none.gguf");
  refused({}, 1, {"expected a GGUF file"}, file_of_keys("text.gguf", "no model at all"));
  const std::string cut = shared_folder() / "cut.gguf";
  fs::copy_file(demo_model(), cut);
  fs::resize_file(cut, 3'000'000);
  refused({}, 1, {"cut.gguf: truncated or corrupt"}, cut);
}

TEST_CASE("others may ask where their user said that everybody may") {
  Server open({"--host", "0.0.0.0", "--no-api-key"});
  CHECK(open.told(get("/health"))["status"] == "ok");
}

TEST_CASE("two servers have one file") {
  Server other;
  CHECK(other.port() != server().port());
  const Json asked = question("What is 2 + 3?");
  CHECK(other.post(kChat, asked)["choices"] == server().post(kChat, asked)["choices"]);
}

TEST_CASE("as many as may are waiting, and one more is told when to come again") {
  Server narrow({"--parallel", "1", "--max-waiting", "0"});
  HttpClient first = streaming(narrow);
  for (const char* path : {kChat, "/v1/messages"}) {
    Json body = question("Hello");
    body["max_tokens"] = 10;
    const Answer refused = narrow.ask(post(path, body.dump()));
    CHECK(refused.status == 429);
    CHECK(std::stoi(refused.headers.at("retry-after")) >= 1);
    CHECK(contains(error_of(refused), "0 requests wait already"));
  }
  CHECK(narrow.metric("hearth_requests_total{result=\"refused\"}") == 2);
  first.close();
  REQUIRE(narrow.soon_metric(kRunning, 0));
  CHECK(narrow.ask(post(kChat, question("Hello").dump())).status == 200);
}

TEST_CASE("who asks while the model is loading is told how far it is; told to end meanwhile, the server ends well") {
  if (kSanitized) {
    MESSAGE("left out: the sanitizers' library wants to be the first that is loaded");
    return;
  }
  for (const bool ends : {false, true}) {
    const fs::path gate = file_of_keys("gate", "");
    Server loading({}, demo_model(), gate);
    const Answer health = loading.ask(get("/health")), asked = loading.ask(post(kChat, question("Hello").dump()));
    CHECK(health.status == 503);
    const Json told = Json::parse(health.body);
    CHECK_MESSAGE(told["status"] == "loading", health.body);
    CHECK(told["progress"] < 1);
    CHECK(asked.status == 503);
    CHECK(asked.headers.count("retry-after") == 1);
    CHECK(contains(error_of(asked), "loading"));
    CHECK(contains(error_of(loading.ask(post("/v1/messages", "{}"))), "loading"));
    if (ends) loading.signal(SIGTERM);
    fs::remove(gate);
    if (ends) {
      CHECK(loading.exit_code() == 0);
      CHECK(!contains(loading.said(), "ready"));
    } else {
      CHECK(soon([&] { return loading.ask(get("/health")).status == 200; }));
      CHECK(loading.post(kChat, question("What is 2 + 3?"))["choices"].size() == 1);
    }
  }
}

TEST_CASE("a client that leaves costs nothing any more") {
  const double before = server().metric(kCancelled);
  HttpClient streamed = streaming(server());
  streamed.close();
  CHECK(server().soon_metric(kCancelled, before + 1));
  HttpClient whole(server().port());
  REQUIRE(whole.send(post(kCompletions, endless(false).dump())));
  REQUIRE(server().soon_metric(kRunning, 1));
  whole.reset();
  CHECK(server().soon_metric(kCancelled, before + 2));
  CHECK(server().metric(kRunning) == 0);
}

TEST_CASE("a server that is told to end cuts its streams within five seconds, and ends well") {
  for (const int signal : {SIGTERM, SIGINT}) {
    Server ending;
    HttpClient streamed = streaming(ending), said = streaming(ending, "/v1/messages", [] {
                                               Json body = endless(true);
                                               body.erase("prompt");
                                               body["messages"] = question("Hello")["messages"];
                                               return body;
                                             }());
    HttpClient whole(ending.port()), idle(ending.port());
    REQUIRE(whole.send(post(kCompletions, endless(false).dump())));
    REQUIRE(ending.soon_metric(kRunning, 3));
    const auto start = std::chrono::steady_clock::now();
    ending.signal(signal);
    const std::string last = streamed.rest(), last_said = said.rest();
    CHECK_MESSAGE(contains(last, "the server ends"), last);
    CHECK(last.ends_with("\r\n0\r\n\r\n"));  // and not in the middle of nothing
    CHECK_MESSAGE(contains(last_said, "event: error"), last_said);
    const Answer told = whole.answer();
    CHECK(told.status == 503);
    CHECK(contains(error_of(told), "the server ends"));
    CHECK(idle.closed());
    CHECK(ending.exit_code() == 0);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
    CHECK(!HttpClient(ending.port()).connected());
    CHECK(contains(ending.said(), "hearth: ending\n"));
  }
}

TEST_CASE("the official clients of OpenAI and Anthropic" * doctest::test_suite("may skip")) {
  const char* python = std::getenv("HEARTH_CLIENTS_PYTHON");
  Server asked({"--api-key-file", file_of_keys("keys", "secret\n")});
  const auto clients =
      run_process({python ? python : "python3", (source_dir() / "tests/runtime/server/clients.py").string(),
                   asked.url(), "secret"});
  std::printf("%s%s", clients.out.c_str(), clients.err.c_str());
  if (clients.exit_code == 127) std::printf("SKIP: there is no Python\n");
  if (clients.exit_code != 127 && clients.exit_code != 77) CHECK(clients.exit_code == 0);
}

TEST_CASE("answers bound to random schemas, cut anywhere" * doctest::test_suite("may skip")) {
  const char* python = std::getenv("HEARTH_CLIENTS_PYTHON");
  const auto judged = run_process(
      {python ? python : "python3", (source_dir() / "tests/golden/answers_by_schema.py").string(),
       (build_dir() / "hearth").string(), demo_model(), (build_dir() / "tests/generate_documents").string(), "100"});
  std::printf("%s%s", judged.out.c_str(), judged.err.c_str());
  if (judged.exit_code == 127) std::printf("SKIP: there is no Python\n");
  if (judged.exit_code != 127 && judged.exit_code != 77) CHECK(judged.exit_code == 0);
}
