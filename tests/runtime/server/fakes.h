// An engine that says what it is told to, and a client that remembers what it was answered.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/engine/generation.h"
#include "runtime/server/api_json.h"
#include "runtime/server/http.h"

namespace hearth::test {

// Requests wait until the test has them answered, so that what happens between is the test's to say.
class FakeGenerator : public Generator {
 public:
  struct Asked {
    uint64_t id = 0;
    GenerationRequest request;
    std::shared_ptr<GenerationListener> listener;  // null: answered
    bool cancelled = false;                        // by any thread
  };

  std::vector<Token> says;  // before the model ends its answer by itself
  int64_t n_ctx = 4096, n_cached = 0;
  size_t most_waiting = 1000;  // more are refused
  EngineStatus told = {.max_running = 4, .max_waiting = 1000};
  std::vector<Asked> asked;

  uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) override {
    const Sampler checked(request.sampling);
    require(!request.prompt.empty(), ErrorKind::usage, "the prompt is empty");
    if (int64_t(request.prompt.size()) > n_ctx) throw ContextOverflow(int64_t(request.prompt.size()), n_ctx);
    if (waiting() >= most_waiting) throw QueueFull(int64_t(most_waiting), 2.5);
    asked.push_back({asked.size() + 1, std::move(request), std::move(listener)});
    return asked.back().id;
  }
  void cancel(uint64_t request) override { std::atomic_ref(asked.at(request - 1).cancelled) = true; }
  EngineStatus status() const override { return told; }

  // --- What the engine's thread does, one request at a time.

  static ReadingProgress progress(const Asked& one, int64_t cached, int64_t done) {
    return {.total = int64_t(one.request.prompt.size()), .cached = cached, .done = done, .seconds = 0.25};
  }
  void read(size_t i) {
    Asked& one = asked.at(i);
    const int64_t n = int64_t(one.request.prompt.size());
    one.listener->reading(progress(one, n_cached, n_cached));
    one.listener->reading(progress(one, n_cached, n));
  }
  // False: the answer ends with it.
  bool say(size_t i, Token token) {
    Asked& one = asked.at(i);
    GeneratedToken said{.token = token, .logprob = -0.5f};
    for (int k = 0; k < one.request.n_logprobs; ++k) said.likeliest.push_back({Token(token + k), -0.5f - float(k)});
    return one.listener->token(said);
  }
  void finish(size_t i, StopReason reason, int64_t n_tokens) {
    Asked& one = asked.at(i);
    const auto listener = std::move(one.listener);
    listener->finished({.reason = std::atomic_ref(one.cancelled) ? StopReason::interrupted : reason,
                        .prompt_tokens = int64_t(one.request.prompt.size()),
                        .cached_tokens = n_cached,
                        .generated_tokens = n_tokens,
                        .queued_seconds = 0.125,
                        .prefill_seconds = 0.5,
                        .decode_seconds = 2});
  }
  void answer(size_t i) {
    const GenerationRequest& request = asked.at(i).request;
    read(i);
    StopReason reason = StopReason::eos;
    int64_t n = 0;
    for (const Token token : says) {
      if (n == request.max_tokens) break;
      if (std::ranges::find(request.stop_tokens, token) != request.stop_tokens.end()) break;
      ++n;
      if (!say(i, token)) {
        reason = StopReason::stop_string;
        break;
      }
    }
    if (reason == StopReason::eos && n == request.max_tokens) reason = StopReason::max_tokens;
    finish(i, reason, n);
  }
  void answer_all() {
    for (size_t i = 0; i < asked.size(); ++i)
      if (asked[i].listener) answer(i);
  }
  void fail(size_t i, const std::string& why) {
    const auto listener = std::move(asked.at(i).listener);
    listener->failed(Error(ErrorKind::model, why));
  }

 private:
  size_t waiting() const {
    return size_t(std::ranges::count_if(asked, [](const Asked& one) { return one.listener != nullptr; }));
  }
};

// Used from several threads where the ticker speaks.
class FakeExchange : public server::HttpExchange {
 public:
  void reply(server::HttpResponse response) override {
    const std::lock_guard lock(mutex_);
    CHECK(!answered_);
    answered_ = ended_ = true;
    response_ = std::move(response);
  }
  void begin(int status, const std::string& content_type, const server::HttpHeaders& headers) override {
    const std::lock_guard lock(mutex_);
    CHECK(!answered_);
    answered_ = streamed_ = true;
    response_ = {.status = status, .content_type = content_type, .body = "", .headers = headers};
  }
  void send(std::string piece) override {
    const std::lock_guard lock(mutex_);
    CHECK(streamed_);
    CHECK(!ended_);
    CHECK(!piece.empty());
    response_.body += piece;
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    CHECK(streamed_);
    CHECK(!ended_);
    ended_ = true;
  }
  void when_left(std::function<void()> told) override {
    CHECK(!told_);
    told_ = std::move(told);
    if (left_) told_();
  }

  void leave() {
    left_ = true;
    if (told_) told_();
  }
  bool answered() const {
    const std::lock_guard lock(mutex_);
    return answered_;
  }
  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  bool streamed() const {
    const std::lock_guard lock(mutex_);
    return streamed_;
  }
  server::HttpResponse response() const {
    const std::lock_guard lock(mutex_);
    return response_;
  }

 private:
  mutable std::mutex mutex_;
  bool answered_ = false, streamed_ = false, ended_ = false, left_ = false;
  server::HttpResponse response_;
  std::function<void()> told_;
};

// A stream's events; comments have neither name nor data.
struct Event {
  std::string name, data, comment;
  server::Json json() const { return server::Json::parse(data); }
};

inline std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find("\n\n", begin);
    REQUIRE_MESSAGE(end != std::string::npos, text.substr(begin));
    Event event;
    for (size_t line = begin; line < end;) {
      const size_t line_end = std::min(text.find('\n', line), end);
      const std::string one = text.substr(line, line_end - line);
      if (one.starts_with("event: "))
        event.name = one.substr(7);
      else if (one.starts_with("data: "))
        event.data = one.substr(6);
      else if (one.starts_with(":"))
        event.comment = one.substr(1);
      else
        FAIL("no line of an event: ", one);
      line = line_end + 1;
    }
    events.push_back(event);
    begin = end + 2;
  }
  return events;
}

}  // namespace hearth::test
