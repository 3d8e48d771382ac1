#include "runtime/server/http_access.h"

#include <doctest/doctest.h>

#include "tests/support/refusal.h"

namespace hearth::test {

using namespace hearth::server;

namespace {

HttpRequest request(const std::string& method, std::map<std::string, std::string> headers,
                    const std::string& path = "/v1/models") {
  headers.try_emplace("host", "localhost:8080");
  return {method, path, "", std::move(headers), ""};
}

int status(const AccessPolicy& policy, const HttpRequest& asked, bool has_body = false) {
  return check_access(policy, asked, has_body).status;
}

std::string header(const AccessDecision& decision, const std::string& name) {
  for (const auto& [key, value] : decision.headers)
    if (key == name) return value;
  return "";
}

}  // namespace

TEST_CASE("a server is called by its address, by localhost, and by names that it was given") {
  const auto host_status = [](const AccessPolicy& policy, const std::string& host) {
    return status(policy, request("GET", {{"host", host}}));
  };
  const AccessPolicy here{.hosts = {"Hearth.lan"}};
  for (const char* host : {"localhost", "LOCALHOST:1", "a.localhost:80", "127.0.0.1", "127.9.9.9:8080", "[::1]:8080",
                           "localhost.", "hearth.lan:8080", "HEARTH.LAN."}) {
    CAPTURE(host);
    CHECK(host_status(here, host) == 0);
  }
  // What a page of evil.example is called once its name resolves to 127.0.0.1.
  for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example", "evillocalhost", "2130706433",
                           "0x7f.1", "127.0.0.1.evil.example", "192.168.1.5", "[::2]", "0.0.0.0"}) {
    CAPTURE(host);
    CHECK(host_status(here, host) == 403);
  }
  for (const char* host :
       {"", ":8080", "a b", "[::1", "[evil]", "localhost:80:80x", "localhost:port", "a@b", "a/b", "localhost:123456"}) {
    CAPTURE(host);
    CHECK(host_status(here, host) == 400);
  }
  // Listening on one address, or on all: a page cannot come under an address.
  CHECK(host_status({.listens_on = "192.168.1.5"}, "192.168.1.5:8080") == 0);
  CHECK(host_status({.listens_on = "192.168.1.5"}, "192.168.1.6:8080") == 403);
  CHECK(host_status({.listens_on = "2001:db8::1"}, "[2001:DB8:0:0::1]:8080") == 0);
  for (const char* all : {"0.0.0.0", "::"}) {
    CHECK(host_status({.listens_on = all}, "192.168.1.6:8080") == 0);
    CHECK(host_status({.listens_on = all}, "[2001:db8::7]") == 0);
    CHECK(host_status({.listens_on = all}, "evil.example") == 403);
  }
  CHECK(contains(check_access(here, request("GET", {{"host", "evil\x1b[2J.example"}}), false).message, "evil?[2J"));
  CHECK(contains(check_access(here, request("GET", {{"host", "evil.example"}}), false).message, "--allow-host"));
  HttpRequest old{"GET", "/", "", {}, ""};
  CHECK(status(here, old) == 0);  // HTTP/1.0
}

TEST_CASE("web pages of others may ask only if they were named") {
  const AccessPolicy none, named{.origins = {"http://localhost:3000", "app://obsidian.md"}};
  const auto origin = [](const AccessPolicy& policy, const std::string& from) {
    return check_access(policy, request("POST", {{"origin", from}, {"content-type", "application/json"}}), true);
  };
  for (const char* foreign : {"https://evil.example", "http://localhost:3001", "http://localhost", "null", "", "*",
                              "file://", "http://localhost:8080.evil.example"}) {
    CAPTURE(foreign);
    CHECK(origin(none, foreign).status == 403);
    CHECK(origin(named, foreign).status == 403);
    CHECK(header(origin(named, foreign), "Access-Control-Allow-Origin") == "");
  }
  CHECK(contains(origin(none, "https://evil.example").message, "--cors"));
  CHECK(origin(none, "http://localhost:3000").status == 403);
  // The server's own page.
  CHECK(origin(none, "http://localhost:8080").status == 0);
  CHECK(origin(none, "HTTP://LocalHost:8080").status == 0);
  CHECK(origin(none, "https://localhost:8080").status == 0);
  CHECK(origin(none, "http://localhost:8080").headers.empty());

  const AccessDecision let_in = origin(named, "http://localhost:3000");
  CHECK(let_in.status == 0);
  CHECK(header(let_in, "Access-Control-Allow-Origin") == "http://localhost:3000");
  CHECK(header(let_in, "Vary") == "Origin");
  CHECK(header(let_in, "Access-Control-Allow-Credentials") == "");
  CHECK(origin(named, "app://obsidian.md").status == 0);
  // Caches know it of answers to others too.
  CHECK(header(check_access(named, request("GET", {}), false), "Vary") == "Origin");
}

TEST_CASE("preflights are answered before anything else is asked for") {
  const AccessPolicy policy{.origins = {"http://localhost:3000"}, .keys = {"secret"}};
  const auto preflight = [&](const std::string& origin, const std::string& asked) {
    return check_access(policy,
                        request("OPTIONS", {{"origin", origin},
                                            {"access-control-request-method", "POST"},
                                            {"access-control-request-headers", asked},
                                            {"access-control-request-private-network", "true"}}),
                        false);
  };
  const AccessDecision yes = preflight("http://localhost:3000", "authorization,content-type,x-stainless-lang");
  CHECK(yes.status == 204);
  CHECK(header(yes, "Access-Control-Allow-Origin") == "http://localhost:3000");
  CHECK(contains(header(yes, "Access-Control-Allow-Methods"), "POST"));
  CHECK(header(yes, "Access-Control-Allow-Headers") == "authorization,content-type,x-stainless-lang");
  CHECK(header(yes, "Access-Control-Allow-Private-Network") == "true");
  CHECK(header(preflight("http://localhost:3000", "a: b"), "Access-Control-Allow-Headers") == "");
  const AccessDecision no = preflight("https://evil.example", "authorization");
  CHECK(no.status == 403);
  CHECK(header(no, "Access-Control-Allow-Methods") == "");
  const AccessDecision plain = check_access(policy, request("OPTIONS", {}), false);
  CHECK(plain.status == 204);
  CHECK(contains(header(plain, "Allow"), "POST"));
  CHECK(header(plain, "Access-Control-Allow-Methods") == "");
}

TEST_CASE("keys come as a bearer token or as x-api-key") {
  const AccessPolicy policy{.origins = {"http://localhost:3000"}, .keys = {"first", "second"}};
  using Headers = std::map<std::string, std::string>;
  for (const Headers& good :
       {Headers{{"authorization", "Bearer second"}}, Headers{{"authorization", "bearer  first "}},
        Headers{{"x-api-key", "first"}}, Headers{{"authorization", "Basic x"}, {"x-api-key", "first"}}})
    CHECK(status(policy, request("GET", good)) == 0);
  for (const Headers& bad :
       {Headers{}, Headers{{"authorization", "Bearer third"}}, Headers{{"authorization", "first"}},
        Headers{{"authorization", "Bearer "}}, Headers{{"x-api-key", ""}}, Headers{{"x-api-key", "firs"}},
        Headers{{"x-api-key", "firstfirst"}}, Headers{{"authorization", "Bearer nope"}, {"x-api-key", "first"}}})
    CHECK(status(policy, request("GET", bad)) == 401);
  const AccessDecision none = check_access(policy, request("GET", {{"origin", "http://localhost:3000"}}), false);
  CHECK(header(none, "WWW-Authenticate") == "Bearer");
  CHECK(header(none, "Access-Control-Allow-Origin") == "http://localhost:3000");  // so that the page sees the 401
  CHECK(contains(none.message, "Authorization: Bearer"));
  CHECK(!contains(check_access(policy, request("GET", {{"x-api-key", "firs"}}), false).message, "firs\""));
  CHECK(status(policy, request("GET", {}, "/health")) == 0);
  CHECK(status(policy, request("GET", {}, "/health/x")) == 401);
  // A foreign page is sent away whatever it knows.
  CHECK(status(policy, request("GET", {{"x-api-key", "first"}, {"origin", "null"}})) == 403);
}

TEST_CASE("a body is JSON and says so, which no page of others can say unasked") {
  for (const char* json :
       {"application/json", "Application/JSON; charset=utf-8", "application/json ;x=y", "application/vnd.api+json"})
    CHECK(status({}, request("POST", {{"content-type", json}}), true) == 0);
  for (const char* other : {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
                            "text/plain; application/json", "application/jsonp", "text/json"})
    CHECK(status({}, request("POST", {{"content-type", other}}), true) == 415);
  CHECK(status({}, request("POST", {}), true) == 415);
  CHECK(contains(check_access({}, request("POST", {}), true).message, "found none"));
  CHECK(status({}, request("POST", {}), false) == 0);
  CHECK(status({}, request("GET", {{"content-type", "text/plain"}}), true) == 415);
}

TEST_CASE("origins are named one by one") {
  CHECK(checked_origin("http://LocalHost:3000/") == "http://localhost:3000");
  CHECK(checked_origin("https://chat.example:443") == "https://chat.example");
  CHECK(checked_origin("http://chat.example:80") == "http://chat.example");
  CHECK(checked_origin("http://[::1]:3000") == "http://[::1]:3000");
  CHECK(checked_origin("chrome-extension://abcdef") == "chrome-extension://abcdef");
  for (const char* wrong : {"*", "null", "", "localhost:3000", "http://", "http:///", "http://a/b", "http://*.example",
                            "http://a b", "file://", "http://user@a", "://a"})
    CHECK_MESSAGE(contains(refusal([&] { checked_origin(wrong); }), "expected one origin"), wrong);
}

TEST_CASE("a server's names are names") {
  CHECK(checked_host("Box.local") == "box.local");
  CHECK(checked_host("box.local:8080") == "box.local");
  CHECK(checked_host("[::1]:80") == "::1");
  for (const char* wrong : {"", "*", "http://box.local", "box.local/", "a b", "*.local"})
    CHECK_MESSAGE(contains(refusal([&] { checked_host(wrong); }), "expected a name of this server"), wrong);
}

TEST_CASE("a server that others reach has keys, or its user said that it needs none") {
  for (const char* own : {"127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:127.0.0.1"}) {
    CHECK(is_loopback(own));
    CHECK(refusal([&] { require_keys_or_consent(own, false, false); }) == "");
  }
  for (const char* reached : {"0.0.0.0", "::", "192.168.1.5", "2001:db8::1", "::ffff:10.0.0.1", "example.org"}) {
    CHECK(!is_loopback(reached));
    CHECK(contains(refusal([&] { require_keys_or_consent(reached, false, false); }), "--api-key-file"));
    CHECK(refusal([&] { require_keys_or_consent(reached, true, false); }) == "");
    CHECK(refusal([&] { require_keys_or_consent(reached, false, true); }) == "");
  }
  CHECK(is_any_address("::"));
  CHECK(is_any_address("0.0.0.0"));
  CHECK(!is_any_address("localhost"));
  CHECK(!is_any_address("127.0.0.1"));
}

}  // namespace hearth::test
