// Listens, and gives every request that may be asked (http_access.h) and is one (http_parser.h) to a handler. What
// strangers may cost is bounded: bytes, connections, time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/server/http.h"
#include "runtime/server/http_access.h"
#include "runtime/server/http_errors.h"

namespace hearth::server {

struct HttpLimits {
  size_t header_bytes = 32 << 10;        // else 431
  size_t body_bytes = 32 << 20;          // else 413
  size_t all_bodies_bytes = 512u << 20;  // of all requests until their handlers have returned; else 503
  size_t waiting_bytes = 4 << 20;        // of a stream that its client does not read: it counts as gone
  // Open at once, and no more than the process may have files open: for another one, the one goes that has been
  // without a request for longest.
  size_t connections = 1024;
  size_t requests = 256;  // of those, with a request whose body is being read or that is being answered; else 503
  std::chrono::milliseconds header_time{10'000};  // from the first byte of a header, or the connection, to its last
  std::chrono::milliseconds idle_time{60'000};    // from an answer to the next request
  // Whoever sends a body, or is sent an answer, takes part: so many bytes (or all there are) in so much time.
  std::chrono::milliseconds slow_time{20'000};
  size_t slow_bytes = 16 << 10;
  // After the last answer to a client that may still be sending what nobody reads: closing at once could take the
  // answer away from it.
  std::chrono::milliseconds linger_time{2'000};
};

struct HttpOptions {
  std::string host = "127.0.0.1";  // an IPv4 or IPv6 address, or localhost: 127.0.0.1 and, where there is one, ::1
  uint16_t port = 8080;            // 0: one that is free
  HttpLimits limits = {};
  AccessPolicy access = {};  // `listens_on` is set to `host`
  ErrorBody error_body = openai_error_body;
  int handler_threads = 4;
};

struct HttpStatus {
  size_t connections = 0, requests = 0;  // now
  uint64_t accepted = 0;                 // connections since the beginning
  uint64_t closed_for_others = 0;        // of those, closed because there were as many as may be
  uint64_t failed_accepts = 0;           // no file descriptor or memory was left
  uint64_t answered = 0, refused = 0;    // requests that handlers were given; that they were not
};

class HttpServer {
 public:
  // Listens when this returns. Throws Error(usage): a host that is neither an address nor localhost; Error(resource): a
  // port in use, an address that is not this machine's.
  // HEAD comes to the handler as GET; OPTIONS does not come to it.
  HttpServer(HttpOptions options, HttpHandler handler);
  ~HttpServer();  // stops, and waits for nobody but handlers that run
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  HttpStatus status() const;

  // No new connections or requests from now on. Answers that are being made have until the deadline; those that are not
  // begun by then become 503, streams are cut (their clients see it), and whoever waits for `when_left` is told. No
  // handler runs when this returns, and exchanges that are kept lead nowhere. Not to be called by a handler.
  void stop(std::chrono::milliseconds deadline = std::chrono::milliseconds(5'000));

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::server
