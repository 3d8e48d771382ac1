// Paths, errors, what is told of the model and the server.
#include "runtime/server/api.h"

#include <sstream>

#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::server;
using namespace hearth::test;

namespace {

Json asks(const std::string& text) {
  return {{"messages", {{{"role", "user"}, {"content", text}}}}, {"max_tokens", 9}};
}

std::string header(const HttpResponse& response, const std::string& name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return "";
}

const std::vector<std::string> kPosts = {"/v1/chat/completions",
                                         "/v1/completions",
                                         "/v1/responses",
                                         "/v1/messages",
                                         "/v1/messages/count_tokens",
                                         "/infill",
                                         "/tokenize",
                                         "/detokenize",
                                         "/apply-template"};
const std::vector<std::string> kGets = {"/v1/models", "/v1/models/tiny", "/props", "/health", "/metrics"};

}  // namespace

TEST_CASE("api: unknown paths and methods, in the words of whoever asks") {
  Bed bed;
  for (const char* path : {"/index", "//", "/v1", "/v1/chat", "/v1/modelsx", "/V1/models", "/health/", "/api/tags"}) {
    CAPTURE(path);
    const HttpResponse response = bed.start("GET", path, "")->response();
    CHECK(response.status == 404);
    CHECK(Json::parse(response.body)["error"]["type"] == "invalid_request_error");
  }
  const HttpResponse unknown = bed.start("POST", "/v1/messages/batches", "{}")->response();
  CHECK(unknown.status == 404);
  CHECK(Json::parse(unknown.body)["type"] == "error");
  CHECK(Json::parse(unknown.body)["error"]["type"] == "not_found_error");
  for (const std::string& path : kPosts) {
    const HttpResponse response = bed.start("GET", path, "")->response();
    CHECK(response.status == 405);
    CHECK(header(response, "Allow") == "POST");
  }
  for (const std::string& path : kGets) {
    const HttpResponse response = bed.start("DELETE", path, "")->response();
    CHECK(response.status == 405);
    CHECK(header(response, "Allow") == "GET");
  }
}

TEST_CASE("api: refusals of the network's room speak the same words") {
  CHECK(Json::parse(api_error_body(401, "no key", "/v1/models"))["error"]["type"] == "authentication_error");
  const Json its = Json::parse(api_error_body(413, "too large", "/v1/messages"));
  CHECK(its["type"] == "error");
  CHECK(its["error"] == Json{{"type", "request_too_large"}, {"message", "too large"}});
  for (const int status : {400, 401, 403, 404, 405, 408, 415, 429, 431, 500, 501, 503})
    for (const char* path : {"/", "/v1/messages"})
      CHECK(Json::parse(api_error_body(status, "words", path))["error"]["message"] == "words");
}

TEST_CASE("api: every endpoint refuses a body that is none") {
  Bed bed;
  for (const std::string& path : kPosts)
    for (const std::string body : {"", "[]", "{", "{\"a\":1,\"a\":1}", "{\"a\":\"\xFF\"}", "{\"a\":1e999}"}) {
      CAPTURE(path);
      CAPTURE(body);
      const HttpResponse response = bed.start("POST", path, body)->response();
      CHECK(response.status == 400);
      CHECK(contains(std::string(Json::parse(response.body)["error"]["message"]), "the body"));
    }
}

TEST_CASE("api: while the model loads, progress is all there is") {
  auto loading = std::make_shared<LoadingState>();
  loading->progress(0.42);
  Api api(loading);
  const auto ask = [&](const std::string& method, const std::string& path) {
    auto exchange = std::make_shared<FakeExchange>();
    api.handle({.method = method, .path = path, .body = "{}"}, exchange);
    return exchange->response();
  };
  const HttpResponse health = ask("GET", "/health");
  CHECK(health.status == 503);
  CHECK(Json::parse(health.body) == Json{{"status", "loading"}, {"progress", 0.42}});
  for (const std::string& path : kPosts) {
    const HttpResponse response = ask("POST", path);
    CHECK(response.status == 503);
    CHECK(header(response, "Retry-After") != "");
    const Json error = Json::parse(response.body)["error"];
    CHECK(error["progress"] == 0.42);
    CHECK(error["type"] == (path.starts_with("/v1/messages") ? "overloaded_error" : "unavailable_error"));
    CHECK(contains(std::string(error["message"]), "42 %"));
  }
  CHECK(ask("GET", "/v1/models").status == 503);
  CHECK(ask("GET", "/v1/nothing").status == 404);
  const HttpResponse metrics = ask("GET", "/metrics");
  CHECK(metrics.status == 200);
  CHECK(contains(metrics.body, "hearth_ready 0\n"));
  CHECK(contains(metrics.body, "hearth_loading_progress 0.42\n"));
  CHECK(!contains(metrics.body, "hearth_generated_tokens_total"));

  Bed bed;
  loading->ready({bed.model, &bed.generator});
  CHECK(ask("GET", "/health").status == 200);
  CHECK(Json::parse(ask("GET", "/health").body) == Json{{"status", "ok"}});
  CHECK(ask("GET", "/v1/models").status == 200);
}

TEST_CASE("api: the model in the words of both protocols") {
  Bed bed;
  const Json list = bed.get("/v1/models");
  CHECK(list["object"] == "list");
  REQUIRE(list["data"].size() == 1);
  const Json model = list["data"][0];
  CHECK(model["id"] == "tiny");
  CHECK(model["object"] == "model");
  CHECK(model["type"] == "model");
  CHECK(model["created"] == 1700000000);
  CHECK(model["created_at"] == "2023-11-14T22:13:20Z");
  CHECK(model["meta"]["n_ctx"] == 4096);
  CHECK(list["has_more"] == false);
  CHECK(bed.get("/v1/models/tiny") == model);
  CHECK(bed.get("/v1/models/other/tiny") == model);
  const HttpResponse unknown = bed.start("GET", "/v1/models/gpt-5", "")->response();
  CHECK(unknown.status == 404);
  CHECK(Json::parse(unknown.body)["error"]["code"] == "model_not_found");
}

TEST_CASE("api: properties as llama.cpp's clients look for them; the file's folder is nobody's business") {
  Bed bed;
  const Json props = bed.get("/props");
  CHECK(props["default_generation_settings"]["n_ctx"] == 4096);
  CHECK(props["default_generation_settings"]["params"]["temperature"] == 0.5);
  CHECK(props["total_slots"] == 4);
  CHECK(props["model_alias"] == "tiny");
  CHECK(props["model_path"] == "tiny.gguf");
  CHECK(props["chat_template"] == "the template");
  CHECK(props["bos_token"] == "<｜begin▁of▁sentence｜>");
  CHECK(props["modalities"]["vision"] == false);
  CHECK(props["placement"] == Json{{"gpu", "a GPU"}, {"gpu_bytes", 1000}, {"memory_bytes", 200}, {"disk_bytes", 30}});
  CHECK(props["chat_template_caps"]["supports_tools"] == true);
  CHECK(Bed("").get("/props")["chat_template_caps"]["supports_tools"] == false);
}

TEST_CASE("api: a prompt that is too long is refused with both numbers, in the words that clients look for") {
  Bed bed;
  bed.generator.n_ctx = 20;
  const std::string words(50, 'x');
  const HttpResponse response = bed.send("/v1/chat/completions", asks(words));
  CHECK(response.status == 400);
  const Json error = Json::parse(response.body)["error"];
  CHECK(error["type"] == "exceed_context_size_error");
  CHECK(error["code"] == "context_length_exceeded");
  CHECK(error["n_prompt_tokens"] > 50);
  CHECK(error["n_ctx"] == 20);
  const HttpResponse other = bed.send("/v1/messages", asks(words));
  CHECK(other.status == 400);
  const Json its = Json::parse(other.body)["error"];
  CHECK(its["type"] == "invalid_request_error");
  CHECK(std::string(its["message"]).starts_with("prompt is too long: "));
  CHECK(its["n_ctx"] == 20);
}

TEST_CASE("api: as many as may wait are waiting") {
  Bed bed;
  bed.generator.most_waiting = 0;
  const HttpResponse response = bed.send("/v1/chat/completions", asks("Hi"));
  CHECK(response.status == 429);
  CHECK(header(response, "Retry-After") == "3");
  CHECK(Json::parse(response.body)["error"]["type"] == "rate_limit_error");
  CHECK(Json::parse(response.body)["error"]["code"] == "queue_full");
  const HttpResponse other = bed.send("/v1/messages", asks("Hi"));
  CHECK(other.status == 429);
  CHECK(Json::parse(other.body)["error"]["type"] == "rate_limit_error");
}

TEST_CASE("api: more choices than there ever are at once are refused, and not put off") {
  Bed bed;
  bed.generator.told = {.max_running = 2, .max_waiting = 3};
  check_refused(bed, "/v1/completions", {{"prompt", "a"}, {"n", 6}}, "n", "at most 5 choices");
  check_refused(bed, "/v1/completions", {{"prompt", {"a", "b", "c", "d", "e", "f"}}}, "prompt", "found 6");
  bed.post("/v1/completions", {{"prompt", "a"}, {"n", 5}});
}

TEST_CASE("api: metrics are lines that Prometheus reads") {
  Bed bed;
  bed.generator.told = {.running = 2,
                        .waiting = 1,
                        .max_running = 4,
                        .max_waiting = 8,
                        .finished = 7,
                        .prompt_tokens = 1000,
                        .cached_tokens = 400,
                        .generated_tokens = 300,
                        .prefill_seconds = 2,
                        .decode_seconds = 4,
                        .decode_steps = 100,
                        .decode_rows = 200,
                        .pages = 10,
                        .used_pages = 3,
                        .kept_pages = 2,
                        .experts_chosen = 60,
                        .experts_on_gpu = 45,
                        .host_bytes = 4'000'000'000,
                        .gpu_bytes = 6'000'000'000,
                        .host_seconds = 2};
  bed.post("/tokenize", {{"content", "x"}});
  check_refused(bed, "/tokenize", Json::object(), "content");
  const HttpResponse response = bed.start("GET", "/metrics", "")->response();
  CHECK(response.content_type.starts_with("text/plain"));
  for (const char* line :
       {"hearth_ready 1", "hearth_requests{state=\"running\"} 2", "hearth_requests{state=\"waiting\"} 1",
        "hearth_requests_total{result=\"finished\"} 7", "hearth_prefix_hit_tokens_total 400",
        "hearth_prefill_tokens_per_second 300", "hearth_decode_tokens_per_second 50",
        "hearth_generated_tokens_total 300", "hearth_cache_pages{state=\"free\"} 7", "hearth_cache_kept_pages 2",
        "hearth_expert_cache_hits_total 45", "hearth_expert_gigabytes_per_second{tier=\"host\"} 2",
        "hearth_expert_gigabytes_per_second{tier=\"gpu\"} 1", "hearth_expert_bytes_total{tier=\"gpu\"} 6000000000",
        "hearth_http_requests_total{endpoint=\"/tokenize\"} 2", "hearth_http_requests_refused_total 1"})
    CHECK_MESSAGE(contains("\n" + response.body, "\n" + std::string(line) + "\n"), line);

  // Every sample follows the type of its name.
  std::istringstream lines(response.body);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) name = line.substr(7, line.find(' ', 7) - 7);
    if (!line.starts_with("#")) CHECK(line.substr(0, line.find_first_of(" {")) == name);
  }
}
