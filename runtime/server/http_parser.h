// A request, from the bytes that a client sends. All of them are a stranger's: what is unusual enough that another
// program could read it differently (two lengths, two hosts, control characters) is refused and not interpreted.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/server/http.h"

namespace hearth::server {

struct HttpRefusal {
  int status = 0;
  std::string message;
};

class HttpParser {
 public:
  // The most bytes of a header (the request line, and the fields), and of a body.
  HttpParser(size_t header_bytes, size_t body_bytes);
  ~HttpParser();

  enum class Stage {
    header,   // more bytes are needed
    body,     // the header is complete: `request` has all but the body, of which more bytes are needed
    done,     // the request is complete
    refused,  // it is none, or too large: see `refusal`
  };
  // Takes those of `bytes` that it understands and returns how many; the others are to be shown again together with
  // what follows them. Returns as soon as the header is complete, and where the request ends.
  size_t take(std::string_view bytes);
  Stage stage() const;
  const HttpRefusal& refusal() const;

  HttpRequest& request();
  bool has_body() const;     // from the header's end on: one that is not empty is to come
  bool keeps_alive() const;  // so that another request may follow
  bool is_http_1_1() const;
  bool expects_continue() const;  // the client waits for a word before it sends the body

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The words behind a status in an answer's first line: "Not Found".
std::string_view http_reason(int status);

}  // namespace hearth::server
