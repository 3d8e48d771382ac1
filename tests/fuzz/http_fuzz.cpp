// The HTTP server, over a loopback socket: whatever a client sends, in whatever pieces and however it goes, it is
// answered or sent away, and the server answers the next one.
#include <memory>

#include "runtime/server/http_server.h"
#include "tests/fuzz/target.h"
#include "tests/runtime/server/http_client.h"

namespace hearth::test {

using namespace hearth::server;

namespace {

// As a face of the server would: from the request alone, at once, in pieces, or by somebody who forgets.
void answer(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  expect(request.body.size() <= 1000, "bodies are bounded");
  expect(request.path.find('\0') == std::string::npos, "a path is text");
  exchange->when_left([] {});
  if (request.path == "/forget") return;
  if (request.path != "/stream") return exchange->reply({200, "text/plain", request.body, {{"X-Echo", request.query}}});
  exchange->begin(200, "text/event-stream");
  for (const char c : request.body) exchange->send(std::string(1, c));
  exchange->end();
}

uint16_t port() {
  static const auto server = [] {
    HttpOptions options;
    options.port = 0;
    options.limits.header_bytes = 2000;
    options.limits.body_bytes = 1000;
    options.access.keys = {"key"};
    options.access.origins = {"http://a"};
    return std::make_unique<HttpServer>(options, answer);
  }();
  return server->port();
}

// What is said about everything that comes: one or more answers, none of them half a head.
bool taken(const std::string& received) {
  expect(received.empty() || received.starts_with("HTTP/1.1 "), "what comes is an answer");
  expect(received.empty() || received.find("\r\n\r\n") != std::string::npos, "a head is whole");
  return received.starts_with("HTTP/1.1 200 ");
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string_view bytes(reinterpret_cast<const char*>(input.data()), input.size());
  uint64_t way = bytes.size();  // how it is sent, by what it is
  for (const char c : bytes) way = way * 31 + static_cast<unsigned char>(c);
  HttpClient client(port());
  expect(client.connected(), "the server takes connections");
  const size_t cut = way % 3 == 0 && !bytes.empty() ? (way >> 8) % bytes.size() : bytes.size();
  client.send(bytes.substr(0, cut));
  client.send(bytes.substr(cut));
  if (way % 16 == 15) {  // gone, whatever is said to that
    client.reset();
    HttpClient other(port());
    other.send(get("/health"));
    expect(other.answer().status == 200, "the server answers others");
    return false;
  }
  client.half_close();
  return taken(client.rest());
}

std::vector<std::string> fuzz_seeds() {
  const std::string key = "x-api-key: key\r\n", body(300, 'b');
  return {get("/health?a=b%20c"),
          get("/%41/b", "Authorization: Bearer key\r\nConnection: close\r\n"),
          "GET /stream HTTP/1.0\r\nAuthorization: Bearer key\r\n\r\n",
          "HEAD http://localhost/x HTTP/1.1\r\nHost: localhost\r\n" + key + "\r\n",
          post("/a", "{}", key + "Origin: http://a\r\nExpect: 100-continue\r\n"),
          post("/stream", body, key) + post("/b", body, key),
          get("/health") + get("/health") + "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/health"),
          "POST /stream HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Type: application/json; charset=utf-8\r\n" + key +
              "Transfer-Encoding: chunked\r\n\r\n10;a=\"b\"\r\n" + body.substr(0, 16) +
              "\r\n1\r\nb\r\n0\r\nX: y\r\n\r\n"};
}

}  // namespace hearth::test
