#include "runtime/server/http_answer.h"

#include <doctest/doctest.h>

#include "runtime/server/http_errors.h"
#include "tests/support/refusal.h"

namespace hearth::test {

using namespace hearth::server;

namespace {

struct Wakes {
  int n = 0;
};

std::shared_ptr<HttpAnswer> answer_for(AnswerForm form = {}, size_t max_waiting = 1000, Wakes* wakes = nullptr) {
  return std::make_shared<HttpAnswer>(std::move(form), max_waiting, openai_error_body, [wakes] {
    if (wakes) ++wakes->n;
  });
}

std::string body_of(const std::string& bytes) {
  return bytes.substr(bytes.find("\r\n\r\n") + 4);
}

}  // namespace

TEST_CASE("an answer has the headers that every answer has") {
  const std::string head = answer_head({}, 200, "application/json", 5, {{"X-Request-Id", "7"}});
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(head.ends_with("\r\n\r\n"));
  for (const char* line : {"X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "Cache-Control: no-store",
                           "Content-Type: application/json", "Content-Length: 5", "X-Request-Id: 7", "Date: "})
    CHECK_MESSAGE(contains(head, std::string("\r\n") + line), line);
  for (const char* none : {"Server", "Transfer-Encoding", "Connection"}) CHECK(!contains(head, none));
  CHECK(contains(answer_head({.keep_alive = false}, 200, "a/b", 5, {}), "\r\nConnection: close\r\n"));
  CHECK(contains(answer_head({}, 200, "a/b", {}, {}), "\r\nTransfer-Encoding: chunked\r\n"));
  CHECK(!contains(answer_head({.http_1_1 = false}, 200, "a/b", {}, {}), "Transfer-Encoding"));
  const std::string none = answer_head({}, 204, "a/b", 0, {});
  CHECK(!contains(none, "Content-Length"));
  CHECK(!contains(none, "Content-Type:"));
}

TEST_CASE("who answers may say otherwise, but begins no header of a client's choosing") {
  const std::string head = answer_head({.headers = {{"Vary", "Origin"}}}, 200, "a/b", 5,
                                       {{"cache-control", "max-age=60"}, {"X-Echo", "a\r\nSet-Cookie: b"}});
  CHECK(contains(head, "\r\ncache-control: max-age=60\r\n"));
  CHECK(!contains(head, "no-store"));
  CHECK(contains(head, "\r\nVary: Origin\r\n"));
  CHECK(contains(head, "\r\nX-Echo: a  Set-Cookie: b\r\n"));
}

TEST_CASE("pieces are chunks, and are sent when they are there") {
  Wakes wakes;
  const auto answer = answer_for({}, 1000, &wakes);
  answer->begin(200, "text/event-stream", {});
  CHECK(wakes.n == 1);
  CHECK(answer->take().bytes.ends_with("\r\n\r\n"));
  answer->send("first");
  answer->send("");
  answer->send("second piece!!!!");
  CHECK(wakes.n == 2);  // one word for what is not taken yet
  CHECK(answer->take().bytes == "5\r\nfirst\r\n10\r\nsecond piece!!!!\r\n");
  answer->end();
  CHECK(wakes.n == 3);
  const HttpAnswer::Taken last = answer->take();
  CHECK(last.bytes == "0\r\n\r\n");
  CHECK(last.complete);
  CHECK(!last.broken);
  answer->send("late");
  CHECK(answer->take().bytes.empty());
}

TEST_CASE("HTTP/1.0 gets pieces as they are, HEAD none") {
  const auto old = answer_for({.http_1_1 = false, .keep_alive = false});
  old->begin(200, "a/b", {});
  old->send("one ");
  old->send("two");
  old->end();
  CHECK(body_of(old->take().bytes) == "one two");

  const auto head = answer_for({.head_only = true});
  head->reply({200, "a/b", "12345", {}});
  const HttpAnswer::Taken taken = head->take();
  CHECK(contains(taken.bytes, "Content-Length: 5\r\n"));
  CHECK(body_of(taken.bytes).empty());
  CHECK(taken.complete);
  const auto stream = answer_for({.head_only = true});
  stream->begin(200, "a/b", {});
  stream->send("piece");
  stream->end();
  CHECK(body_of(stream->take().bytes).empty());
}

TEST_CASE("one answer is given, and only one") {
  const auto answer = answer_for();
  answer->send("before it begins");
  answer->end();
  answer->reply({200, "a/b", "first", {}});
  answer->reply({200, "a/b", "second", {}});
  answer->begin(200, "a/b", {});
  answer->fail(500, "third");
  CHECK(body_of(answer->take().bytes) == "first");
}

TEST_CASE("an exchange that is given up has answered 500, or broken off") {
  const auto answer = answer_for({.path = "/x"});
  auto exchange = exchange_of(answer);
  const auto copy = exchange;
  exchange.reset();
  CHECK(answer->take().bytes.empty());
  exchange_of(answer).reset();
  const HttpAnswer::Taken taken = answer->take();
  CHECK(taken.bytes.starts_with("HTTP/1.1 500 "));
  CHECK(taken.complete);

  const auto stream = answer_for();
  exchange_of(stream)->begin(200, "a/b", {});
  CHECK(stream->take().broken);
}

TEST_CASE("a client that leaves is told of once, and whoever asks later at once") {
  const auto answer = answer_for();
  int told = 0;
  answer->when_left([&] { ++told; });
  answer->begin(200, "a/b", {});
  answer->leave();
  answer->leave();
  CHECK(told == 1);
  answer->when_left([&] { told += 10; });
  CHECK(told == 11);
  answer->send("nobody reads this");
  answer->end();
  CHECK(answer->take().bytes.empty());

  // What is complete interests nobody.
  const auto complete = answer_for();
  const auto token = std::make_shared<int>(0);
  complete->when_left([&told, token] { told = -1; });
  complete->reply({});
  CHECK(token.use_count() == 1);  // not kept
  complete->leave();
  complete->when_left([&] { told = -1; });
  CHECK(told == 11);
}

TEST_CASE("a stream waits for its client up to a limit") {
  const auto answer = answer_for({}, 100);
  answer->begin(200, "a/b", {});
  const size_t head = answer->take().bytes.size();
  answer->send(std::string(60, 'x'));
  CHECK(answer->take().broken);  // the head has not been sent yet

  const auto other = answer_for({}, 100);
  other->begin(200, "a/b", {});
  other->sent(other->take().bytes.size());
  CHECK(head > 40);
  other->send(std::string(60, 'x'));
  const size_t first = other->take().bytes.size();
  CHECK(!other->take().broken);
  int told = 0;
  SUBCASE("what is taken and not sent counts") {
    other->when_left([&] { ++told; });
    other->send(std::string(60, 'x'));
    CHECK(other->take().broken);
    other->when_left([&] { ++told; });
    other->leave();
    CHECK(told == 1);
  }
  SUBCASE("what is sent does not") {
    other->sent(first);
    other->send(std::string(60, 'x'));
    CHECK(!other->take().broken);
  }
  // An answer in one piece is there already.
  const auto whole = answer_for({}, 100);
  whole->reply({200, "a/b", std::string(1000, 'x'), {}});
  CHECK(whole->take().bytes.size() > 1000);
}

TEST_CASE("a server that stops tells those who answer, and those who are answered if it still can") {
  int told = 0;
  const auto answer = answer_for();
  answer->when_left([&] { ++told; });
  answer->cut(503, "stopping");
  CHECK(told == 1);
  const HttpAnswer::Taken taken = answer->take();
  CHECK(taken.bytes.starts_with("HTTP/1.1 503 "));
  CHECK(taken.complete);
  answer->when_left([&] { ++told; });
  CHECK(told == 2);
  const auto stream = answer_for();
  stream->begin(200, "a/b", {});
  stream->cut(503, "stopping");
  CHECK(stream->take().broken);
}

TEST_CASE("errors are as OpenAI's clients read them") {
  CHECK(openai_error_body(401, "no \"key\"\n", "/x") ==
        R"({"error":{"code":401,"message":"no \"key\"\n","type":"authentication_error"}})");
  CHECK(contains(openai_error_body(413, "a", ""), "invalid_request_error"));
  CHECK(contains(openai_error_body(500, "a", ""), "server_error"));
  CHECK(contains(openai_error_body(503, "bad \xff byte", ""), "unavailable_error"));
}

}  // namespace hearth::test
