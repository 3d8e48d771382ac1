// Who may ask at all. A server on this machine's own address is within reach of every web page that its user opens:
// pages may send requests (which carry `Origin`), and may have their own name resolve to 127.0.0.1 (which leaves that
// name in `Host`). So both are looked at before any work is done, besides API keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/server/http.h"

namespace hearth::server {

struct AccessPolicy {
  std::string listens_on = "127.0.0.1";  // an address, or localhost
  std::vector<std::string> hosts;        // names, besides, that clients may call this server by
  std::vector<std::string> origins;      // of web pages, besides the server's own, that may ask: see checked_origin
  std::vector<std::string> keys;         // none: nobody is asked for one
  std::vector<std::string> open_paths = {"/health"};  // which need no key
};

// What becomes of a request before its body is read.
struct AccessDecision {
  int status = 0;       // 0: go on. Else this is the answer: a refusal, or 204 to a question by OPTIONS
  std::string message;  // of a refusal
  HttpHeaders headers;  // for the answer, whoever gives it
};

// Looks at method, path and headers. In this order: 400 or 403 by Host, 403 by Origin, preflights, 401 by key, 415.
AccessDecision check_access(const AccessPolicy& policy, const HttpRequest& request, bool has_body);

// "http://Localhost:3000/" -> "http://localhost:3000". Throws Error(usage) for what is not one origin: `*` and `null`,
// which would let in everybody, and addresses of pages.
std::string checked_origin(const std::string& text);

// "Box.local:8080" -> "box.local". Throws Error(usage) for what no Host header could hold, such as an address of a
// page.
std::string checked_host(const std::string& text);

// Whether an address that is listened on is out of others' reach: 127.0.0.0/8, ::1, localhost.
bool is_loopback(std::string_view host);
bool is_any_address(std::string_view host);  // 0.0.0.0, ::

// Throws Error(usage) where others could reach a server that asks nobody for a key, unless its user said so.
void require_keys_or_consent(const std::string& listens_on, bool has_keys, bool consent);

// The name or address in what a Host header holds, in small letters: without port, brackets, closing dot. Nothing for
// what is no host.
std::optional<std::string> host_name(std::string_view authority);

// Whether what a Content-Type header holds is JSON: application/json, application/NAME+json, with parameters or not.
bool is_json(std::string_view content_type);

}  // namespace hearth::server
