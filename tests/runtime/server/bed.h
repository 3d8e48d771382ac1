// A server without network and without model: requests go in, and what comes out is looked at.
#pragma once

#include "runtime/server/api.h"
#include "tests/runtime/chat/chat_vocabulary.h"
#include "tests/runtime/server/fakes.h"
#include "tests/support/refusal.h"

namespace hearth::test {

using server::Json;

inline const std::string kBos = "<｜begin▁of▁sentence｜>";

inline Json with(Json body, const Json& more) {
  body.update(more);
  return body;
}

struct ServerVocabulary : ChatVocabulary {
  ServerVocabulary() {
    for (const char* mark : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) add(mark, TokenType::control);
  }
};

inline const Tokenizer& served_tokenizer() {
  static const Tokenizer tokenizer(ServerVocabulary().metadata());
  return tokenizer;
}

// Every byte is a token of its own, so that all borders are met; marks are one token.
inline std::vector<Token> said_bytes(const std::string& text) {
  static const ServerVocabulary vocabulary;
  std::vector<Token> tokens;
  for (size_t i = 0; i < text.size();) {
    size_t length = 1;
    for (const std::string& mark : kChatMarks)
      if (text.compare(i, mark.size(), mark) == 0) length = mark.size();
    for (const std::string mark : {"<think>", "</think>"})
      if (text.compare(i, mark.size(), mark) == 0) length = mark.size();
    const std::string piece = length > 1 ? text.substr(i, length) : byte_character(uint8_t(text[i]));
    const auto found = std::ranges::find(vocabulary.tokens, piece);
    REQUIRE(found != vocabulary.tokens.end());
    tokens.push_back(Token(found - vocabulary.tokens.begin()));
    i += length;
  }
  return tokens;
}

struct Bed {
  FakeGenerator generator;
  std::shared_ptr<server::LoadingState> loading = std::make_shared<server::LoadingState>();
  std::optional<ChatTemplate> chat;
  std::shared_ptr<server::ServedModel> model = std::make_shared<server::ServedModel>();
  std::optional<server::Api> api;

  // template_name: a built-in format; empty: a base model
  explicit Bed(const std::string& template_name = "deepseek-v3", server::ApiOptions options = {}) {
    chat = template_name.empty()
               ? std::nullopt
               : choose_chat_template(template_name, ServerVocabulary().metadata(), served_tokenizer());
    *model = {.id = "tiny",
              .aliases = {"other/tiny"},
              .path = "/home/somebody/tiny.gguf",
              .version = "hearth-test",
              .created = 1700000000,
              .n_ctx = generator.n_ctx,
              .n_vocab = int64_t(served_tokenizer().size()),
              .tokenizer = &served_tokenizer(),
              .chat = chat ? &*chat : nullptr,
              .chat_template = "the template",
              .sampling = {.temperature = 0.5f, .top_p = 0.9f},
              .gpu = "a GPU",
              .gpu_bytes = 1000,
              .memory_bytes = 200,
              .disk_bytes = 30};
    loading->ready({model, &generator});
    api.emplace(loading, options);
    generator.says = said_bytes("Hello you.");
  }

  std::shared_ptr<FakeExchange> start(const std::string& method, const std::string& path, const std::string& body) {
    auto exchange = std::make_shared<FakeExchange>();
    api->handle({.method = method, .path = path, .body = body}, exchange);
    return exchange;
  }
  std::shared_ptr<FakeExchange> start(const std::string& path, const Json& body) {
    return start("POST", path, body.dump());
  }
  server::HttpResponse send(const std::string& path, const Json& body) {
    const auto exchange = start(path, body);
    generator.answer_all();
    REQUIRE(exchange->ended());
    return exchange->response();
  }
  // What a request that is in order is answered.
  Json post(const std::string& path, const Json& body) {
    const server::HttpResponse response = send(path, body);
    REQUIRE_MESSAGE(response.status == 200, response.body);
    CHECK(response.content_type == "application/json");
    return Json::parse(response.body);
  }
  std::vector<Event> stream(const std::string& path, Json body) {
    body["stream"] = true;
    const server::HttpResponse response = send(path, body);
    REQUIRE_MESSAGE(response.status == 200, response.body);
    CHECK(response.content_type == "text/event-stream");
    return events_of(response.body);
  }
  Json get(const std::string& path) {
    const server::HttpResponse response = start("GET", path, "")->response();
    REQUIRE_MESSAGE(response.status == 200, response.body);
    return Json::parse(response.body);
  }
  const GenerationRequest& last() const { return generator.asked.back().request; }
  std::string last_prompt() const { return served_tokenizer().decode(last().prompt, true); }
};

// A request is refused with 400; what the error says of it.
inline void check_refused(Bed& bed, const std::string& path, const Json& body, const std::string& param,
                          const std::string& words = "") {
  CAPTURE(body.dump());
  const size_t before = bed.generator.asked.size();
  const server::HttpResponse response = bed.send(path, body);
  CHECK(response.status == 400);
  CHECK(bed.generator.asked.size() == before);
  const Json error = Json::parse(response.body)["error"];
  const std::string message = error["message"];
  CHECK_MESSAGE(contains(message, param), message);
  CHECK_MESSAGE(contains(message, words), message);
  if (error.contains("param") && !param.empty()) CHECK(error["param"] == param);
  CHECK(message.find('\n') == std::string::npos);
}

}  // namespace hearth::test
