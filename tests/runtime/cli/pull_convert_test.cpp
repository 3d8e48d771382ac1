// `hearth pull REPOSITORY --convert RECIPE`: a checkpoint becomes a file while it comes. The same bytes as fetched
// first and converted then, few shards on the disk at any time, wherever it is interrupted.
#include <doctest/doctest.h>

#include <csignal>
#include <random>

#include "tests/runtime/cli/sharded.h"
#include "tests/runtime/server/http_client.h"

using namespace hearth::test;

TEST_CASE("converted while it comes: the same bytes, few shards on the disk") {
  Sharded sharded;
  const ProcessResult planned = sharded.convert({"--dry-run"});
  REQUIRE_MESSAGE(planned.exit_code == 0, planned.err);
  CHECK(contains(planned.out, "token_embd.weight "));
  CHECK(contains(planned.out, "on the disk, besides: "));
  CHECK(contains(planned.out, " of 10 shards at a time, in " + sharded.work + " ("));
  for (const std::string& shard : sharded.shards) CHECK(sharded.content_requests(shard).empty());
  CHECK(!fs::exists(sharded.work));

  // The least is what a number that is too small is told.
  const ProcessResult few = sharded.convert({"--keep-shards", "1"});
  check_refused(few, 2,
                {"--keep-shards: expected at least ", ": so many of the 10 shards are needed at once, found 1"});
  const int least = std::atoi(few.err.substr(few.err.find("least ") + 6).c_str());
  REQUIRE(least >= 2);
  CHECK(least <= 6);

  for (const int keep : {least, 0}) {
    CAPTURE(keep);
    const uint64_t before = sharded.hub.body_bytes_sent();
    std::vector<std::string> more = {"-t", "3"};
    if (keep > 0) more.insert(more.end(), {"--keep-shards", std::to_string(keep)});
    Watch watch(sharded);
    const ProcessResult made = sharded.convert(more);
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    CHECK(watch.most() <= size_t(keep > 0 ? keep : least + 2));
    CHECK(watch.most() >= 2);
    CHECK(made.out == sharded.out + "\n");
    CHECK(contains(made.err, "converting lab/Tiny-Chat by recipe q4_0\n"));
    CHECK(contains(made.err, "go on with:  hearth chat " + sharded.out + "\n"));
    sharded.check_made();
    uint64_t bytes = 0;
    for (const std::string& shard : sharded.shards) {
      bytes += sharded.hub.content(shard).size() + kHeadBytes;
      CHECK(!fs::exists(sharded.snapshot() + "/" + shard));
    }
    CHECK(sharded.hub.body_bytes_sent() - before <= bytes);
    const ProcessResult again = sharded.convert();
    CHECK(again.exit_code == 2);
    CHECK(contains(again.err, "hearth: " + sharded.out + ": exists already"));
    fs::remove(sharded.out);
  }
}

TEST_CASE("shards that the hub's cache has are taken from there, and stay") {
  Sharded sharded;
  for (const size_t i : {0, 4, 9}) REQUIRE(sharded.pull({"--include", sharded.shards[i]}).exit_code == 0);
  sharded.hub.forget_requests();
  const ProcessResult made = sharded.convert();
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  sharded.check_made();
  for (size_t i = 0; i < 10; ++i) {
    const bool had = i == 0 || i == 4 || i == 9;
    CHECK(sharded.hub.requests_of("/blob/" + sharded.hub.oid(sharded.shards[i])).empty() == had);
    CHECK(fs::exists(sharded.snapshot() + "/" + sharded.shards[i]) == had);
    if (had) CHECK(sharded.is_whole(sharded.shards[i]));
  }
  REQUIRE(sharded.pull({"--include", "*.safetensors", "--include", "*.json"}).exit_code == 0);
  fs::remove(sharded.out);
  sharded.hub.forget_requests();
  REQUIRE(sharded.convert().exit_code == 0);  // all are there
  sharded.check_made();
  CHECK(sharded.hub.requests_of("/blob/").empty());
}

TEST_CASE("converted while it comes: Ctrl-C, and the same command goes on") {
  Sharded sharded;
  std::atomic<uint64_t> bytes_per_second = 20'000;  // a minute for a shard
  sharded.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.to_content_server && Sharded::is_of_content(request)) reply.bytes_per_second = bytes_per_second;
  };
  ProcessOptions options = sharded.options();
  options.interrupt_when = [](const std::string&, const std::string& err) { return contains(err, "on the disk: "); };
  const ProcessResult early = run_hearth(Sharded::command(Sharded::with(sharded.out)), options);
  CHECK(early.exit_code == 130);
  CHECK(early.out == "");
  CHECK(contains(early.err, "\nhearth: interrupted; the same command goes on: what was fetched is kept in " +
                                sharded.work + "\n"));
  CHECK(!fs::exists(sharded.out + ".partial"));

  bytes_per_second = 2'000'000;
  const pid_t child = sharded.begin(sharded.with(sharded.out));
  CHECK(soon([&] { return sharded.recorded() > 0; }));
  kill(child, SIGINT);
  CHECK(ended(child) == 130);
  CHECK(!fs::exists(sharded.out));
  CHECK(fs::exists(sharded.work));
  bytes_per_second = 0;
  const ProcessResult rest = sharded.convert();
  REQUIRE_MESSAGE(rest.exit_code == 0, rest.err);
  CHECK(contains(rest.err, "tiny.gguf.partial: going on from tensor "));
  sharded.check_made();
}

TEST_CASE("a revision that has moved and has the same weights goes on") {
  Sharded sharded;
  sharded.hub.meddle = [](const HubRequest& request, HubReply& reply) {
    if (request.to_content_server && Sharded::is_of_content(request)) reply.bytes_per_second = 2'000'000;
  };
  const pid_t child = sharded.begin(sharded.with(sharded.out));
  CHECK(soon([&] { return sharded.recorded() > 0; }));
  kill(child, SIGKILL);
  CHECK(ended(child) == 128 + SIGKILL);

  const std::string moved(40, '7');
  sharded.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    const std::string files = "/resolve/" + moved + "/";
    const size_t at = request.path.find(files);
    if (contains(request.path, "/revision/")) {
      reply.body = "{\"sha\":\"" + moved + "\"}";
    } else if (contains(request.path, "/tree/" + moved)) {
      reply = {200, {}, sharded.hub.tree()};
    } else if (at != std::string::npos) {
      const std::string name = request.path.substr(at + files.size());
      reply = {200, {{"X-Repo-Commit", moved}}, sharded.hub.content(name)};
      if (name.ends_with(".safetensors"))
        reply = {302, {{"Location", sharded.hub.content_server() + "/blob/" + sharded.hub.oid(name)}}, ""};
    }
  };
  const ProcessResult rest = sharded.convert();
  REQUIRE_MESSAGE(rest.exit_code == 0, rest.err);
  CHECK(content_of(sharded.cache() + "/models--lab--Tiny-Chat/refs/main") == moved);
  CHECK(contains(rest.err, "tiny.gguf.partial: going on from tensor "));
  sharded.check_made();
}

// Killed at random moments ($HEARTH_KILLS of them; 3): of a shard that was there and has gone, nothing is asked for
// again but its header, tensors that are on record stay there, and no more shards lie on the disk than may.
TEST_CASE("converted while it comes: killed at any moment, it goes on from there") {
  Sharded sharded;
  std::atomic<int> run = 0;
  sharded.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.to_content_server && Sharded::is_of_content(request)) reply.bytes_per_second = 1'500'000;
    // So that what a killed program still had under way is not taken for the next one's.
    if (reply.status == 302) reply.headers["Location"] += fmt::format("&run={}.", run.load());
  };
  const char* const wanted = std::getenv("HEARTH_KILLS");
  const int n_kills = wanted ? std::atoi(wanted) : 3;
  constexpr size_t kKeep = 5;
  const auto command = sharded.with(sharded.out, {"--keep-shards", std::to_string(kKeep), "-t", "2"});
  std::mt19937 random{uint32_t(n_kills)};
  int killed = 0, finished = 0, gone_on = 0;
  size_t n_gone = 0;
  std::set<std::string> begun;  // shards that lay on the disk since the file was begun
  while (killed < n_kills || finished == 0) {
    ++run;
    std::set<std::string> gone;
    for (const std::string& oid : begun)
      if (!sharded.lying().contains(oid)) gone.insert(oid);
    n_gone += gone.size();
    const size_t before = sharded.recorded();
    sharded.hub.forget_requests();
    Watch watch(sharded);
    const pid_t child = sharded.begin(command);
    if (killed < n_kills) {
      // At any time, or soon after something came on record: then the next one has something to go on with.
      if (random() % 2 == 0) {
        soon([&] { return sharded.recorded() > before || fs::exists(sharded.out); });
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 1500));
      }
      kill(child, SIGKILL);
    }
    const int status = ended(child);
    REQUIRE((status == 0 || status == 128 + SIGKILL));
    CHECK(watch.most() <= kKeep);
    for (const std::string& oid : watch.seen()) begun.insert(oid);
    for (const HubRequest& request : sharded.hub.requests_of("/blob/")) {
      if (!contains(request.query, fmt::format("run={}.", run.load()))) continue;
      const std::string oid = request.path.substr(6);
      CHECK_MESSAGE(!(gone.contains(oid) && Sharded::is_of_content(request)), "run ", run.load(), ": ", oid);
    }
    if (status != 0) {
      ++killed;
      gone_on += before > 0;
      const bool has_name = fs::exists(sharded.out);  // then the record is of no use any more, and may be gone
      CHECK((has_name || sharded.recorded() >= before));
      if (!has_name) continue;
      fs::remove_all(sharded.work);
      fs::remove(sharded.out + ".partial.journal");
    } else {
      ++finished;
    }
    sharded.check_made();
    fs::remove(sharded.out);
    begun.clear();
  }
  MESSAGE(killed, " kills, ", gone_on, " of them of a command that went on, ", finished, " times finished; ", n_gone,
          " shards were not needed again");
}
