// What strangers may cost, each limit provoked. Times are short here; what must not happen meanwhile is never waited
// for: that the server still answers others is.
#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "runtime/server/http_server.h"
#include "tests/runtime/server/http_client.h"
#include "tests/support/process.h"
#include "tests/support/refusal.h"
#include "tests/support/sanitized.h"

namespace hearth::test {

using namespace hearth::server;
using namespace std::chrono_literals;
using Exchange = std::shared_ptr<HttpExchange>;

namespace {

HttpOptions limited(HttpLimits limits = {}) {
  HttpOptions options;
  options.port = 0;
  options.limits = limits;
  return options;
}

void answer_ok(const HttpRequest& request, const Exchange& exchange) {
  exchange->reply({200, "text/plain", std::to_string(request.body.size()), {}});
}

bool answers(const HttpServer& server) {
  HttpClient client(server.port());
  client.send(get("/"));
  return client.answer().status == 200;
}

std::string post_of(size_t bytes, const std::string& headers = "") {
  return "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(bytes) + "\r\n\r\n";
}

// Keeps all exchanges, unanswered.
struct Keeper {
  std::mutex mutex;
  std::vector<Exchange> kept;
  HttpHandler handler() {
    return [this](const HttpRequest& request, const Exchange& exchange) {
      if (request.path == "/answer") return exchange->reply({});
      const std::lock_guard lock(mutex);
      kept.push_back(exchange);
    };
  }
  size_t size() {
    const std::lock_guard lock(mutex);
    return kept.size();
  }
};

size_t open_files() {
  size_t n = 0;
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return 0;
  while (readdir(folder)) ++n;
  closedir(folder);
  return n - 3;  // without ".", "..", and the folder itself
}

}  // namespace

TEST_CASE("a body of a gigabyte is refused before it is sent") {
  const HttpServer server(limited(), answer_ok);
  for (const char* expect : {"", "Expect: 100-continue\r\n"}) {
    HttpClient client(server.port());
    client.send(post_of(1 << 30, expect));
    const Answer answer = client.answer();
    CHECK(answer.status == 413);
    CHECK(contains(answer.body, "expected at most 33554432 bytes, found 1073741824"));
    CHECK(answer.headers.at("connection") == "close");
    CHECK(client.closed());
  }
  // One that sends without waiting reads the answer all the same.
  HttpClient eager(server.port());
  eager.send(post_of(1 << 30) + std::string(1 << 20, 'x'));
  CHECK(eager.answer().status == 413);
  // Chunks, which do not say how many there will be.
  HttpClient chunks(server.port());
  chunks.send(
      "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string megabyte = "100000\r\n" + std::string(1 << 20, 'x') + "\r\n";
  for (int i = 0; i < 40 && chunks.send(megabyte); ++i) {
  }
  CHECK(chunks.answer().status == 413);
  CHECK(server.status().answered == 0);
  HttpClient just(server.port());
  just.send(post_of(32 << 20) + std::string(32 << 20, 'x'));
  CHECK(just.answer().body == std::to_string(32 << 20));
}

TEST_CASE("a header is bounded") {
  const HttpServer server(limited({.header_bytes = 2000}), answer_ok);
  HttpClient client(server.port());
  client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(3000, 'x'));
  CHECK(client.answer().status == 431);
  CHECK(client.closed());
}

TEST_CASE("all bodies together are bounded") {
  Keeper keeper;
  const HttpServer server(limited({.all_bodies_bytes = 3000}), keeper.handler());
  HttpClient first(server.port()), second(server.port());
  first.send(post_of(2000) + std::string(1999, 'x'));
  second.send(post_of(2000) + std::string(1000, 'x'));
  CHECK(soon([&] { return server.status().requests == 2; }));
  second.send(std::string(1000, 'x'));
  const Answer refused = second.answer();
  const bool which = refused.status == 503;  // the one that came later
  CHECK(which);
  CHECK(refused.headers.at("retry-after") == "1");
  first.send("x");
  CHECK(soon([&] { return keeper.size() == 1; }));
  // The handler has returned: its bytes are free.
  HttpClient third(server.port());
  third.send("POST /answer" + post_of(2900).substr(6) + std::string(2900, 'x'));
  CHECK(third.answer().status == 200);
}

TEST_CASE("who is slow with a header is sent away, who says nothing is closed") {
  const HttpServer server(limited({.header_time = 300ms, .idle_time = 300ms}), answer_ok);
  HttpClient silent(server.port()), idle(server.port());
  idle.send(get("/"));
  CHECK(idle.answer().status == 200);
  CHECK(silent.closed());
  CHECK(idle.closed());
  // A byte now and then does not help.
  HttpClient loris(server.port());
  loris.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
  for (int i = 0; loris.quiet() && i < 10'000; ++i) {
    loris.send("X: y\r\n");
    std::this_thread::sleep_for(10ms);
  }
  CHECK(loris.answer().status == 408);
  CHECK(answers(server));
}

TEST_CASE("who is slow with a body is sent away, who is not is waited for") {
  const HttpServer server(limited({.slow_time = 600ms, .slow_bytes = 1000}), answer_ok);
  HttpClient loris(server.port()), steady(server.port());
  loris.send(post_of(1'000'000));
  std::atomic<bool> over = false;
  std::thread sender([&] {  // several windows long, each with more than it must have
    steady.send(post_of(200'000));
    for (int i = 0; i < 200; ++i) {
      steady.send(std::string(1000, 'x'));
      if (!over) std::this_thread::sleep_for(5ms);
    }
  });
  for (int i = 0; loris.quiet() && i < 10'000; ++i) {
    loris.send("x");
    std::this_thread::sleep_for(10ms);
  }
  CHECK(loris.answer().status == 408);
  CHECK(loris.closed());
  over = true;
  sender.join();
  CHECK(steady.answer().body == "200000");
}

TEST_CASE("a client that does not read its stream counts as one that left") {
  Keeper keeper;
  const HttpServer server(limited({.waiting_bytes = 100'000}), keeper.handler());
  HttpClient client(server.port(), "127.0.0.1", 4096);
  client.send(get("/"));
  CHECK(soon([&] { return keeper.size() == 1; }));
  std::atomic<int> told{0};
  keeper.kept[0]->when_left([&] { ++told; });
  keeper.kept[0]->begin(200, "text/plain");
  // The system's buffers hold some megabytes.
  size_t sent = 0;
  CHECK(soon([&] {
    keeper.kept[0]->send(std::string(10'000, 'x'));
    sent += 10'000;
    return told == 1;
  }));
  CHECK(sent > 100'000);
  CHECK(soon([&] { return server.status().connections == 0; }));
}

TEST_CASE("a client that does not read an answer is closed after a while") {
  const HttpServer server(limited({.slow_time = 300ms}), [](const HttpRequest&, const Exchange& exchange) {
    exchange->reply({200, "text/plain", std::string(20 << 20, 'x'), {}});
  });
  HttpClient lazy(server.port(), "127.0.0.1", 4096), eager(server.port());
  lazy.send(get("/"));
  CHECK(soon([&] { return server.status().answered == 1; }));
  eager.send(get("/"));
  CHECK(eager.answer().body.size() == 20 << 20);
  eager.close();
  CHECK(soon([&] { return server.status().connections == 0; }));
  CHECK(!lazy.answer().complete);
}

TEST_CASE("more requests than may be are answered at once, and no connection is lost by it") {
  Keeper keeper;
  const HttpServer server(limited({.requests = 3}), keeper.handler());
  std::vector<HttpClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server.port());
    clients.back().send(get("/"));
    CHECK(soon([&] { return keeper.size() == clients.size(); }));
  }
  HttpClient late(server.port());
  late.send(get("/"));
  const Answer busy = late.answer();
  CHECK(busy.status == 503);
  CHECK(busy.headers.at("retry-after") == "1");
  keeper.kept[1]->reply({});
  CHECK(clients[1].answer().status == 200);
  CHECK(soon([&] { return server.status().requests == 2; }));
  late.send(get("/answer"));
  CHECK(late.answer().status == 200);
}

TEST_CASE("thousands of connections lock nobody out") {
  Keeper keeper;
  const HttpServer server(limited({.connections = 100, .header_time = 100s}), keeper.handler());
  HttpClient busy(server.port());
  busy.send(get("/"));
  CHECK(soon([&] { return keeper.size() == 1; }));
  std::vector<HttpClient> crowd;
  const int n = kSanitized ? 600 : 2000;
  uint64_t all = 1;  // connections
  for (int i = 0; i < n; ++i, ++all) {
    crowd.emplace_back(server.port());
    REQUIRE(crowd.back().connected());
    if (i % 3 == 0) crowd.back().send("GET / HTTP/1.1\r\nHo");
    if (i % 200 == 0) {
      HttpClient other(server.port());
      other.send(get("/answer"));
      REQUIRE(other.answer().status == 200);
      ++all;
    }
  }
  CHECK(soon([&] { return server.status().accepted == all; }));
  CHECK(server.status().connections <= 100);
  CHECK(server.status().closed_for_others >= uint64_t(n - 100));
  CHECK(crowd.front().closed());  // the longest without a request
  // Who is being answered was left alone.
  keeper.kept[0]->reply({});
  CHECK(busy.answer().status == 200);
}

TEST_CASE("a server whose connections are all busy closes another one, and goes on when one is free") {
  Keeper keeper;
  const HttpServer server(limited({.connections = 2}), keeper.handler());
  std::vector<HttpClient> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back(server.port());
    clients.back().send(get("/"));
    CHECK(soon([&] { return keeper.size() == clients.size(); }));
  }
  HttpClient third(server.port());
  CHECK(third.closed());
  keeper.kept[0]->reply({});
  CHECK(clients[0].answer().status == 200);
  HttpClient fourth(server.port());  // in place of the one that now waits
  fourth.send(get("/answer"));
  CHECK(fourth.answer().status == 200);
}

// In a process of its own, as the limit is the process's. Here the clients need files too: they take all, then give
// some back.
TEST_CASE("a process without files to open waits for them without spinning") {
  CHECK(in_child([] {
    const HttpServer server(limited({.header_time = 100s}), answer_ok);
    const rlim_t limit = open_files() + 40;
    const rlimit files{limit, limit};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) return false;
    std::vector<HttpClient> clients;
    while (server.status().failed_accepts == 0) {
      try {
        clients.emplace_back(server.port());
      } catch (const std::exception&) {
        break;  // no file for a socket
      }
      // Every second file is the server's side of a connection, as far as it comes.
      if (!soon([&] { return server.status().accepted + server.status().failed_accepts >= clients.size(); }))
        return false;
    }
    if (!soon([&] { return server.status().failed_accepts > 0; })) return false;
    const uint64_t before = server.status().failed_accepts;
    const auto start = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(300ms);
    const uint64_t tries = server.status().failed_accepts - before;
    const bool calm = tries <= uint64_t((std::chrono::steady_clock::now() - start) / 50ms);
    clients.clear();
    return calm && answers(server);
  }));
}

TEST_CASE("the process's limit of open files is one of connections") {
  CHECK(in_child([] {
    const rlimit files{200, 200};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) return false;
    const HttpServer server(limited(), answer_ok);
    std::vector<HttpClient> clients;
    for (int i = 0; i < 90; ++i) clients.emplace_back(server.port());
    return answers(server) && server.status().failed_accepts == 0;
  }));
}

}  // namespace hearth::test
