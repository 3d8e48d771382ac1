// HTTP as the server's faces see it: a request that has been read whole, and an exchange to answer it by, at once or
// piece by piece. Who listens, with which limits, and who may ask at all is http_server.h's business.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::server {

struct HttpRequest {
  std::string method, path, query;             // "POST", "/v1/models/a b" (decoded), "x=1" (as sent)
  std::map<std::string, std::string> headers;  // names in small letters
  std::string body;

  std::string_view header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string_view() : std::string_view(found->second);
  }
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json", body;
  HttpHeaders headers = {};
};

// One request's answer. May be used from any thread; nothing here waits for the client. Given up without an answer, it
// answers 500.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void reply(HttpResponse response) = 0;
  // An answer in pieces: begin, send..., end. What is sent after the client has left goes nowhere. A client that does
  // not read what it asked for counts as one that has left once too much waits for it.
  virtual void begin(int status, const std::string& content_type, const HttpHeaders& headers = {}) = 0;
  virtual void send(std::string piece) = 0;
  virtual void end() = 0;
  // Called once if the client leaves before the answer is complete; at once if it has left already.
  virtual void when_left(std::function<void()> told) = 0;
};

// Called on one of the server's threads. What it throws is answered with 500.
using HttpHandler = std::function<void(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange)>;

}  // namespace hearth::server
