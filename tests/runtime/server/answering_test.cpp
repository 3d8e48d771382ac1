// One request between the engine, its client and the clock.
#include "runtime/server/answering.h"

#include <thread>

#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::server;
using namespace hearth::test;

namespace {

constexpr const char* kAnswered = "/v1/chat/completions";

Json chat_request(bool stream, const Json& more = Json::object()) {
  Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"max_tokens", 100}, {"stream", stream}};
  body.update(more);
  return body;
}

// Waits for what another thread does.
template <class F>
bool soon(F&& happened) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!happened() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  return happened();
}

}  // namespace

TEST_CASE("answering: a client that leaves cancels all of its choices") {
  for (const bool stream : {false, true}) {
    Bed bed;
    const auto exchange = bed.start(kAnswered, chat_request(stream, {{"n", 2}}));
    CHECK(bed.api->under_way() == 1);
    bed.generator.read(0);
    exchange->leave();
    REQUIRE(bed.generator.asked.size() == 2);
    for (const auto& one : bed.generator.asked) CHECK(one.cancelled);
    bed.generator.finish(0, StopReason::eos, 0);
    bed.generator.finish(1, StopReason::eos, 0);
    CHECK(bed.api->under_way() == 0);
  }
}

TEST_CASE("answering: a client that left before the engine was asked") {
  Bed bed;
  auto exchange = std::make_shared<FakeExchange>();
  exchange->leave();
  bed.api->handle({.method = "POST", .path = kAnswered, .body = chat_request(true).dump()}, exchange);
  for (const auto& one : bed.generator.asked) CHECK(one.cancelled);
}

TEST_CASE("answering: when a later choice is refused, the earlier ones are cancelled and nothing was sent") {
  for (const bool stream : {false, true}) {
    Bed bed;
    bed.generator.most_waiting = 2;
    const auto exchange = bed.start(kAnswered, chat_request(stream, {{"n", 3}}));
    CHECK(exchange->response().status == 429);
    CHECK(!exchange->streamed());
    REQUIRE(bed.generator.asked.size() == 2);
    for (const auto& one : bed.generator.asked) CHECK(one.cancelled);
    CHECK(!bed.generator.say(0, said_bytes("x")[0]));  // nobody listens
    bed.generator.finish(0, StopReason::eos, 0);
    bed.generator.finish(1, StopReason::eos, 0);
  }
}

namespace {

// An engine so quick that it is done before `submit` is.
class HastyGenerator : public FakeGenerator {
 public:
  uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) override {
    const uint64_t id = FakeGenerator::submit(std::move(request), std::move(listener));
    if (fails)
      fail(id - 1, "broken");
    else
      answer(id - 1);
    return id;
  }
  bool fails = false;
};

}  // namespace

TEST_CASE("answering: an engine that is done before all of its choices are submitted") {
  HastyGenerator hasty;
  hasty.says = said_bytes("ab");
  Bed bed;
  bed.loading->ready({bed.model, &hasty});
  const auto whole = bed.start(kAnswered, chat_request(false, {{"n", 2}}));
  CHECK(Json::parse(whole->response().body)["choices"].size() == 2);
  const auto streamed = bed.start(kAnswered, chat_request(true, {{"n", 2}}));
  REQUIRE(streamed->ended());
  const auto events = events_of(streamed->response().body);
  REQUIRE(events.size() == 9);  // two roles first, then two letters and an end for each
  for (size_t i = 0; i < 2; ++i) CHECK(events[i].json()["choices"][0]["delta"].contains("role"));
  CHECK(events.back().data == "[DONE]");
  const auto response = bed.start("/v1/responses", {{"input", "Hi"}, {"stream", true}});
  CHECK(events_of(response->response().body)[0].json()["sequence_number"] == 0);

  hasty.fails = true;
  for (const bool stream : {false, true}) {
    const auto failed = bed.start(kAnswered, chat_request(stream, {{"n", 2}}));
    CHECK(failed->response().status == 500);
    CHECK(!failed->streamed());
    CHECK(contains(failed->response().body, "broken"));
  }
}

TEST_CASE("answering: a failure of the engine, before and after the stream began") {
  Bed bed;
  const auto whole = bed.start(kAnswered, chat_request(false, {{"n", 2}}));
  bed.generator.fail(0, "the output is not a number");
  CHECK(whole->response().status == 500);
  CHECK(Json::parse(whole->response().body)["error"]["type"] == "server_error");
  CHECK(bed.generator.asked[1].cancelled);
  bed.generator.finish(1, StopReason::eos, 0);

  for (const char* path : {kAnswered, "/v1/messages"}) {
    const auto streamed = bed.start(path, chat_request(true));
    const size_t i = bed.generator.asked.size() - 1;
    bed.generator.read(i);
    bed.generator.say(i, said_bytes("x")[0]);
    bed.generator.fail(i, "the output is not a number");
    REQUIRE(streamed->ended());
    const Event last = events_of(streamed->response().body).back();
    CHECK(last.json()["error"]["message"] == "the output is not a number");
    CHECK(last.name == (path == kAnswered ? "" : "error"));
    if (path != kAnswered) CHECK(last.json()["error"]["type"] == "api_error");
  }
}

TEST_CASE("answering: the server ends, and its clients are told") {
  Bed bed;
  const auto whole = bed.start(kAnswered, chat_request(false));
  const auto streamed = bed.start(kAnswered, chat_request(true));
  CHECK(bed.api->under_way() == 2);
  bed.api->cut();
  for (const auto& one : bed.generator.asked) CHECK(one.cancelled);
  CHECK(whole->response().status == 503);
  REQUIRE(streamed->ended());
  CHECK(contains(events_of(streamed->response().body).back().data, "the server ends"));
  bed.generator.finish(0, StopReason::eos, 0);
  bed.generator.finish(1, StopReason::eos, 0);
  CHECK(bed.api->under_way() == 0);

  // Who comes late waits for nothing.
  const auto late = bed.start(kAnswered, chat_request(true));
  REQUIRE(late->ended());
  CHECK(late->response().status == 503);
  CHECK(contains(late->response().body, "the server ends"));
  CHECK(bed.generator.asked.size() == 2);
}

TEST_CASE("answering: the engine ends, and its clients are told") {
  Bed bed;
  const auto whole = bed.start(kAnswered, chat_request(false));
  bed.generator.finish(0, StopReason::interrupted, 0);
  CHECK(whole->response().status == 503);
}

TEST_CASE("answering: what is under way is cut when the Api goes") {
  Bed bed;
  const auto streamed = bed.start(kAnswered, chat_request(true));
  bed.api.reset();
  CHECK(streamed->ended());
  CHECK(bed.generator.asked[0].cancelled);
}

TEST_CASE("answering: signs of life while nothing is said, in each protocol's way") {
  const ApiOptions quick{.silence = std::chrono::milliseconds(1), .tick = std::chrono::milliseconds(1)};
  Bed bed("deepseek-v3", quick);
  for (const auto& [path, word] : std::vector<std::pair<std::string, std::string>>{
           {kAnswered, ": ping\n\n"}, {"/v1/messages", "event: ping\ndata: {\"type\":\"ping\"}\n\n"}}) {
    const auto exchange = bed.start(path, chat_request(true));
    CHECK(soon([&] { return contains(exchange->response().body, word + word); }));
    bed.generator.answer_all();
    CHECK(exchange->ended());
    const auto events = events_of(exchange->response().body);
    CHECK(events.back().data == (path == kAnswered ? "[DONE]" : "{\"type\":\"message_stop\"}"));
  }
  const auto whole = bed.start(kAnswered, chat_request(false));
  CHECK(!whole->answered());  // there is no way to say anything
}

TEST_CASE("answering: who speaks needs no signs of life") {
  Bed bed;
  const auto exchange = bed.start(kAnswered, chat_request(true));
  bed.generator.answer_all();
  CHECK(!contains(exchange->response().body, ": ping"));
}

TEST_CASE("answering: many threads at once") {
  const ApiOptions quick{.silence = std::chrono::milliseconds(0), .tick = std::chrono::milliseconds(1)};
  Bed bed("deepseek-v3", quick);
  std::vector<std::shared_ptr<FakeExchange>> exchanges;
  for (int i = 0; i < 20; ++i) exchanges.push_back(bed.start(kAnswered, chat_request(i % 2 == 0)));
  std::thread engine([&] { bed.generator.answer_all(); });
  for (size_t i = 0; i < 20; i += 5) exchanges[i]->leave();
  engine.join();
  for (size_t i = 0; i < 20; ++i) CHECK(exchanges[i]->ended());
}
