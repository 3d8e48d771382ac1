// Pulling from a hub that cuts, stalls, refuses, lies and changes its mind: it is tried again where that may help, else
// there is one clear error, and nothing under a final name that is not whole.
#include <doctest/doctest.h>

#include <chrono>
#include <optional>

#include "tests/runtime/hub/puller.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kGguf = "tiny.gguf";

bool is_resolve(const HubRequest& request) {
  return request.path.find("/resolve/") != std::string::npos;
}
bool is_api(const HubRequest& request) {
  return request.path.starts_with("/api/");
}

using Meddling = std::function<void(const HubRequest&, HubReply&)>;

struct Faulty : Puller {
  explicit Faulty(size_t bytes = 100'000) { hub.add(kGguf, some_bytes(bytes, 20)); }

  // What is said of a hub that behaves so; nothing may have a final name then.
  std::string why(Meddling meddling) {
    hub.meddle = std::move(meddling);
    const std::string said = refused();
    CHECK_MESSAGE(said != "", "it was not refused");
    CHECK_MESSAGE(said.find('\n') == std::string::npos, said);
    CHECK(!is_there(kGguf));
    CHECK(!cache().has({kGguf, hub.content(kGguf).size(), hub.oid(kGguf)}));
    return said;
  }
  // The first request that `matters` is answered so.
  Meddling once(std::function<bool(const HubRequest&)> matters, Meddling meddling) {
    return [=, done = false](const HubRequest& request, HubReply& reply) mutable {
      if (!done && matters(request)) {
        done = true;
        meddling(request, reply);
      }
    };
  }
};

bool is_content(const HubRequest& request) {
  return request.to_content_server;
}

}  // namespace

TEST_CASE("an answer that is cut goes on where it was cut") {
  Faulty puller;
  puller.hub.meddle = puller.once(is_content, [](const HubRequest&, HubReply& reply) { reply.cut_after = 40'000; });
  puller.pull();
  CHECK(puller.is_whole(kGguf));
  const auto asked = puller.hub.requests_of("/blob/");
  REQUIRE(asked.size() == 2);
  CHECK(asked[1].range == std::pair<uint64_t, uint64_t>(40'000, 99'999));
}

TEST_CASE("an answer that stalls is given up, and asked for again") {
  Faulty puller;
  puller.hub.meddle = puller.once(is_content, [](const HubRequest&, HubReply& reply) { reply.stall_after = 40'000; });
  puller.pull();
  CHECK(puller.is_whole(kGguf));
}

TEST_CASE("a hub that always cuts is given up, unless it brings something each time") {
  Faulty puller(1'000'000);
  const std::string why = puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_content(request)) reply.cut_after = 10;
  });
  CHECK(contains(why, "tiny.gguf: localhost: "));
  CHECK(contains(why, "at 3 tries one after another"));
  CHECK(puller.n_partial() == 1);
  puller.hub.meddle = [](const HubRequest& request, HubReply& reply) {
    if (is_content(request)) reply.cut_after = 100'000;
  };
  puller.pull();
  CHECK(puller.is_whole(kGguf));
  CHECK(puller.hub.requests_of("/blob/").size() > 10);
}

TEST_CASE("what comes again and again is not taken for something new") {
  // A hub without ranges that always cuts at the same place, and a list that is always cut.
  Faulty puller;
  puller.hub.add("tokenizer.json", some_bytes(200'000, 21), false);
  puller.options.include = {"*"};
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (!request.path.ends_with("tokenizer.json")) return;
    reply = {200, {}, puller.hub.content("tokenizer.json")};
    reply.cut_after = 100'000;
  };
  CHECK(contains(puller.refused(), "tokenizer.json: 127.0.0.1: "));
  CHECK(puller.hub.requests_of("tokenizer.json").size() == 3);  // the first one brought something
  CHECK(contains(Faulty().why([](const HubRequest& request, HubReply& reply) {
    if (request.path.find("/tree/") == std::string::npos) return;
    reply.body += std::string(100'000, ' ');
    reply.cut_after = 90'000;
  }),
                 "lab/Tiny-Chat at main: 127.0.0.1: "));
}

TEST_CASE("a busy hub is left alone by all") {
  Faulty puller;
  for (int i = 0; i < 30; ++i) puller.hub.add(fmt::format("{}.json", i), fmt::format("[{}]", i), false);
  puller.options.include = {"*.json"};
  puller.options.fetch.connections = 4;
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> refused;
  int meanwhile = 0;
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (!is_resolve(request)) return;
    if (refused) meanwhile += Clock::now() - *refused < std::chrono::milliseconds(900);
    if (refused) return;
    refused = Clock::now();
    reply = {429, {{"Retry-After", "1"}}, ""};
  };
  puller.pull();
  CHECK(meanwhile < 20);  // of 30: what was under way, or before the others knew
  CHECK(puller.is_whole("29.json"));
}

TEST_CASE("a busy hub is asked again, as late as it wants") {
  for (const int status : {429, 500, 502, 503, 504}) {
    CAPTURE(status);
    Faulty puller;
    puller.hub.meddle = puller.once(is_api, [=](const HubRequest&, HubReply& reply) { reply = {status, {}, "busy"}; });
    puller.pull();
    CHECK(puller.is_whole(kGguf));
  }
  Faulty puller;
  puller.options.fetch.longest_wait = std::chrono::milliseconds(1);
  puller.hub.meddle = puller.once(is_resolve, [](const HubRequest&, HubReply& reply) {
    reply = {429, {{"Retry-After", "2"}}, ""};
  });
  const auto start = std::chrono::steady_clock::now();
  puller.pull();
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::seconds(2));
  CHECK(puller.is_whole(kGguf));
  REQUIRE(puller.told.size() == 1);
  CHECK(puller.told[0] == "tiny.gguf: 127.0.0.1 answers 429: too many requests: waiting 2 s");
}

TEST_CASE("a hub that stays busy, or wants more patience than anybody has") {
  Faulty puller;
  CHECK(contains(puller.why([](const HubRequest&, HubReply& reply) {
    reply = {503, {}, ""};
  }),
                 "lab/Tiny-Chat at main: 127.0.0.1 answers 503, at 3 tries one after another"));
  CHECK(contains(puller.why([](const HubRequest&, HubReply& reply) {
    reply = {429, {{"Retry-After", "86400"}}, ""};
  }),
                 "too many requests, and asks for 86400 s of patience: try again later"));
}

TEST_CASE("who is not let in") {
  Faulty puller;
  const auto answers = [](int status, const char* code) {
    return [=](const HubRequest&, HubReply& reply) { reply = {status, {{"X-Error-Code", code}}, "{}"}; };
  };
  CHECK(contains(puller.why(answers(401, "RepoNotFound")),
                 "127.0.0.1 answers 401: there is no such repository, or it wants a token"));
  CHECK(contains(puller.why(answers(403, "GatedRepo")), "answers 403: access is granted on the repository's page"));
  CHECK(contains(puller.why(answers(404, "RepoNotFound")), "answers 404: there is no such repository"));
  puller.options.fetch.token = "hf_secret";
  const std::string why = puller.why(answers(401, ""));
  CHECK(contains(why, "the token is not accepted"));
  CHECK(!contains(why, "secret"));
  CHECK(puller.hub.requests().size() == 4);  // none of them twice
  CHECK(fs::is_empty(puller.folder.path()));
}

TEST_CASE("a file that the list has and the hub has not") {
  Faulty puller;
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_resolve(request)) reply = {404, {{"X-Error-Code", "EntryNotFound"}}, ""};
  }),
                 "tiny.gguf: 127.0.0.1 answers 404: there is no such file"));
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_content(request)) reply = {403, {}, "<html>"};
  }),
                 "tiny.gguf: localhost answers 403"));
}

TEST_CASE("a hub that changes its mind between the list and the file") {
  Faulty puller;
  const auto says = [](const char* name, const std::string& value) {
    return [=](const HubRequest& request, HubReply& reply) {
      if (is_resolve(request)) reply.headers[name] = value;
    };
  };
  CHECK(contains(
      puller.why(says("X-Repo-Commit", std::string(40, 'f'))),
      "tiny.gguf: the hub changed its mind: expected commit 0123456789abcdef0123456789abcdef01234567, found ff"));
  CHECK(contains(puller.why(says("X-Linked-Size", "99999")), "expected bytes 100000, found 99999"));
  CHECK(contains(puller.why(says("X-Linked-Etag", "\"" + std::string(64, 'e') + "\"")), "expected checksum "));
  CHECK(puller.hub.requests_of("/blob/").empty());
}

TEST_CASE("a content server that has another file") {
  Faulty puller;
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_content(request)) reply.body.pop_back();
  }),
                 "tiny.gguf: the hub changed its mind: expected 100000 bytes, found 99999"));
  // Of the right size: the checksum tells, and what came is worth nothing.
  const std::string why = puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_content(request)) reply.body[77] ^= 1;
  });
  CHECK(contains(why, "tiny.gguf: expected the SHA-256 " + puller.hub.oid(kGguf) + ", found "));
  CHECK(contains(why, "thrown away"));
  CHECK(puller.n_partial() == 0);
  puller.hub.meddle = nullptr;
  puller.pull();
  CHECK(puller.is_whole(kGguf));
}

TEST_CASE("a small file that is not what git knows") {
  Faulty puller;
  puller.hub.add("config.json", "{\"a\": 1}", false);
  puller.options.include = {"config.json"};
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_resolve(request)) reply.body = "{\"a\": 2}";
  }),
                 "config.json: expected the git checksum"));
  CHECK(!puller.is_there("config.json"));
}

TEST_CASE("a content server that changes its mind between two parts") {
  // The n-th request to it is answered so.
  const auto why = [](int n, Meddling meddling) {
    Faulty puller(20'000'000);
    puller.options.fetch.connections = 1;
    const auto is_nth = [n, i = 0](const HubRequest& request) mutable { return is_content(request) && ++i == n; };
    const std::string said = puller.why(puller.once(is_nth, std::move(meddling)));
    puller.hub.meddle = nullptr;
    puller.pull();  // what had come by then was right
    CHECK(puller.is_whole(kGguf));
    return said;
  };
  const auto header = [](const char* name, const char* value) {
    return [=](const HubRequest&, HubReply& reply) { reply.headers[name] = value; };
  };
  CHECK(contains(why(2, header("ETag", "\"new\"")), "tiny.gguf: the hub changed its mind: expected the entity tag "));
  CHECK(contains(why(2, header("Content-Range", "bytes 8388608-16777215/19999999")),
                 "expected bytes 8388608 to 16777215 of 20000000, found 8388608 to 16777215 of 19999999"));
  CHECK(contains(why(2, header("Content-Range", "")), "found no such part"));
  CHECK(contains(why(1, [](const HubRequest&, HubReply& reply) { reply.status = 200; }),
                 "tiny.gguf: expected a part of the file (206), found all of it (200)"));
  CHECK(contains(why(1, [](const HubRequest&, HubReply& reply) { reply.body += "more"; }),
                 "expected 20000000 bytes, and more came"));
  CHECK(contains(why(1,
                     [](const HubRequest&, HubReply& reply) {
                       reply = {416, {}, ""};
                     }),
                 "localhost answers 416: the file is shorter than the hub's list says"));
}

TEST_CASE("lists that are no lists") {
  Faulty puller;
  const auto lists = [](const std::string& text) {
    return [=](const HubRequest& request, HubReply& reply) {
      if (request.path.find("/tree/") != std::string::npos) reply.body = text;
    };
  };
  const std::string tree = puller.hub.tree();
  CHECK(contains(puller.why(lists(tree.substr(0, tree.size() / 2))), "lab/Tiny-Chat at main: no JSON"));
  CHECK(contains(puller.why(lists("<html>")), "no JSON"));
  CHECK(contains(puller.why(lists(std::string(9'000'000, ' '))), "expected at most 8388608 bytes, found 9000000"));
  std::string hostile = tree;
  hostile.replace(hostile.find(kGguf), 9, "../../.bashrc");
  CHECK(contains(puller.why(lists(hostile)), "the name \"../../.bashrc\" leads out of its folder"));
  std::string large = tree;
  for (size_t at = 0; (at = large.find("100000", at)) != std::string::npos;) large.replace(at, 6, "60000000000000");
  const std::string no_room = puller.why(lists(large));
  CHECK_MESSAGE(contains(no_room, "expected room for 60.0 TB, found "), no_room);
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_api(request)) reply.body = "{\"sha\": \"main\"}";
  }),
                 "sha: expected 40 hexadecimal digits"));
  CHECK(fs::is_empty(puller.folder.path()));
}

TEST_CASE("a list without end") {
  Faulty puller;
  CHECK(contains(puller.why([&](const HubRequest& request, HubReply& reply) {
    if (request.path.find("/tree/") != std::string::npos)
      reply.headers["Link"] = "<" + request.path + "?again>; rel=\"next\"";
    reply.body = is_api(request) && request.path.find("/tree/") != std::string::npos ? "[]" : reply.body;
  }),
                 "expected at most 1000 pages"));
}

TEST_CASE("an answer whose length nobody knows") {
  Faulty puller;
  const auto endless = [](const HubRequest& request, HubReply& reply) {
    if (!is_api(request)) return;
    reply.headers["Content-Length"] = "";
    reply.body = std::string(9'000'000, ' ');
  };
  CHECK(contains(puller.why(endless), "expected at most 8388608 bytes, found more"));
  puller.hub.meddle = [](const HubRequest& request, HubReply& reply) {
    if (is_api(request)) reply.headers["Content-Length"] = "";
  };
  puller.pull();
  CHECK(puller.is_whole(kGguf));
}

TEST_CASE("redirects that lead nowhere") {
  Faulty puller;
  const auto leads_to = [](const std::string& location) {
    return [=](const HubRequest& request, HubReply& reply) {
      if (is_resolve(request)) reply = {302, {{"Location", location}}, ""};
    };
  };
  CHECK(contains(puller.why(leads_to("file:///etc/passwd")),
                 "tiny.gguf: expected an address of http or https, found file:"));
  CHECK(contains(puller.why(leads_to("ftp://127.0.0.1/x")), "found ftp:"));
  CHECK(contains(puller.why(leads_to("http://a b/")), "redirects to what is no address"));
  CHECK(contains(puller.why(leads_to("")), "127.0.0.1 answers 302 without saying where to go"));
  CHECK(contains(puller.why([](const HubRequest& request, HubReply& reply) {
    if (is_resolve(request)) reply = {302, {{"Location", request.path}}, ""};
  }),
                 "tiny.gguf: expected at most 5 redirects, found more"));
  CHECK(contains(puller.why(leads_to("http://127.0.0.1:1/x")), "at 3 tries one after another"));
}

TEST_CASE("answers with too much around them") {
  Faulty puller;
  CHECK(contains(puller.why([](const HubRequest&, HubReply& reply) {
    for (int i = 0; i < 10; ++i) reply.headers["X-" + std::to_string(i)] = std::string(8'000, 'x');
  }),
                 "more than 65536 bytes of headers"));
  CHECK(contains(puller.why([](const HubRequest&, HubReply& reply) {
    reply = {404, {}, std::string(2'000'000, 'x')};
  }),
                 "answers 404 with more than 1048576 bytes"));
}

TEST_CASE("nobody there") {
  Faulty puller;
  puller.options.fetch.endpoint = "http://127.0.0.1:1";
  CHECK(contains(puller.refused(), "lab/Tiny-Chat at main: 127.0.0.1: Failed to connect"));
}

TEST_CASE("somebody else is fetching it") {
  Faulty puller;
  puller.cache().make_folders();
  const hub::BlobLock lock = puller.cache().lock({kGguf, 100'000, puller.hub.oid(kGguf)});
  CHECK(puller.refused() == "tiny.gguf: another process is fetching it");
}
