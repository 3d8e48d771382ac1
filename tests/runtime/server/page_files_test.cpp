// The files of the web page: that all of them are in the program as they are in the tree, and how they are served.
#include "runtime/server/page.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/runtime/server/bed.h"
#include "tests/support/paths.h"

using namespace hearth::server;
using namespace hearth::test;

namespace {

const std::filesystem::path kWeb = source_dir() / "runtime/server/web";

std::string header_of(const HttpResponse& response, const std::string& name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return "";
}

HttpResponse asked_for(Bed& bed, const std::string& path, const std::string& known = "") {
  auto exchange = std::make_shared<FakeExchange>();
  HttpRequest request{.method = "GET", .path = path};
  if (!known.empty()) request.headers["if-none-match"] = known;
  bed.api->handle(request, exchange);
  return exchange->response();
}

}  // namespace

TEST_CASE("page: every file of the tree is served as it is") {
  Bed bed;
  std::set<std::string> served, there;
  for (const PageFile& file : page_files()) served.insert(std::string(file.path));
  for (const auto& entry : std::filesystem::directory_iterator(kWeb)) {
    const std::string path = "/" + entry.path().filename().string();
    there.insert(path);
    std::ostringstream bytes;
    bytes << std::ifstream(entry.path()).rdbuf();
    const HttpResponse response = asked_for(bed, path);
    CHECK(response.status == 200);
    CHECK_MESSAGE(response.body == bytes.str(), path);
  }
  CHECK(served == there);
  CHECK(asked_for(bed, "/").body == asked_for(bed, "/index.html").body);
}

TEST_CASE("page: types, and a policy that lets in nothing from elsewhere and no script but its files") {
  Bed bed;
  for (const auto& [path, type] : {std::pair{"/", "text/html"},
                                   {"/style.css", "text/css"},
                                   {"/app.js", "text/javascript"},
                                   {"/icon.svg", "image/svg+xml"}}) {
    CAPTURE(path);
    const HttpResponse response = asked_for(bed, path);
    CHECK(response.content_type == std::string(type) + "; charset=utf-8");
    const std::string policy = header_of(response, "Content-Security-Policy");
    CHECK(policy.starts_with("default-src 'self'; "));
    CHECK(contains(policy, "frame-ancestors 'none'"));
    for (const char* hole : {"unsafe", "http", "*", "data:", "blob:"}) CHECK(!contains(policy, hole));
    CHECK(header_of(response, "Cache-Control") == "no-cache");
  }
}

TEST_CASE("page: a browser that has a file is told so") {
  Bed bed;
  const std::string etag = header_of(asked_for(bed, "/"), "ETag");
  REQUIRE(etag.size() > 10);
  CHECK(etag != header_of(asked_for(bed, "/app.js"), "ETag"));
  for (const std::string& known : {etag, "W/" + etag, "\"other\", " + etag + " ", std::string("*"), "," + etag}) {
    CAPTURE(known);
    const HttpResponse response = asked_for(bed, "/", known);
    CHECK(response.status == 304);
    CHECK(response.body.empty());
    CHECK(header_of(response, "ETag") == etag);
  }
  for (const std::string& known :
       {std::string("\"other\""), std::string("\""), std::string("W/"), std::string(",,,"), etag.substr(1)})
    CHECK(asked_for(bed, "/", known).status == 200);
}

TEST_CASE("page: while the model loads it is there, and is only read") {
  Api api(std::make_shared<LoadingState>());
  const auto ask = [&](const std::string& method, const std::string& path) {
    auto exchange = std::make_shared<FakeExchange>();
    api.handle({.method = method, .path = path, .body = "{}"}, exchange);
    return exchange->response();
  };
  CHECK(ask("GET", "/").status == 200);
  CHECK(ask("GET", "/style.css").status == 200);
  for (const char* path : {"/", "/app.js"}) {
    CHECK(ask("POST", path).status == 405);
    CHECK(header_of(ask("POST", path), "Allow") == "GET");
  }
  for (const char* path : {"/no.js", "/../style.css", "/web/app.js", "/APP.JS"}) CHECK(ask("GET", path).status == 404);
}
