// Shards as a converter wants them: first their headers, then some of them at a time.
#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/hub/few_at_a_time.h"
#include "runtime/hub/heads.h"
#include "tests/runtime/hub/puller.h"
#include "tests/runtime/server/http_client.h"
#include "tests/support/safetensors_writer.h"

using namespace hearth;
using namespace hearth::test;
using hub::FewAtATime;
using hub::HubFile;

namespace {

constexpr auto kMoment = std::chrono::milliseconds(200);

struct Shards : Puller {
  hub::DownloadSource source{options.fetch.endpoint, options.repository, SmallHub::kCommit};
  hub::RepositoryCache place{folder / "work", options.repository};
  std::vector<HubFile> files;

  void add(const std::string& name, const std::string& content, bool large = true) {
    hub.add(name, content, large);
    files.push_back({name, content.size(), hub.oid(name)});
  }
  void add_five() {
    for (const char* name : {"a", "b", "c", "d", "e"}) add(name, some_bytes(50'000, uint32_t(name[0])));
  }
  std::vector<std::string> heads(uint64_t most_bytes = hearth::hub::kMostBytesOfAllHeads) {
    hearth::hub::FetchLoop loop(
        options.fetch, [] {}, [](const std::string&) {});
    return hearth::hub::fetch_heads(loop, source, files, most_bytes);
  }
  FewAtATime few(size_t most) { return {options.fetch, source, files, place, most}; }
  // What lies there under which names: "b", "c.part".
  std::vector<std::string> lying() const {
    std::vector<std::string> names;
    for (const HubFile& file : files) {
      if (fs::exists(place.blob(file))) names.push_back(file.path);
      if (fs::exists(place.partial_blob(file))) names.push_back(file.path + ".part");
    }
    return names;
  }
  // Waits until no more comes.
  std::vector<std::string> settled() const {
    std::vector<std::string> before;
    for (int same = 0; same < 10; same = before == lying() ? same + 1 : 0) {
      before = lying();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return before;
  }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("headers alone, however long, from whoever has the files") {
  Shards shards;
  const std::string small = "{" + std::string(100, ' ') + "}", large = "{" + std::string(300'000, ' ') + "}";
  shards.add("small", safetensors_text(small, some_bytes(1'000'000, 1)));
  shards.add("large", safetensors_text(large, some_bytes(1'000'000, 2)));
  shards.add("in-git", safetensors_text(small, "data"), false);
  shards.add("empty", safetensors_text("{}", ""));
  const auto heads = shards.heads();
  REQUIRE(heads.size() == 4);
  CHECK(heads[0] == safetensors_text(small, ""));
  CHECK(heads[1] == safetensors_text(large, ""));
  CHECK(heads[2] == safetensors_text(small, ""));
  CHECK(heads[3] == safetensors_text("{}", ""));
  CHECK(shards.hub.body_bytes_sent() < 600'000);
  CHECK(shards.hub.requests_of("/large").size() == 1);

  // Hubs that send no parts.
  shards.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (reply.status == 206)
      reply = {200, {}, shards.hub.content(contains(request.path, shards.hub.oid("large")) ? "large" : "small")};
  };
  shards.files = {shards.files[0], shards.files[1]};
  CHECK(shards.heads() == std::vector<std::string>{safetensors_text(small, ""), safetensors_text(large, "")});
}

TEST_CASE("headers that are none") {
  const auto why = [](const std::string& content, std::function<void(const HubRequest&, HubReply&)> meddle = {}) {
    Shards shards;
    shards.hub.meddle = std::move(meddle);
    shards.add("x.safetensors", content);
    return refusal([&] { shards.heads(); });
  };
  CHECK(why("short") == "x.safetensors: not a safetensors file: expected at least 8 bytes, found 5");
  const std::string too_long = why(std::string("\xff\xff\0\0\0\0\0\0{}", 10));
  CHECK(too_long == "x.safetensors: not a safetensors file: expected a header of at most 2 bytes, found 65535");
  CHECK(contains(why(std::string(16, '\xff')), "expected a header of at most 8 bytes, found 18446744073709551615"));
  const std::string good = safetensors_text("{}", some_bytes(1000, 3));
  CHECK(contains(why(good, [](const HubRequest&, HubReply& reply) { reply.headers["X-Linked-Size"] = "999"; }),
                 "the hub changed its mind: expected bytes 1010, found 999"));
  CHECK(
      contains(why(good, [](const HubRequest& request,
                            HubReply& reply) { reply.headers["Content-Range"] = request.range ? "bytes 0-9/10" : ""; }),
               "the hub changed its mind: expected bytes 0 to 1009 of 1010, found 0 to 9 of 10"));

  Shards several;
  several.add("a", safetensors_text("{" + std::string(98, ' ') + "}", ""));
  several.add("b", safetensors_text("{" + std::string(198, ' ') + "}", ""));
  CHECK(several.heads(316).size() == 2);
  CHECK(refusal([&] { several.heads(315); }) == "lab/Tiny-Chat: expected headers of at most 315 bytes, found 316");
  const std::string large = safetensors_text("{}", std::string(17'000'000, 'x'));
  CHECK(why(large, [&](const HubRequest&, HubReply& reply) {
          if (reply.status == 206) reply = {200, {}, large};
        }) == "x.safetensors: expected a part of the file (206), found all of it (200)");
}

TEST_CASE("at most so many files at once, in their order, each once") {
  Shards shards;
  shards.add_five();
  {
    FewAtATime few = shards.few(2);
    CHECK(bytes_of(few.wait_for("a", kPatience)) == shards.hub.content("a"));
    CHECK(few.wait_for("b", kPatience) != "");
    CHECK(shards.settled() == Names{"a", "b"});
    CHECK(few.wait_for("c", kMoment) == "");
    few.done("a");
    CHECK(few.wait_for("c", kPatience) != "");
    CHECK(shards.settled() == Names{"b", "c"});
    few.done("b");
    few.done("c");
    for (const char* name : {"d", "e"}) CHECK(few.wait_for(name, kPatience) != "");
    CHECK(soon([&] { return few.progress().fetched == 250'000 && shards.hub.body_bytes_sent() == 250'000; }));
    CHECK(few.progress().total == 250'000);
    few.check();
  }
  CHECK(shards.lying() == Names{"d", "e"});
  // The next one has them, and wants others no more.
  shards.files = {shards.files[3], shards.files[4]};
  const uint64_t before = shards.hub.body_bytes_sent();
  FewAtATime few = shards.few(2);
  CHECK(few.wait_for("d", kMoment) != "");
  CHECK(few.wait_for("e", kMoment) != "");
  CHECK(few.progress().total == 0);
  few.done("d");
  CHECK(fs::exists(shards.place.folder()));
  few.done("e");
  CHECK(!fs::exists(shards.place.folder()));
  CHECK(shards.hub.body_bytes_sent() == before);
}

TEST_CASE("what an earlier run left keeps nothing from coming") {
  Shards shards;
  shards.add_five();
  {
    FewAtATime few = shards.few(5);
    for (const char* name : {"a", "b", "c", "d", "e"}) REQUIRE(few.wait_for(name, kPatience) != "");
  }
  std::ofstream(shards.place.folder() + "/other") << "of another repository";
  {
    FewAtATime few = shards.few(2);  // c, d and e would be in the way of a, were it not there
    CHECK(shards.lying() == Names{"a", "b"});
    CHECK(!fs::exists(shards.place.folder() + "/other"));
  }
  fs::resize_file(shards.place.blob(shards.files[0]), 10);  // not whole: it comes again
  FewAtATime few = shards.few(2);
  CHECK(bytes_of(few.wait_for("a", kPatience)) == shards.hub.content("a"));
  shards.files.clear();
  few.stop();
  const FewAtATime none = shards.few(2);
  CHECK(!fs::exists(shards.place.folder()));
}

TEST_CASE("what stops it is said to all who wait, and later") {
  Shards shards;
  shards.add_five();
  shards.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (contains(request.path, shards.hub.oid("b"))) reply.body[7] ^= 1;
  };
  FewAtATime few = shards.few(3);
  for (int i = 0; i < 2; ++i) {
    try {
      few.wait_for("b", kPatience);
      FAIL("it came");
    } catch (const Error& error) {
      CHECK(error.kind == ErrorKind::resource);  // not the weights' fault
      CHECK(contains(error.what(), "b: expected the SHA-256 "));
    }
  }
  CHECK_THROWS_AS(few.check(), Error);
  few.stop();
  CHECK(std::ranges::count(shards.lying(), "b") == 0);

  shards.files.push_back({"again", 50'000, shards.hub.oid("a")});
  CHECK(contains(refusal([&] { shards.few(3); }), "again: has the checksum of another file of the model, "));
}
