// Pulling from a hub that is in order: what is fetched, how often, and who is told the token.
#include <doctest/doctest.h>

#include "tests/runtime/hub/puller.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kShard1 = "model-00001-of-00002.safetensors";
constexpr const char* kShard2 = "model-00002-of-00002.safetensors";

bool asked_with_token(const HubRequest& request) {
  return request.headers.contains("authorization");
}

}  // namespace

TEST_CASE("a checkpoint comes whole, into the hub's own layout") {
  Puller puller;
  puller.add_checkpoint();
  const hub::PullPlan plan = puller.pull();
  for (const char* path : {"config.json", "tokenizer.json", kShard1, kShard2}) {
    CHECK_MESSAGE(puller.is_whole(path), path);
    CHECK(fs::is_symlink(puller.snapshot() + "/" + path));
  }
  CHECK(!puller.is_there("README.md"));
  CHECK(!puller.is_there("pytorch_model.bin"));
  CHECK(plan.snapshot == puller.snapshot());
  CHECK(plan.selection.content == hub::Content::checkpoint);
  CHECK(plan.bytes == plan.bytes_missing);
  CHECK(bytes_of(puller.folder / "models--lab--Tiny-Chat/refs/main") == SmallHub::kCommit);
  CHECK(puller.n_partial() == 0);
  CHECK(puller.told.empty());
  // Small ones from the hub, large ones from where it points.
  CHECK(puller.hub.requests_of("/blob/").size() == 2);
  CHECK(puller.hub.requests_of("config.json").size() == 1);
  for (const HubRequest& request : puller.hub.requests()) CHECK(!asked_with_token(request));
}

TEST_CASE("what is there is not fetched again") {
  Puller puller;
  puller.add_checkpoint();
  puller.pull();
  puller.hub.forget_requests();
  const hub::PullPlan again = puller.pull();
  CHECK(again.missing.empty());
  CHECK(again.bytes_missing == 0);
  CHECK(puller.hub.requests().size() == 2);  // what the revision is, and what is in it

  // A blob of the wrong length counts as none; a snapshot whose links are gone gets them anew.
  fs::resize_file(puller.cache().blob({kShard1, 300'000, puller.hub.oid(kShard1)}), 10);
  fs::remove_all(puller.snapshot());
  puller.pull();
  CHECK(puller.is_whole(kShard1));
  CHECK(puller.is_whole(kShard2));
  CHECK(puller.hub.requests_of("/blob/").size() == 1);
}

TEST_CASE("the token is the hub's, and nobody else's") {
  Puller puller;
  puller.add_checkpoint();
  puller.options.fetch.token = "hf_secret";
  puller.pull();
  size_t n_hub = 0, n_elsewhere = 0;
  for (const HubRequest& request : puller.hub.requests()) {
    CHECK(asked_with_token(request) != request.to_content_server);
    if (!request.to_content_server) CHECK(request.headers.at("authorization") == "Bearer hf_secret");
    ++(request.to_content_server ? n_elsewhere : n_hub);
  }
  CHECK(n_hub >= 6);
  CHECK(n_elsewhere == 2);
}

TEST_CASE("the hub's name on another port is another host") {
  Puller puller;
  puller.add_checkpoint();
  puller.options.fetch.token = "hf_secret";
  puller.hub.meddle = [&](const HubRequest&, HubReply& reply) {
    std::string& to = reply.headers["Location"];
    if (const size_t name = to.find("localhost"); name != std::string::npos) to.replace(name, 9, "127.0.0.1");
    if (to.empty()) reply.headers.erase("Location");
  };
  puller.pull();
  CHECK(puller.hub.requests_of("/blob/").size() == 2);
  for (const HubRequest& request : puller.hub.requests_of("/blob/")) CHECK(!asked_with_token(request));
}

TEST_CASE("a token does not go without encryption over a network") {
  Puller puller;
  puller.options.fetch.token = "hf_secret";
  puller.options.fetch.endpoint = "http://hub.example.org";
  const std::string why = puller.refused();
  CHECK(why == "HF_ENDPOINT: hub.example.org would be sent the token without encryption: expected an address of https");
}

TEST_CASE("a list of several pages") {
  Puller puller;
  puller.hub.page_size = 2;
  puller.add_checkpoint();
  puller.pull();
  CHECK(puller.hub.requests_of("/tree/").size() == 3);
  for (const char* path : {"config.json", "tokenizer.json", kShard1, kShard2}) CHECK(puller.is_whole(path));
}

TEST_CASE("a large file comes in parts, from an address that is asked for once") {
  Puller puller;
  puller.hub.add("folder/tiny.gguf", some_bytes(40'000'000, 7));
  const hub::PullPlan plan = puller.pull();
  CHECK(plan.selection.content == hub::Content::gguf);
  CHECK(plan.selection.first_gguf == "folder/tiny.gguf");
  CHECK(puller.is_whole("folder/tiny.gguf"));
  CHECK(puller.hub.requests_of("/resolve/").size() == 1);
  const auto parts = puller.hub.requests_of("/blob/");
  CHECK(parts.size() == 5);
  for (const HubRequest& part : parts) {
    REQUIRE(part.range.has_value());
    CHECK(part.range->second - part.range->first < (8u << 20));
  }
  CHECK(puller.hub.body_bytes_sent() == 40'000'000);
}

TEST_CASE("what was interrupted goes on, and what was finished is not asked for again") {
  Puller puller;
  puller.hub.add("config.json", "{}", false);
  puller.hub.add("model-00001-of-00002.safetensors", some_bytes(20'000'000, 8));
  puller.hub.add("model-00002-of-00002.safetensors", some_bytes(20'000'000, 9));
  puller.options.fetch.connections = 2;
  // The first shard comes quickly; the second does not come to its end.
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.path.ends_with(puller.hub.oid(kShard2))) reply.stall_after = 3'000'000;
  };
  puller.progress = [&](const hub::DownloadProgress& now) {
    const bool enough = puller.is_there(kShard1) && now.fetched > 26'000'000;
    require(!enough, ErrorKind::interrupted, "enough");
  };
  CHECK(puller.refused() == "enough");
  CHECK(puller.is_whole(kShard1));
  CHECK(!puller.is_there(kShard2));
  CHECK(puller.n_partial() == 1);
  CHECK(!fs::exists(puller.folder / "models--lab--Tiny-Chat/refs/main"));

  puller.hub.meddle = nullptr;
  puller.hub.forget_requests();
  uint64_t resumed = 0, fetched = 0;
  puller.progress = [&](const hub::DownloadProgress& now) { resumed = now.resumed, fetched = now.fetched; };
  puller.pull();
  CHECK(puller.is_whole(kShard2));
  CHECK(resumed >= 6'000'000);
  CHECK(resumed + fetched == 20'000'000);
  CHECK(puller.hub.requests_of(puller.hub.oid(kShard1)).empty());
  CHECK(puller.hub.requests_of("config.json").empty());
  uint64_t asked = 0;
  for (const HubRequest& part : puller.hub.requests_of("/blob/")) asked += part.range->second - part.range->first + 1;
  CHECK(asked == fetched);
  CHECK(puller.n_partial() == 0);
}

TEST_CASE("two names of one content are one blob; an empty file needs no request") {
  Puller puller;
  const std::string content = some_bytes(100'000, 10);
  puller.hub.add("a.gguf", content);
  puller.hub.add("b.gguf", content);
  puller.hub.add("empty.txt", "", false);
  puller.options.include = {"*"};
  puller.pull();
  CHECK(puller.is_whole("a.gguf"));
  CHECK(puller.is_whole("b.gguf"));
  CHECK(puller.is_there("empty.txt"));
  CHECK(puller.hub.requests_of("/blob/").size() == 1);
  CHECK(puller.hub.requests_of("empty.txt").empty());
}

TEST_CASE("names that addresses would read otherwise") {
  Puller puller;
  puller.hub.add("a file #1 100%.gguf", some_bytes(1000, 11));
  std::string path;
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.path.find("/resolve/") == std::string::npos) return;
    path = request.path;
    reply.status = 302;
    reply.headers["Location"] = puller.hub.content_server() + "/blob/" + puller.hub.oid("a file #1 100%.gguf");
  };
  puller.pull();
  CHECK(path.ends_with("/a%20file%20%231%20100%25.gguf"));
  CHECK(puller.is_whole("a file #1 100%.gguf"));
}

TEST_CASE("revisions") {
  Puller puller;
  puller.add_checkpoint();
  puller.options.include = {"config.json"};
  puller.options.revision = "refs/pr/1";
  puller.pull();
  CHECK(bytes_of(puller.folder / "models--lab--Tiny-Chat/refs/refs/pr/1") == SmallHub::kCommit);
  puller.options.revision = SmallHub::kCommit;
  CHECK(puller.pull().missing.empty());
  CHECK(!fs::exists(puller.folder / ("models--lab--Tiny-Chat/refs/" + std::string(SmallHub::kCommit))));
  puller.options.revision = "v9";
  CHECK(contains(puller.refused(), "lab/Tiny-Chat at v9: 127.0.0.1 answers 404: there is no such revision"));
}

TEST_CASE("a repository that was renamed") {
  Puller puller;
  puller.add_checkpoint();
  puller.options.repository = "lab/Old-Name";
  puller.options.fetch.token = "hf_secret";
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    const size_t old = request.path.find("lab/Old-Name");
    if (old == std::string::npos) return;
    std::string to = request.path;
    to.replace(old, 12, SmallHub::kRepository);
    reply = {307, {{"Location", to + (request.query.empty() ? "" : "?" + request.query)}}, ""};
  };
  const hub::PullPlan plan = puller.pull();
  CHECK(bytes_of(plan.snapshot + "/" + kShard1) == puller.hub.content(kShard1));
  CHECK(contains(plan.snapshot, "models--lab--Old-Name"));
  for (const HubRequest& request : puller.hub.requests()) CHECK(asked_with_token(request) != request.to_content_server);
}

TEST_CASE("a hub that hands out large files itself") {
  Puller puller;
  puller.hub.add("tiny.gguf", some_bytes(20'000'000, 12));
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.path.find("/resolve/") == std::string::npos) return;
    const std::string& content = puller.hub.content("tiny.gguf");
    const uint64_t first = request.range->first, last = request.range->second;
    reply = {206, {{"Content-Range", fmt::format("bytes {}-{}/{}", first, last, content.size())}}, ""};
    reply.body = content.substr(first, last - first + 1);
  };
  puller.pull();
  CHECK(puller.is_whole("tiny.gguf"));
}

TEST_CASE("a small file that was cut comes again from a hub that knows no ranges") {
  Puller puller;
  puller.add_checkpoint();
  int n = 0;
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (!request.path.ends_with("/tokenizer.json")) return;
    reply.status = 200;
    reply.headers.erase("Content-Range");
    reply.body = puller.hub.content("tokenizer.json");
    if (n++ == 0) reply.cut_after = 3000;
  };
  puller.pull();
  CHECK(puller.is_whole("tokenizer.json"));
  const auto asked = puller.hub.requests_of("tokenizer.json");
  REQUIRE(asked.size() == 2);
  CHECK(!asked[0].range);
  CHECK(asked[1].range->first == 3000);
}

TEST_CASE("an address that has expired is asked for anew") {
  Puller puller;
  puller.hub.add("tiny.gguf", some_bytes(40'000'000, 13));
  puller.options.fetch.connections = 1;
  int n_parts = 0;
  puller.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (!request.to_content_server) return;
    if (++n_parts == 3) reply = {403, {}, "expired"};
  };
  puller.pull();
  CHECK(puller.is_whole("tiny.gguf"));
  CHECK(puller.hub.requests_of("/resolve/").size() == 2);
  CHECK(n_parts == 6);
}
