// What a hub says, read with distrust: addresses, headers, lists.
#include <doctest/doctest.h>

#include "runtime/hub/answer_headers.h"
#include "runtime/hub/listing.h"
#include "runtime/hub/url.h"
#include "runtime/hub/verdict.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::hub;
using hearth::test::contains;
using hearth::test::refusal;

namespace {

const std::string kSha1(40, 'a'), kSha256(64, 'b');

std::string tree_entry(const std::string& members) {
  return R"([{"type":"file","oid":")" + kSha1 + R"(",)" + members + "}]";
}
std::string tree_refusal(const std::string& text) {
  return refusal([&] { parse_tree(text, "lab/Tiny"); });
}
std::string path_refusal(const std::string& path) {
  return tree_refusal(tree_entry(R"("size":1,"path":")" + path + R"(")"));
}

}  // namespace

TEST_CASE("an origin is scheme, host and port") {
  CHECK(origin_of("https://HuggingFace.co/a?b") == "https://huggingface.co:443");
  CHECK(origin_of("http://127.0.0.1:8080") == "http://127.0.0.1:8080");
  CHECK(origin_of("https://huggingface.co:443/") == origin_of("HTTPS://huggingface.co"));
  CHECK(origin_of("https://huggingface.co") != origin_of("http://huggingface.co"));
  CHECK(origin_of("https://huggingface.co") != origin_of("https://huggingface.co.evil.org"));
  CHECK(origin_of("https://huggingface.co") != origin_of("https://cdn-lfs.huggingface.co"));
  CHECK(
      contains(refusal([] { origin_of("ftp://huggingface.co"); }), "expected an address of http or https, found ftp:"));
  CHECK(contains(refusal([] { origin_of("file:///etc/passwd"); }), "found file:"));
  CHECK(contains(refusal([] { origin_of("huggingface.co\n"); }), "found none"));
  CHECK(contains(refusal([] { origin_of("https://me:secret@huggingface.co"); }), "without a user's name"));
}

TEST_CASE("what stays on this machine") {
  for (const char* url : {"http://localhost:80", "http://127.0.0.1", "http://127.9.9.9:1/x", "http://[::1]:8080/"})
    CHECK_MESSAGE(is_loopback(url), url);
  for (const char* url :
       {"http://10.0.0.1", "http://localhost.example.org", "http://127.0.0.1.example.org", "http://128.0.0.1"})
    CHECK_MESSAGE(!is_loopback(url), url);
}

TEST_CASE("redirects lead where they say, never away from encryption or to files") {
  CHECK(follow("https://hub.org/a/b", "/c?d=1") == "https://hub.org/c?d=1");
  CHECK(follow("https://hub.org/a/b", "https://cdn.org/x") == "https://cdn.org/x");
  CHECK(follow("http://hub.org/a", "https://hub.org/a") == "https://hub.org/a");
  CHECK(contains(refusal([] { follow("https://hub.org/a", "http://cdn.org/x"); }), "from https to http, at cdn.org"));
  CHECK(contains(refusal([] { follow("https://hub.org/a", "file:///etc/passwd"); }), "http or https"));
  CHECK(contains(refusal([] { follow("https://hub.org/a", "https://x y/"); }), "no address"));
  CHECK(contains(refusal([] { follow("https://hub.org/a", std::string(20000, 'x')); }), "no address"));
}

TEST_CASE("names in addresses") {
  CHECK(percent_encoded("a b/c%#?.gguf", true) == "a%20b/c%25%23%3F.gguf");
  CHECK(percent_encoded("refs/pr/1", false) == "refs%2Fpr%2F1");
  CHECK(percent_encoded("ä", true) == "%C3%A4");
}

TEST_CASE("headers") {
  CHECK(parse_content_range("bytes 0-99/1234") == ContentRange{0, 99, 1234});
  for (const char* text : {"", "bytes */1234", "bytes 5-4/10", "bytes 0-10/10", "items 0-1/2", "bytes 0-1",
                           "bytes 0-1/*", "bytes -1/2", "bytes 0-18446744073709551616/18446744073709551617"})
    CHECK_MESSAGE(!parse_content_range(text), text);
  CHECK(parse_number("18446744073709551615") == std::nullopt);
  CHECK(parse_number("9999999999999999999") == 9999999999999999999u);
  CHECK(parse_number("1e3") == std::nullopt);

  CHECK(next_page("<https://hub.org/x?cursor=1>; rel=\"next\"") == "https://hub.org/x?cursor=1");
  CHECK(next_page("<a>; rel=\"prev\", <b>; rel=\"next\"") == "b");
  CHECK(next_page("<a>; rel=\"prev\"") == "");
  CHECK(next_page("a>; rel=\"next\"") == "");

  CHECK(bare_etag("\"abc\"") == "abc");
  CHECK(bare_etag(" W/\"abc\" ") == "abc");
  CHECK(bare_etag("\"") == "\"");

  const auto wait = [](const char* name, const char* value) {
    return seconds_to_wait({429, {{name, value}}}, 784111700);
  };
  CHECK(wait("retry-after", "55") == 55u);
  CHECK(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT") == 77u);
  CHECK(wait("retry-after", "Sun, 06 Nov 1983 08:49:37 GMT") == 0u);
  CHECK(wait("retry-after", "soon") == std::nullopt);
  CHECK(wait("ratelimit", "\"api\";r=0;t=56") == 56u);
  CHECK(wait("ratelimit", "\"api\";r=7;t=56") == std::nullopt);
}

TEST_CASE("what answers mean") {
  const auto why = [](int status, bool with_token, const char* code = "") {
    return judge({status, {{"x-error-code", code}}}, "hub.org", with_token, 0).why;
  };
  CHECK(why(401, false) == "hub.org answers 401: there is no such repository, or it wants a token: set HF_TOKEN");
  CHECK(contains(why(401, true), "the token is not accepted"));
  CHECK(contains(why(403, false), "set HF_TOKEN"));
  CHECK(contains(why(403, true), "ask for access"));
  CHECK(contains(why(401, true, "GatedRepo"), "ask for access"));
  CHECK(contains(why(404, true, "EntryNotFound"), "no such file"));
  CHECK(contains(why(404, true, "RevisionNotFound"), "no such revision"));
  CHECK(contains(why(404, true), "no such thing"));
  CHECK(judge({451, {{"x-error-message", "not\nhere"}}}, "h", false, 0).why == "h answers 451: not?here");
  for (const int status : {408, 429, 500, 502, 503, 504}) CHECK(judge({status, {}}, "h", false, 0).again);
  for (const int status : {400, 401, 403, 404, 410, 416, 501}) CHECK(!judge({status, {}}, "h", false, 0).again);
}

TEST_CASE("a list of files") {
  const auto files = parse_tree(R"([{"type":"directory","oid":")" + kSha1 + R"(","size":0,"path":"q4"},
          {"type":"file","oid":")" + kSha1 +
                                    R"(","size":3,"path":"config.json"},
          {"type":"file","oid":")" + kSha1 +
                                    R"(","size":5,"path":"q4/a.gguf","lfs":{"oid":")" + kSha256 +
                                    R"(","size":5,"pointerSize":135},"xetHash":"0"}])",
                                "lab/Tiny");
  REQUIRE(files.size() == 2);
  CHECK(files[0].path == "config.json");
  CHECK(files[0].oid == kSha1);
  CHECK(!files[0].is_sha256());
  CHECK(files[1].path == "q4/a.gguf");
  CHECK(files[1].size == 5);
  CHECK(files[1].oid == kSha256);
  CHECK(parse_commit(R"({"sha":")" + kSha1 + R"(","id":"x"})", "lab/Tiny") == kSha1);
}

TEST_CASE("names that lead out of a folder are refused, and links") {
  CHECK(contains(path_refusal("../x"), "the name \"../x\" leads out of its folder"));
  CHECK(contains(path_refusal("a/../../x"), "leads out of its folder"));
  CHECK(contains(path_refusal("a/.."), "leads out of its folder"));
  CHECK(contains(path_refusal("./x"), "leads out of its folder"));
  CHECK(contains(path_refusal("/etc/passwd"), "is absolute"));
  CHECK(contains(path_refusal(""), "is no path"));
  CHECK(contains(path_refusal("a//b"), "is no path"));
  CHECK(contains(path_refusal("a/"), "is no path"));
  CHECK(contains(path_refusal("a\\nb"), "has control characters"));
  CHECK(contains(path_refusal("a\\u0000b"), "has control characters"));
  CHECK(contains(path_refusal("..\\\\x"), "has control characters"));
  CHECK(contains(path_refusal(std::string(300, 'x')), "is no path"));
  CHECK(contains(path_refusal(std::string(2000, 'x')), "is no path"));
  CHECK(path_refusal("..x/...") == "");
  CHECK(contains(tree_refusal(R"([{"type":"link","oid":")" + kSha1 + R"(","size":3,"path":"config.json"}])"),
                 "config.json: expected a file or a directory, found link"));
}

TEST_CASE("lists that are not in order are refused in one line") {
  CHECK(contains(tree_refusal("[{\"type\":"), "lab/Tiny: no JSON"));
  CHECK(contains(tree_refusal(""), "no JSON"));
  CHECK(contains(tree_refusal("{}"), "expected a list, found {}"));
  CHECK(contains(tree_refusal("[1]"), "expected files, found 1"));
  CHECK(contains(tree_refusal("[{}]"), "path: expected a string, found nothing"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":-1,"path":"a")")), "size: expected 0 to"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":1e300,"path":"a")")), "size: expected 0 to"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":99999999999999999,"path":"a")")), "found 99999999999999999"));
  CHECK(contains(tree_refusal(tree_entry(R"("path":"a")")), "found nothing"));
  CHECK(contains(tree_refusal(R"([{"type":"file","oid":"../../x","size":1,"path":"a"}])"), "oid: expected 40"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":1,"path":"a","lfs":1)")), "lfs: expected an object, found 1"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":1,"path":"a","lfs":{"size":1,"oid":"x"})")), "oid: expected 64"));
  CHECK(contains(tree_refusal(tree_entry(R"("size":1,"path":"a","lfs":{"size":2,"oid":")" + kSha256 + R"("})")),
                 "expected one size, found 1 and 2"));
  CHECK(contains(tree_refusal(std::string(100'000, '[')), "nested deeper than 32 levels"));
  CHECK(contains(tree_refusal(std::string(kMostAnswerBytes + 1, ' ')), "expected at most"));
  CHECK(contains(refusal([] { parse_commit("[]", "x"); }), "expected an object"));
  CHECK(contains(refusal([] { parse_commit(R"({"sha":"main"})", "x"); }),
                 "sha: expected 40 hexadecimal digits, found main"));
}

TEST_CASE("names that come twice, as a file and as a folder") {
  const auto names_refusal = [](const std::vector<std::string>& names) {
    std::vector<HubFile> files;
    for (const std::string& name : names) files.push_back({name, 1, kSha1});
    return refusal([&] { check_names(files, "lab/Tiny"); });
  };
  CHECK(names_refusal({"a", "b/a", "b/c"}) == "");
  CHECK(names_refusal({"a", "b", "a"}) == "lab/Tiny: a comes twice");
  CHECK(names_refusal({"a/b/c", "a"}) == "lab/Tiny: a is a file and a folder");
  CHECK(contains(names_refusal(std::vector<std::string>(kMostFiles + 1, "a")), "expected at most 100000 files"));
}

TEST_CASE("names of repositories and revisions") {
  for (const char* name : {"gpt2", "deepseek-ai/DeepSeek-V2-Lite-Chat", "a/b.c_d"})
    CHECK_MESSAGE(refusal([&] { check_repository(name); }) == "", name);
  for (const char* name :
       {"", "/", "a/", "/b", "a/b/c", "..", "a/..", "a/b--c", "a/.b", "a/b.", "-a/b", "a b/c", "a/b?x", "a\nb/c"})
    CHECK_MESSAGE(contains(refusal([&] { check_repository(name); }), "expected the name of a repository"), name);
  for (const char* name : {"main", "v1.0", "refs/pr/1"}) CHECK(refusal([&] { check_revision(name); }) == "");
  for (const char* name : {"", "../x", "/x", "a//b", "a\nb"})
    CHECK_MESSAGE(contains(refusal([&] { check_revision(name); }), "--revision: expected"), name);
}
