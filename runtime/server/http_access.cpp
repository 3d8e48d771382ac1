#include "runtime/server/http_access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "quant/error.h"
#include "runtime/server/http_keys.h"
#include "runtime/server/http_text.h"

namespace hearth::server {

namespace {

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// A client's own words in an answer: bounded, and harmless in a terminal.
std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, 100));
  for (char& c : shown)
    if (c < ' ' || c > '~' || c == '"') c = '?';
  return '"' + shown + (text.size() > 100 ? "...\"" : "\"");
}

// The bytes of an address, IPv4 as IPv6 has it; nothing for a name.
std::optional<std::array<unsigned char, 16>> address_of(std::string_view host) {
  std::array<unsigned char, 16> bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const std::string text(host.substr(0, host.find('%')));  // without the interface of a link-local address
  if (inet_pton(AF_INET, text.c_str(), bytes.data() + 12) == 1) return bytes;
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
  return std::nullopt;
}

bool is_ipv4(const std::array<unsigned char, 16>& address) {
  return std::all_of(address.begin(), address.begin() + 10, [](unsigned char b) { return b == 0; }) &&
         address[10] == 0xff && address[11] == 0xff;
}

bool is_localhost(std::string_view name) {
  return name == "localhost" || name.ends_with(".localhost");
}

// A page can give its own name any address, but it cannot come under an address: where every address of the machine is
// listened on, all of them are let in, names only if they are known.
bool host_allowed(const AccessPolicy& policy, const std::string& name) {
  if (is_localhost(name) || is_loopback(name) || name == small_letters(policy.listens_on)) return true;
  for (const std::string& host : policy.hosts)
    if (name == host_name(host)) return true;
  const auto address = address_of(name);
  return address && (is_any_address(policy.listens_on) || address == address_of(policy.listens_on));
}

bool same_origin(const std::string& origin, std::string_view host) {
  const std::string authority = small_letters(host);
  return origin == "http://" + authority || origin == "https://" + authority;  // the latter: behind a proxy
}

// Of a list of header names: what a browser asks to send beside the harmless ones.
bool is_list_of_names(std::string_view text) {
  return text.size() <= 4096 && std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter_or_digit(c) || c == '-' || c == '_' || c == ',' || c == ' ';
         });
}

AccessDecision refused(int status, std::string message, HttpHeaders headers) {
  return {status, std::move(message), std::move(headers)};
}

// What a browser asks before it lets a page send a request that is not harmless by itself.
void add_preflight_answers(const HttpRequest& request, HttpHeaders& headers) {
  headers.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS");
  const std::string_view asked = request.header("access-control-request-headers");
  if (!asked.empty() && is_list_of_names(asked)) headers.emplace_back("Access-Control-Allow-Headers", asked);
  if (request.header("access-control-request-private-network") == "true")
    headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  headers.emplace_back("Access-Control-Max-Age", "600");
}

std::string_view key_in(const HttpRequest& request) {
  const std::string_view bearer = request.header("authorization");
  if (small_letters(bearer.substr(0, 7)) == "bearer ") return trimmed(bearer.substr(7));
  return request.header("x-api-key");
}

}  // namespace

std::optional<std::string> host_name(std::string_view authority) {
  std::string_view name = authority, rest;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    name = authority.substr(1, end - 1), rest = authority.substr(end + 1);
    if (!address_of(name)) return std::nullopt;
  } else if (const size_t colon = authority.find(':');
             colon != std::string_view::npos && colon == authority.rfind(':')) {
    name = authority.substr(0, colon), rest = authority.substr(colon);
  }
  const bool good_port =
      rest.empty() || (rest.front() == ':' && rest.size() <= 6 &&
                       std::all_of(rest.begin() + 1, rest.end(), [](char c) { return c >= '0' && c <= '9'; }));
  const bool good_name = std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.' || c == ':' || c == '%';
  });
  if (name.size() > 1 && name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || !good_port || !good_name || (name.find(':') != std::string_view::npos && !address_of(name)))
    return std::nullopt;
  return small_letters(name);
}

bool is_loopback(std::string_view host) {
  if (host == "localhost") return true;
  const auto address = address_of(host);
  if (!address) return false;
  if (is_ipv4(*address)) return (*address)[12] == 127;
  return std::all_of(address->begin(), address->end() - 1, [](unsigned char b) { return b == 0; }) &&
         (*address)[15] == 1;
}

bool is_any_address(std::string_view host) {
  return address_of(host) && (address_of(host) == address_of("0.0.0.0") || address_of(host) == address_of("::"));
}

void require_keys_or_consent(const std::string& listens_on, bool has_keys, bool consent) {
  require(has_keys || consent || is_loopback(listens_on), ErrorKind::usage,
          "others could use a server on {}: expected --api-key-file FILE with the keys that they need, or --no-api-key "
          "if everybody may",
          listens_on);
}

bool is_json(std::string_view content_type) {
  const std::string type = small_letters(trimmed(content_type.substr(0, content_type.find(';'))));
  return type == "application/json" || (type.starts_with("application/") && type.ends_with("+json"));
}

std::string checked_origin(const std::string& text) {
  std::string origin = small_letters(text);
  if (origin.ends_with('/') && !origin.ends_with("://")) origin.pop_back();
  const size_t scheme_end = origin.find("://");
  const bool scheme = scheme_end != std::string::npos && scheme_end > 0 && origin[0] >= 'a' && origin[0] <= 'z' &&
                      std::all_of(origin.begin(), origin.begin() + long(scheme_end),
                                  [](char c) { return is_letter_or_digit(c) || c == '+' || c == '-' || c == '.'; });
  require(scheme && host_name(std::string_view(origin).substr(scheme_end + 3)), ErrorKind::usage,
          "expected one origin of web pages such as http://localhost:3000, found {}", quoted(text));
  for (const auto& [start, port] : {std::pair("http://", ":80"), std::pair("https://", ":443")})
    if (origin.starts_with(start) && origin.ends_with(port))
      origin.resize(origin.size() - std::string_view(port).size());
  return origin;
}

std::string checked_host(const std::string& text) {
  const auto name = host_name(text);
  require(name.has_value(), ErrorKind::usage, "expected a name of this server such as box.local, found {}",
          quoted(text));
  return *name;
}

AccessDecision check_access(const AccessPolicy& policy, const HttpRequest& request, bool has_body) {
  HttpHeaders headers;
  if (request.headers.contains("host")) {  // HTTP/1.0 knows none; the parser asks for it in HTTP/1.1
    const std::string_view host = request.header("host");
    const auto name = host_name(host);
    if (!name) return refused(400, "Host: expected a name or an address, found " + quoted(host), headers);
    if (!host_allowed(policy, *name))
      return refused(403, "this server is not called " + quoted(*name) + "; --allow-host would name it", headers);
  }

  if (!policy.origins.empty()) headers.emplace_back("Vary", "Origin");
  if (request.headers.contains("origin")) {
    const std::string origin = small_letters(request.header("origin"));
    const bool named = std::find(policy.origins.begin(), policy.origins.end(), origin) != policy.origins.end();
    if (!named && !same_origin(origin, request.header("host")))
      return refused(403, "web pages of " + quoted(origin) + " may not use this server; --cors would let them",
                     headers);
    if (named) {
      headers.emplace_back("Access-Control-Allow-Origin", request.header("origin"));
      if (request.method == "OPTIONS") add_preflight_answers(request, headers);
    }
  }
  if (request.method == "OPTIONS") {
    headers.emplace_back("Allow", "GET, HEAD, POST, DELETE, OPTIONS");
    return {204, "", std::move(headers)};
  }

  const bool open =
      std::find(policy.open_paths.begin(), policy.open_paths.end(), request.path) != policy.open_paths.end();
  if (!policy.keys.empty() && !open) {
    const std::string_view key = key_in(request);
    if (!is_one_of(policy.keys, key)) {
      headers.emplace_back("WWW-Authenticate", "Bearer");
      return refused(401,
                     key.empty() ? "this server asks for an API key: `Authorization: Bearer KEY` or `x-api-key: KEY`"
                                 : "this API key is not one of this server's",
                     headers);
    }
  }
  if (has_body && !is_json(request.header("content-type")))
    return refused(415,
                   "Content-Type: expected application/json, found " +
                       (request.headers.contains("content-type") ? quoted(request.header("content-type")) : "none"),
                   headers);
  return {0, "", std::move(headers)};
}

}  // namespace hearth::server
