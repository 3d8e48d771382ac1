// `hearth pull` as a user meets it, from a small hub on loopback; and killed at random moments.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <random>
#include <set>
#include <thread>

#include "runtime/hub/cache.h"
#include "runtime/hub/partial_blob.h"
#include "tests/runtime/cli/pulled.h"
#include "tests/runtime/server/http_client.h"

using namespace hearth::test;
using hearth::hub::HubFile;
using hearth::hub::PartialBlob;
using hearth::hub::RepositoryCache;

TEST_CASE("from nothing to a model: pulled, converted, asked") {
  Pulled pulled;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
    pulled.hub.add(name, content_of(demo_checkpoint() + "/" + name), false);
  pulled.hub.add("model.safetensors", content_of(demo_checkpoint() + "/model.safetensors"));
  pulled.hub.add("README.md", "# Tiny", false);

  const ProcessResult listed = pulled.pull({"--dry-run"});
  CHECK(listed.exit_code == 0);
  CHECK(contains(listed.out, "model.safetensors\n"));
  CHECK(contains(listed.out, "5 files, of which "));
  CHECK(!fs::exists(pulled.cache()));

  const ProcessResult fetched = pulled.pull();
  REQUIRE_MESSAGE(fetched.exit_code == 0, fetched.err);
  CHECK(fetched.out == pulled.snapshot() + "\n");
  CHECK(contains(fetched.err, "lab/Tiny-Chat at 0123456789ab: 5 files, "));
  CHECK(
      contains(fetched.err, "go on with:  hearth convert " + pulled.snapshot() + " tiny-chat.gguf --recipe q4_k_m\n"));
  CHECK(contains(pulled.pull({"--dry-run"}).out, "config.json  (is there)\n"));

  const std::string model = pulled.folder / "tiny-chat.gguf";
  const ProcessResult made = run_hearth({"convert", pulled.snapshot(), model, "--recipe", "bf16"});
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);

  Pulled second;
  second.hub.add("tiny-BF16.gguf", content_of(model));
  const ProcessResult gguf = second.pull();
  REQUIRE_MESSAGE(gguf.exit_code == 0, gguf.err);
  CHECK(gguf.out == second.snapshot() + "/tiny-BF16.gguf\n");
  CHECK(contains(gguf.err, "go on with:  hearth chat " + second.snapshot() + "/tiny-BF16.gguf\n"));
  const ProcessResult answer =
      run_hearth({"run", second.snapshot() + "/tiny-BF16.gguf", "What is 2 + 3?", "--temp", "0", "--ctx", "256"});
  CHECK(answer.exit_code == 0);
  CHECK(contains(answer.out, "5"));
}

TEST_CASE("several models: which there are, and how one is named") {
  Pulled pulled;
  pulled.hub.add("tiny-Q4_K_M.gguf", some_bytes(4000, 1));
  pulled.hub.add("BF16/tiny-00001-of-00002.gguf", some_bytes(8000, 2));
  pulled.hub.add("BF16/tiny-00002-of-00002.gguf", some_bytes(8000, 3));
  const ProcessResult several = pulled.pull();
  CHECK(several.exit_code == 2);
  CHECK(several.err == "hearth: lab/Tiny-Chat: has 2 models: choose one of them by --include\n");
  CHECK(several.out ==
        "  4.00 kB     1 file  --include 'tiny-Q4_K_M.gguf'\n"
        "  16.0 kB    2 files  --include 'BF16/tiny-*-of-00002.gguf'\n");
  CHECK(!fs::exists(pulled.cache()));
  const ProcessResult one =
      run_hearth({"pull", "--include", "BF16/tiny-*-of-00002.gguf", SmallHub::kRepository}, pulled.options());
  CHECK_MESSAGE(one.exit_code == 0, one.err);
  CHECK(one.out == pulled.snapshot() + "/BF16/tiny-00001-of-00002.gguf\n");
  CHECK(pulled.is_whole("BF16/tiny-00002-of-00002.gguf"));
  CHECK(!fs::exists(pulled.snapshot() + "/tiny-Q4_K_M.gguf"));
  check_refused(pulled.pull({"--include", "*Q8*"}), 2, {"none of its 3 files is meant by --include"});
}

TEST_CASE("pull: what is refused") {
  Pulled pulled;
  pulled.hub.add("tiny.gguf", some_bytes(40'000, 4));
  check_refused(run_hearth({"pull"}), 2, {"repository", "hearth pull --help"});
  check_refused(run_hearth({"pull", "../etc"}, pulled.options()), 2, {"../etc: expected the name of a repository"});
  check_refused(run_hearth({"pull", "lab/Other"}, pulled.options()), 1, {"lab/Other at main: 127.0.0.1 answers 404"});
  check_refused(pulled.pull({"--revision", "../x"}), 2, {"--revision: expected a branch", "../x"});
  check_refused(pulled.pull({"--connections", "0"}), 2, {"--connections", "0"});
  ProcessOptions elsewhere = pulled.options();
  elsewhere.environment.push_back({"HF_ENDPOINT", "hub"});
  check_refused(run_hearth(Pulled::command({}), elsewhere), 2, {"HF_ENDPOINT: expected the address of a hub"});
  ProcessOptions full = pulled.options();
  full.file_size_limit = 10'000;
  check_refused(run_hearth(Pulled::command({}), full), 1, {"cannot set 40040 bytes aside", "too large"});
  CHECK(!fs::exists(pulled.snapshot()));
}

TEST_CASE("Ctrl-C keeps what has come") {
  Pulled pulled;
  pulled.hub.add("tiny.gguf", some_bytes(20'000'000, 5));
  std::atomic<bool> slow = true;
  pulled.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (slow && request.to_content_server) reply.stall_after = 2'000'000;
  };
  const pid_t child = pulled.begin();
  CHECK(soon([&] { return pulled.hub.body_bytes_sent() == 6'000'000; }));
  kill(child, SIGINT);
  CHECK(ended(child) == 130);
  CHECK(pulled.n_incomplete() == 1);
  slow = false;
  const uint64_t before = pulled.hub.body_bytes_sent();
  const ProcessResult rest = pulled.pull();
  CHECK_MESSAGE(rest.exit_code == 0, rest.err);
  CHECK(pulled.is_whole("tiny.gguf"));
  CHECK(pulled.hub.body_bytes_sent() - before < 20'000'000);
}

// Killed at random moments ($HEARTH_KILLS of them; 4), each run goes on exactly where the last one was: every part that
// is asked for begins behind the bytes that had come, and nothing that was finished is asked for.
TEST_CASE("killed at any moment, it goes on from there") {
  Pulled pulled;
  const std::vector<std::string> names = {"config.json", "model-00001-of-00003.safetensors",
                                          "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"};
  pulled.hub.add(names[0], "{}", false);
  pulled.hub.add(names[1], some_bytes(20'000'000, 6));
  pulled.hub.add(names[2], some_bytes(17'000'000, 7));
  pulled.hub.add(names[3], some_bytes(1'000'000, 8));
  std::atomic<int> run = 0;
  pulled.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (request.to_content_server) reply.bytes_per_second = 15'000'000;
    // So that what a killed program still had under way is not taken for the next one's.
    if (reply.status == 302) reply.headers["Location"] += fmt::format("&run={}.", run.load());
  };
  const RepositoryCache cache(pulled.cache(), SmallHub::kRepository);
  const char* const wanted = std::getenv("HEARTH_KILLS");
  const int n_kills = wanted ? std::atoi(wanted) : 4;
  std::mt19937 random{uint32_t(n_kills)};
  int killed = 0, finished = 0;
  while (killed < n_kills || finished == 0) {
    ++run;
    // Where each part may begin, of each blob.
    std::map<std::string, std::set<uint64_t>> begins;
    for (size_t i = 1; i < names.size(); ++i) {
      const HubFile file{names[i], pulled.hub.content(names[i]).size(), pulled.hub.oid(names[i])};
      if (cache.has(file)) continue;
      std::set<uint64_t>& of_file = begins[file.oid];
      if (!fs::exists(cache.partial_blob(file))) {
        for (uint64_t at = 0; at < file.size; at += 8 << 20) of_file.insert(at);
        continue;
      }
      const PartialBlob blob(cache.partial_blob(file), file.size);
      for (size_t piece = 0; piece < blob.n_pieces(); ++piece)
        if (!blob.has_all_of(piece)) of_file.insert(blob.begin_of(piece) + blob.count_of(piece));
    }
    pulled.hub.forget_requests();
    const pid_t child = pulled.begin();
    if (killed < n_kills) {  // the last one may finish, however busy the machine is
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 700));
      kill(child, SIGKILL);
    }
    const int status = ended(child);
    REQUIRE((status == 0 || status == 128 + SIGKILL));
    for (const HubRequest& request : pulled.hub.requests_of("/blob/")) {
      if (!contains(request.query, fmt::format("run={}.", run.load()))) continue;
      const uint64_t begin = request.range ? request.range->first : 0;
      const std::string oid = request.path.substr(6);
      CHECK_MESSAGE(begins[oid].contains(begin), "run ", run.load(), ": ", oid, " from ", begin);
    }
    for (const std::string& name : names)
      if (fs::exists(pulled.snapshot() + "/" + name)) CHECK(pulled.is_whole(name));
    if (status != 0) {
      ++killed;
      continue;
    }
    ++finished;
    for (const std::string& name : names) CHECK(pulled.is_whole(name));
    CHECK(pulled.n_incomplete() == 0);
    fs::remove_all(pulled.cache());
  }
  MESSAGE(killed, " kills, ", finished, " times finished");
}
