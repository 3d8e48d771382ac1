#include "runtime/server/http_server.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <vector>

#include "quant/error.h"
#include "tests/runtime/server/http_client.h"
#include "tests/support/refusal.h"

namespace hearth::test {

using namespace hearth::server;
using namespace std::chrono_literals;
using Exchange = std::shared_ptr<HttpExchange>;

namespace {

HttpOptions options() {
  HttpOptions options;
  options.port = 0;
  options.limits.linger_time = 200ms;
  return options;
}

// A handler that gives the exchange to the test.
class Held {
 public:
  HttpHandler handler() {
    return [this](const HttpRequest&, const Exchange& exchange) {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(exchange);
      changed_.notify_all();
    };
  }
  Exchange next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !waiting_.empty(); }))
      throw std::runtime_error("no request");
    const Exchange first = waiting_.front();
    waiting_.erase(waiting_.begin());
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Exchange> waiting_;
};

void echo(const HttpRequest& request, const Exchange& exchange) {
  if (request.path == "/throw") throw std::runtime_error("it is broken");
  if (request.path == "/forget") return;
  if (request.path == "/stream") {
    exchange->begin(200, "text/event-stream");
    for (int i = 0; i < 3; ++i) exchange->send("data: " + std::to_string(i) + "\n\n");
    exchange->end();
    return;
  }
  exchange->reply({200, "text/plain", request.method + " " + request.path + " " + request.body, {}});
}

ErrorKind refused_with(const HttpOptions& options) {
  try {
    const HttpServer server(options, echo);
  } catch (const Error& error) {
    return error.kind;
  }
  FAIL("not refused");
  return ErrorKind::format;
}

}  // namespace

TEST_CASE("requests are answered, one after the other on one connection") {
  const HttpServer server(options(), echo);
  HttpClient client(server.port());
  client.send(get("/a%20b"));
  const Answer first = client.answer();
  CHECK(first.status == 200);
  CHECK(first.body == "GET /a b ");
  CHECK(first.headers.at("x-content-type-options") == "nosniff");
  CHECK(!first.headers.contains("server"));
  client.send(post("/x", "{}"));
  CHECK(client.answer().body == "POST /x {}");
  client.send(
      "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n");
  CHECK(client.answer().body == "POST /x [1]");
  client.send("HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const Answer head = client.answer(true);
  CHECK(head.status == 200);
  CHECK(head.headers.at("content-length") == "7");
  client.send("OPTIONS /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(client.answer().headers.contains("allow"));
  client.send(get("/a", "Connection: close\r\n"));
  CHECK(client.answer().headers.at("connection") == "close");
  CHECK(client.closed());
  CHECK(soon([&] { return server.status().connections == 0; }));
  CHECK(server.status().answered == 5);
}

TEST_CASE("requests that are sent ahead are answered in their order") {
  const HttpServer server(options(), echo);
  HttpClient client(server.port());
  std::string all;
  const int n = 500;  // more than is read while another is answered
  for (int i = 0; i < n; ++i) {
    all += post("/" + std::to_string(i), std::string(size_t(i), 'x'));
    if (i % 7 == 0) all += "OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  }
  CHECK(all.size() > 150'000);
  std::thread sender([&] { client.send(all); });
  for (int i = 0; i < n; ++i) {
    REQUIRE(client.answer().body == "POST /" + std::to_string(i) + " " + std::string(size_t(i), 'x'));
    if (i % 7 == 0) REQUIRE(client.answer().status == 204);
  }
  sender.join();
}

TEST_CASE("a stream's pieces come one by one") {
  Held held;
  HttpServer server(options(), held.handler());
  HttpClient client(server.port()), old(server.port());
  client.send(get("/"));
  const Exchange exchange = held.next();
  exchange->begin(200, "text/event-stream");
  CHECK(contains(client.until("\r\n\r\n"), "Transfer-Encoding: chunked"));
  std::string piece;
  for (const char* sent : {"one", "two", "three"}) {
    exchange->send(sent);
    REQUIRE(client.chunk(piece));  // before the next is sent
    CHECK(piece == sent);
  }
  exchange->end();
  REQUIRE(client.chunk(piece));
  CHECK(piece.empty());
  client.send(get("/"));  // the connection goes on
  held.next()->reply({});
  CHECK(client.answer().status == 200);

  // HTTP/1.0 knows no chunks: the stream ends where the connection does.
  old.send("GET / HTTP/1.0\r\n\r\n");
  const Exchange other = held.next();
  other->begin(200, "text/plain");
  other->send("one");
  CHECK(old.until("one").ends_with("\r\n\r\none"));
  other->send("two");
  other->end();
  CHECK(old.rest() == "two");
}

TEST_CASE("an answer that nobody gives is 500, one that is given up in its middle ends there") {
  const HttpServer server(options(), echo);
  HttpClient client(server.port());
  client.send(get("/throw"));
  const Answer thrown = client.answer();
  CHECK(thrown.status == 500);
  CHECK(contains(thrown.body, "it is broken"));
  client.send(get("/forget"));
  CHECK(client.answer().status == 500);
  client.send(get("/stream"));
  CHECK(client.answer().body == "data: 0\n\ndata: 1\n\ndata: 2\n\n");

  const HttpServer careless(options(), [](const HttpRequest&, const Exchange& exchange) {
    exchange->begin(200, "text/plain");
    exchange->send("half");
    throw std::runtime_error("in the middle");
  });
  HttpClient other(careless.port());
  other.send(get("/"));
  const Answer half = other.answer();
  CHECK(half.status == 200);
  CHECK(half.body == "half");
  CHECK(!half.complete);
}

TEST_CASE("a client that leaves is noticed while its answer is being made") {
  Held held;
  HttpServer server(options(), held.handler());
  const auto left_after = [&](const std::string& request, bool begin, const std::function<void(HttpClient&)>& leave) {
    HttpClient client(server.port());
    client.send(request);
    const Exchange exchange = held.next();
    std::atomic<int> told{0};
    exchange->when_left([&] { ++told; });
    if (begin) {
      exchange->begin(200, "text/event-stream");
      exchange->send("first");
      client.until("first");
    }
    CHECK(told == 0);
    leave(client);
    CHECK(soon([&] { return told == 1; }));
    exchange->send("into the void");
    exchange->end();
    bool at_once = false;
    exchange->when_left([&] { at_once = true; });
    CHECK(at_once);
    CHECK(soon([&] { return server.status().connections == 0; }));
    CHECK(server.status().requests == 0);
    CHECK(told == 1);
  };
  for (const bool begin : {false, true}) {
    left_after(get("/"), begin, [](HttpClient& client) { client.close(); });
    left_after(post("/", "{}"), begin, [](HttpClient& client) { client.half_close(); });
    left_after(get("/"), begin, [](HttpClient& client) { client.reset(); });
    // Behind a request that was sent ahead, and behind more than the server reads ahead.
    left_after(get("/") + get("/second"), begin, [](HttpClient& client) { client.close(); });
    left_after(get("/"), begin, [](HttpClient& client) {
      client.send(std::string(100'000, 'x'));
      client.close();
    });
  }
}

// A client whose machine lost its power says nothing. The system asks it now and then.
TEST_CASE("a connection that is silent is asked whether it lives") {
  const HttpServer server(options(), echo);
  HttpClient client(server.port());
  client.send(get("/"));
  CHECK(client.answer().status == 200);
  std::ifstream table("/proc/net/tcp");
  bool asked = false;
  for (std::string line; std::getline(table, line);) {
    // number: local remote state queues timer ...: 01 is a connection, timer 02 is TCP's keepalive.
    char local[32], state[8], timer[32];
    if (std::sscanf(line.c_str(), " %*s %31s %*s %7s %*s %31s", local, state, timer) != 3) continue;
    const bool ours = std::string(local).ends_with(fmt::format(":{:04X}", server.port())) && std::string(state) == "01";
    asked = asked || (ours && std::string(timer).starts_with("02:"));
  }
  CHECK(asked);
}

TEST_CASE("a client that closes its side behind its question still gets an answer that is there") {
  const HttpServer server(options(), echo);
  HttpClient client(server.port());
  client.send(get("/a") + get("/b"));
  client.half_close();
  CHECK(client.answer().body == "GET /a ");
  CHECK(client.answer().body == "GET /b ");
  CHECK(client.closed());
}

TEST_CASE("who may not ask is told so, before a body is read") {
  HttpOptions with_keys = options();
  with_keys.access.keys = {"secret"};
  with_keys.access.origins = {"http://localhost:3000"};
  with_keys.error_body = [](int status, const std::string& message, const std::string& path) {
    return std::to_string(status) + "|" + path + "|" + message;
  };
  const HttpServer server(with_keys, echo);
  const auto ask = [&](const std::string& bytes) {
    HttpClient client(server.port());
    client.send(bytes);
    return client.answer();
  };
  const std::string key = "x-api-key: secret\r\n", large = "Content-Length: 1000000\r\n";
  const auto begin_post = [](const std::string& headers, const std::string& host = "localhost") {
    return "POST /p HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n";
  };
  CHECK(ask(get("/p", key)).status == 200);
  CHECK(ask(get("/health")).status == 200);
  CHECK(ask(get("/p")).body.starts_with("401|/p|"));
  CHECK(ask(get("/p")).headers.at("www-authenticate") == "Bearer");
  CHECK(ask(begin_post(large)).status == 401);
  CHECK(ask(begin_post(key + large, "evil.example")).body.starts_with("403|/p|this server is not called"));
  CHECK(ask(begin_post(key + large + "Origin: https://evil.example\r\n")).status == 403);
  CHECK(ask(begin_post(key + large + "Content-Type: text/plain\r\n")).body.starts_with("415|/p|"));
  const Answer page = ask(get("/p", key + "Origin: http://localhost:3000\r\n"));
  CHECK(page.status == 200);
  CHECK(page.headers.at("access-control-allow-origin") == "http://localhost:3000");
  CHECK(page.headers.at("vary") == "Origin");
  const Answer preflight =
      ask("OPTIONS /p HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
          "Access-Control-Request-Method: POST\r\n\r\n");
  CHECK(preflight.status == 204);
  CHECK(preflight.headers.contains("access-control-allow-methods"));
  CHECK(ask("nonsense\r\n\r\n").body.starts_with("400||"));
  CHECK(server.status().answered == 3);
  CHECK(server.status().refused == 8);
}

TEST_CASE("a client that waits for a word before its body gets it, or a refusal instead") {
  const HttpServer server(options(), echo);
  const std::string header =
      "POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nContent-Type: ";
  HttpClient client(server.port()), other(server.port());
  client.send(header + "application/json\r\n\r\n");
  CHECK(client.answer().status == 100);
  client.send("{}");
  CHECK(client.answer().body == "POST /p {}");
  other.send(header + "text/plain\r\n\r\n");
  CHECK(other.answer().status == 415);
  CHECK(other.closed());
}

TEST_CASE("what cannot be listened on is refused by name") {
  const HttpServer first(options(), echo);
  HttpOptions second = options();
  second.port = first.port();
  const std::string taken = refusal([&] { HttpServer server(second, echo); });
  CHECK(contains(taken, "port " + std::to_string(first.port()) + " of 127.0.0.1 is in use"));
  CHECK(refused_with(second) == ErrorKind::resource);
  HttpOptions foreign = options();
  foreign.host = "192.0.2.1";  // nobody's: RFC 5737
  CHECK(contains(refusal([&] { HttpServer server(foreign, echo); }), "of 192.0.2.1: this machine has no such address"));
  CHECK(refused_with(foreign) == ErrorKind::resource);
  for (const char* none : {"example.org", "", "127.0.0", "1.2.3.4:80", "*"}) {
    HttpOptions wrong = options();
    wrong.host = none;
    CHECK(refused_with(wrong) == ErrorKind::usage);
  }
}

TEST_CASE("IPv4 and IPv6 are listened on, and both as localhost") {
  const auto reached = [](const char* host, const char* address, const std::string& called) {
    HttpOptions there = options();
    there.host = host;
    const HttpServer server(there, echo);
    HttpClient client(server.port(), address);
    if (!client.connected()) return false;
    client.send("GET / HTTP/1.1\r\nHost: " + called + "\r\n\r\n");
    return client.answer().status == 200;
  };
  CHECK(reached("127.0.0.2", "127.0.0.2", "127.0.0.2"));
  CHECK(reached("0.0.0.0", "127.0.0.1", "10.0.0.7:80"));
  CHECK(reached("localhost", "127.0.0.1", "localhost"));
  CHECK(!reached("127.0.0.1", "127.0.0.2", "127.0.0.2"));
  const bool has_ipv6 = refusal([] {
                          HttpOptions six = options();
                          six.host = "::1";
                          HttpServer server(six, echo);
                        }) == "";
  if (!has_ipv6) {
    MESSAGE("this machine has no IPv6");
    return;
  }
  CHECK(reached("::1", "::1", "[::1]:80"));
  CHECK(reached("[::1]", "::1", "[::1]:80"));
  CHECK(reached("localhost", "::1", "localhost"));
  CHECK(reached("::", "::1", "[2001:db8::1]"));
  CHECK(reached("::", "127.0.0.1", "10.0.0.7"));
  CHECK(!reached("::1", "127.0.0.1", "localhost"));
}

TEST_CASE("a server that stops lets answers end") {
  Held held;
  HttpServer server(options(), held.handler());
  HttpClient idle(server.port()), half(server.port()), streamed(server.port());
  half.send("GET / HT");
  streamed.send(get("/"));
  const Exchange exchange = held.next();
  exchange->begin(200, "text/plain");
  exchange->send("first");
  streamed.until("first");
  std::thread stopping([&] { server.stop(30s); });
  CHECK(idle.closed());
  CHECK(half.closed());
  CHECK(soon([&] { return !HttpClient(server.port()).connected(); }));
  exchange->send("last");
  exchange->end();
  CHECK(contains(streamed.until("0\r\n\r\n"), "last"));
  CHECK(streamed.closed());
  stopping.join();  // long before its deadline
  CHECK(server.status().connections == 0);
}

TEST_CASE("a server that stops cuts what does not end, and says so to both sides") {
  Held held;
  HttpServer server(options(), held.handler());
  HttpClient streamed(server.port()), waiting(server.port());
  std::atomic<int> told{0};
  streamed.send(get("/"));
  const Exchange stream = held.next();
  stream->when_left([&] { ++told; });
  stream->begin(200, "text/plain");
  stream->send("first");
  waiting.send(get("/"));
  const Exchange silent = held.next();
  silent->when_left([&] { ++told; });
  server.stop(200ms);
  CHECK(told == 2);
  const Answer cut = streamed.answer();
  CHECK(cut.body == "first");
  CHECK(!cut.complete);
  CHECK(waiting.answer().status == 503);
  CHECK(server.status().connections == 0);
  // Exchanges that are kept lead nowhere.
  stream->send("more");
  silent->reply({});
  server.stop();
}

TEST_CASE("exchanges may outlive the server, and answers come from any thread") {
  Exchange kept;
  {
    Held held;
    HttpServer server(options(), held.handler());
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        HttpClient client(server.port());
        client.send(get("/"));
        CHECK(client.answer().body == std::string(1000, 'x'));
      });
    }
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([exchange = held.next()] {
        exchange->begin(200, "text/plain");
        for (int j = 0; j < 1000; ++j) exchange->send("x");
        exchange->end();
      });
    }
    for (std::thread& thread : threads) thread.join();
    HttpClient client(server.port());
    client.send(get("/"));
    kept = held.next();
  }
  kept->begin(200, "text/plain");
  kept->send("nobody");
  kept.reset();
}

}  // namespace hearth::test
