#include "runtime/server/http_parser.h"

#include <doctest/doctest.h>

#include "tests/support/refusal.h"

namespace hearth::test {

using namespace hearth::server;
using Stage = HttpParser::Stage;

namespace {

struct Parsed {
  Stage stage;
  HttpRequest request;
  HttpRefusal refusal;
  std::string left;  // of the bytes
  bool keeps_alive;
};

// As a connection feeds it: `step` bytes more each time.
Parsed parse(const std::string& bytes, size_t step = std::string::npos, size_t header = 1000, size_t body = 100) {
  HttpParser parser(header, body);
  std::string waiting;
  for (size_t at = 0; at < bytes.size(); at += std::min(step, bytes.size())) {
    waiting += bytes.substr(at, step);
    for (;;) {
      const Stage before = parser.stage();
      const size_t taken = parser.take(waiting);
      waiting.erase(0, taken);
      if (parser.stage() == Stage::done || parser.stage() == Stage::refused) {
        if (step < bytes.size() && at + step < bytes.size()) waiting += bytes.substr(at + step);
        return {parser.stage(), parser.request(), parser.refusal(), waiting, parser.keeps_alive()};
      }
      if (taken == 0 && before == parser.stage()) break;
    }
  }
  return {parser.stage(), parser.request(), parser.refusal(), waiting, parser.keeps_alive()};
}

int refused(const std::string& bytes) {
  const Parsed whole = parse(bytes), single = parse(bytes, 1);
  CHECK(whole.refusal.status == single.refusal.status);
  CHECK(whole.refusal.message == single.refusal.message);
  if (whole.stage != Stage::refused) return 0;
  CHECK(!whole.refusal.message.empty());
  return whole.refusal.status;
}

std::string with(const std::string& fields, const std::string& body = "") {
  return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
}

}  // namespace

TEST_CASE("a request is the same in whatever pieces it comes") {
  const std::string length =
      "POST /v1/a%20b%2Fc?x=1&y=%41 HTTP/1.1\r\nHost: h:1\r\nX-A:  one \r\nx-a: two\r\n"
      "Content-Length: 5\r\n\r\nhello";
  const std::string chunks =
      with("Transfer-Encoding: chunked\r\n", "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n");
  for (size_t step = 1; step <= chunks.size() + 4; ++step) {
    CAPTURE(step);
    const Parsed a = parse("\r\n" + length + "GET", step), b = parse(chunks + "POST", step);
    REQUIRE(a.stage == Stage::done);
    CHECK(a.request.method == "POST");
    CHECK(a.request.path == "/v1/a b/c");
    CHECK(a.request.query == "x=1&y=%41");
    CHECK(a.request.header("host") == "h:1");
    CHECK(a.request.header("x-a") == "one, two");
    CHECK(a.request.body == "hello");
    CHECK(a.left == "GET");
    REQUIRE(b.stage == Stage::done);
    CHECK(b.request.body == "hello");
    CHECK(!b.request.headers.contains("x-trailer"));
    CHECK(b.left == "POST");
  }
}

TEST_CASE("the header is complete before the body is taken") {
  HttpParser parser(1000, 100);
  const std::string bytes = with("Content-Length: 2\r\nExpect: 100-Continue\r\n", "ab");
  const size_t taken = parser.take(bytes);
  CHECK(taken == bytes.size() - 2);
  CHECK(parser.stage() == Stage::body);
  CHECK(parser.has_body());
  CHECK(parser.expects_continue());
  CHECK(parser.take("ab") == 2);
  CHECK(parser.stage() == Stage::done);
  HttpParser without(1000, 100);
  without.take("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(without.stage() == Stage::done);
  CHECK(!without.has_body());
}

TEST_CASE("who keeps a connection") {
  CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keeps_alive);
  CHECK(!parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keeps_alive);
  CHECK(!parse("GET / HTTP/1.0\r\n\r\n").keeps_alive);
  CHECK(!parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keeps_alive);
}

TEST_CASE("a target is a path, or the whole address of one") {
  const auto target = [](const std::string& text, const std::string& host = "a") {
    return parse("GET " + text + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  };
  CHECK(target("http://a/x?y").request.path == "/x");
  CHECK(target("http://a/x?y").request.query == "y");
  CHECK(target("http://A").request.path == "/");
  CHECK(target("http://b/x").refusal.status == 400);  // two hosts
  CHECK(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").request.path == "*");
  CHECK(target("/caf%C3%A9").request.path == "/caf\u00e9");
  for (const char* wrong : {"*", "x", "https://a/", "/%", "/%2", "/%zz", "/%00", "/a%0d%0aX:y", "/%7f"}) {
    CAPTURE(wrong);
    CHECK(target(wrong).refusal.status == 400);
  }
}

TEST_CASE("what two programs could read differently is refused") {
  CHECK(refused(with("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")) == 400);
  CHECK(refused(with("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "0\r\n\r\n")) == 400);
  CHECK(refused(with("Content-Length: 2\r\nContent-Length: 2\r\n", "ab")) == 400);
  CHECK(refused(with("Content-Length: 2\r\nContent-Length: 3\r\n", "abc")) == 400);
  for (const char* length : {"", "-1", "+2", "2,2", "2 2", "0x2", "2a", "18446744073709551616", "1e3"}) {
    CAPTURE(length);
    CHECK(refused(with(std::string("Content-Length: ") + length + "\r\n", "ab")) == 400);
  }
  CHECK(refused(with("Host: b\r\n")) == 400);
  CHECK(refused("GET / HTTP/1.1\r\n\r\n") == 400);  // no Host
  CHECK(refused(with("Transfer-Encoding: gzip\r\n")) == 501);
  CHECK(refused(with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")) == 501);
  CHECK(refused(with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")) == 400);
  CHECK(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
  CHECK(refused(with("Content-Type: application/json\r\nContent-Type: text/plain\r\n")) == 400);
  CHECK(refused(with("Origin: a\r\nOrigin: b\r\n")) == 400);
  CHECK(refused(with("Authorization: a\r\nAuthorization: b\r\n")) == 400);
  CHECK(refused(with("Expect: tea\r\n")) == 417);
}

TEST_CASE("what is no HTTP is refused") {
  using namespace std::string_literals;
  for (const std::string& bytes : {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 as TLS begins"s,
                                   "GET\r\n\r\n"s,
                                   "GET  / HTTP/1.1\r\n\r\n"s,
                                   "GET / HTTP/2.0\r\nHost: a\r\n\r\n"s,
                                   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"s,
                                   "GET / HTTQ/1.1\r\nHost: a\r\n\r\n"s,
                                   "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"s,
                                   "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"s,
                                   with("X: a\0b\r\n"s),
                                   with("X: a\rb\r\n"),
                                   with("X : a\r\n"),
                                   with(" X: a\r\n"),
                                   with("X: a\r\n b\r\n"),
                                   with("X: a\r\n\tb\r\n"),
                                   with("no colon\r\n"),
                                   with(": a\r\n"),
                                   with("X\x80: a\r\n"),
                                   with("Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"),
                                   with("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
                                   with("Transfer-Encoding: chunked\r\n", "2\r\nabc\r\n0\r\n\r\n"),
                                   with("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
                                   with("Transfer-Encoding: chunked\r\n", "1;=\r\na\r\n0\r\n\r\n")}) {
    CAPTURE(bytes);
    CHECK(refused(bytes) == 400);
  }
  CHECK(parse("GET / HTTP/1.1\nHost: a\n\n").refusal.status == 400);
}

TEST_CASE("headers and bodies are bounded, before they are read where their length is told") {
  const auto status = [](const std::string& bytes, size_t step = std::string::npos) {
    return parse(bytes, step).refusal.status;
  };
  const auto body = [&](size_t n) { return with("Content-Length: " + std::to_string(n) + "\r\n"); };
  CHECK(status(body(100)) == 0);
  CHECK(status(body(101)) == 413);
  CHECK(contains(parse(body(1 << 30)).refusal.message, "expected at most 100 bytes, found 1073741824"));
  CHECK(status(body(std::numeric_limits<size_t>::max())) == 413);
  const std::string chunked = with("Transfer-Encoding: chunked\r\n"), chunk = "28\r\n" + std::string(40, 'x') + "\r\n";
  CHECK(status(chunked + chunk + chunk + "0\r\n\r\n") == 0);
  CHECK(status(chunked + chunk + chunk + chunk) == 413);
  CHECK(status(chunked + "ffffffffffffffff\r\n") == 413);
  CHECK(status(chunked + chunk + "fffffffffffffff0\r\n") == 413);  // no sum overflows
  for (const size_t step : {std::string::npos, size_t(1), size_t(7)}) {
    CHECK(status("GET /" + std::string(2000, 'x'), step) == 431);
    CHECK(status(with("X: " + std::string(2000, 'x')), step) == 431);
    std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (int i = 0; i < 400; ++i) many += "a: b\r\n";
    CHECK(status(many, step) == 431);
    // Where no limit of Beast's is.
    CHECK(status(chunked + "1;" + std::string(2000, 'x'), step) == 400);
    CHECK(status(chunked + "0\r\nX: " + std::string(2000, 'x'), step) == 400);
  }
}

TEST_CASE("statuses have names") {
  CHECK(http_reason(200) == "OK");
  CHECK(http_reason(415) == "Unsupported Media Type");
  CHECK(http_reason(503) == "Service Unavailable");
}

}  // namespace hearth::test
