// `hearth pull REPOSITORY --convert RECIPE` where a hub changes its mind in the middle, or something else is wrong: one
// line, nothing under the final name, and what was finished is not done again.
#include <doctest/doctest.h>

#include <pty.h>

#include "tests/runtime/cli/sharded.h"

using namespace hearth::test;

namespace {

// The lines of errors among what was said.
std::vector<std::string> complaints(const std::string& err) {
  std::vector<std::string> found;
  std::stringstream lines(err);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("hearth: ")) found.push_back(line);
  return found;
}

struct Failing : Sharded {
  // What is said where answers for the content of the shard in the middle are meddled with; the same command goes on
  // when they are no more.
  std::string why(const std::function<void(const HubRequest&, HubReply&)>& meddling) {
    const std::string shard = shards[5];
    hub.meddle = [=, this](const HubRequest& request, HubReply& reply) {
      const bool is_of_shard = contains(request.path, request.to_content_server ? hub.oid(shard) : shard);
      if (is_of_shard && is_of_content(request)) meddling(request, reply);
    };
    const ProcessResult failed = convert({"--keep-shards", "5"});
    CHECK(failed.exit_code == 1);
    CHECK(failed.out == "");
    CHECK(!fs::exists(out));
    const std::vector<std::string> said = complaints(failed.err);
    CHECK(said.size() == 1);
    REQUIRE_MESSAGE(!said.empty(), failed.err);
    CHECK(contains(said[0], shard + ": "));
    CHECK(contains(said[0], "the same command goes on: "));

    const size_t before = recorded();
    hub.meddle = {};
    hub.forget_requests();
    const ProcessResult rest = convert();
    CHECK_MESSAGE(rest.exit_code == 0, rest.err);
    CHECK(contains(rest.err, "going on from tensor ") == (before > 0));
    check_made();
    fs::remove(out);
    return said[0];
  }
};

}  // namespace

TEST_CASE("a hub that changes its mind in the middle of a conversion") {
  Failing failing;
  const auto to_hub = [](const HubRequest& request) { return !request.to_content_server; };
  CHECK(contains(failing.why([&](const HubRequest& request, HubReply& reply) {
    if (!to_hub(request)) reply.body[reply.body.size() / 2] ^= 1;
  }),
                 "expected the SHA-256 "));
  CHECK(contains(failing.why([&](const HubRequest& request, HubReply& reply) {
    if (to_hub(request)) reply.headers["X-Repo-Commit"] = std::string(40, 'f');
  }),
                 "the hub changed its mind: expected commit 0123456789abcdef"));
  CHECK(contains(failing.why([&](const HubRequest& request, HubReply& reply) {
    if (to_hub(request)) reply.headers["X-Linked-Etag"] = std::string(64, '0');
  }),
                 "the hub changed its mind: expected checksum "));
  const auto refuses = [&](int status, const std::string& text) {
    CAPTURE(status);
    CHECK(contains(failing.why([&](const HubRequest& request, HubReply& reply) {
      if (to_hub(request)) reply = {status, {{"Retry-After", "100000"}}, ""};
    }),
                   text));
  };
  refuses(404, "127.0.0.1 answers 404: there is no such thing");
  refuses(401, "127.0.0.1 answers 401: there is no such repository, or it wants a token: set HF_TOKEN");
  refuses(429, "127.0.0.1 answers 429: too many requests, and asks for 100000 s of patience: try again later");
  refuses(503, "127.0.0.1 answers 503, and asks for 100000 s of patience: try again later");
}

TEST_CASE("a header that is not the one of the shard that came") {
  Sharded sharded;
  const std::string shard = sharded.shards[3];
  sharded.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (!request.to_content_server || Sharded::is_of_content(request) ||
        !contains(request.path, sharded.hub.oid(shard)))
      return;
    reply.body.replace(reply.body.find("BF16"), 4, "F16 ");  // of the same size: only the content tells
    reply.body.replace(reply.body.find("\"F16 \""), 6, "\"F16\" ");
  };
  const ProcessResult failed = sharded.convert();
  CHECK(failed.exit_code == 1);
  REQUIRE(complaints(failed.err).size() == 1);
  CHECK(contains(complaints(failed.err)[0], shard + ": its first "));
  CHECK(contains(complaints(failed.err)[0], " bytes are not those that came before; the same command goes on: "));
  CHECK(!fs::exists(sharded.out));
  sharded.hub.meddle = {};
  REQUIRE(sharded.convert().exit_code == 0);
  sharded.check_made();
}

TEST_CASE("weights that are not finite end it, and nothing stays") {
  Sharded sharded;
  std::string content = sharded.hub.content(sharded.shards[4]);
  for (size_t i = content.size() - 1000; i < content.size(); ++i) content[i] = '\xff';
  sharded.hub.add(sharded.shards[4], content);
  const ProcessResult failed = sharded.convert();
  CHECK(failed.exit_code == 1);
  REQUIRE(complaints(failed.err).size() == 1);
  CHECK(contains(complaints(failed.err)[0], sharded.shards[4] + ": "));
  CHECK(contains(complaints(failed.err)[0], "expected finite weights, found NaN"));
  for (const std::string& left : {sharded.out, sharded.work, sharded.out + ".partial"}) CHECK(!fs::exists(left));
}

TEST_CASE("no room for the file and the shards") {
  Sharded sharded;
  constexpr uint64_t kHuge = uint64_t(1) << 45;
  const std::string huge = std::to_string(kHuge), oid = sharded.hub.oid(sharded.shards[2]),
                    size = std::to_string(sharded.hub.content(sharded.shards[2]).size());
  sharded.hub.meddle = [&](const HubRequest& request, HubReply& reply) {
    if (contains(request.path, "/tree/")) {
      const size_t lfs = reply.body.find("\"lfs\":{\"oid\":\"" + oid);
      const size_t second = reply.body.find("\"size\":" + size, lfs);
      reply.body.replace(second, 7 + size.size(), "\"size\":" + huge);
      reply.body.replace(reply.body.rfind("\"size\":" + size, lfs), 7 + size.size(), "\"size\":" + huge);
    }
    if (reply.headers["X-Linked-Etag"] == "\"" + oid + "\"") reply.headers["X-Linked-Size"] = huge;
    std::string& range = reply.headers["Content-Range"];
    if (contains(request.path, oid)) range.replace(range.find('/') + 1, std::string::npos, huge);
  };
  CHECK(sharded.convert({"--dry-run"}).exit_code == 0);
  const ProcessResult refused = sharded.convert();
  CHECK(refused.exit_code == 1);
  REQUIRE(complaints(refused.err).size() == 1);
  CHECK(contains(complaints(refused.err)[0], sharded.out + ": expected room for "));
  CHECK(contains(complaints(refused.err)[0], ", and for 35.2 TB of "));
  INFO(refused.err);
  CHECK(contains(complaints(refused.err)[0], " shards at a time, found "));
  for (const std::string& left : {sharded.out, sharded.work, sharded.out + ".partial"}) CHECK(!fs::exists(left));

  write_text(sharded.out + ".partial", "");  // of an earlier run: the file has its room, but not the shards
  const ProcessResult later = sharded.convert();
  CHECK(later.exit_code == 1);
  REQUIRE(complaints(later.err).size() == 1);
  CHECK(contains(complaints(later.err)[0], sharded.work + ": expected room for 35.2 TB of "));
  CHECK(!fs::exists(sharded.out));
  CHECK(!fs::exists(sharded.work));
}

TEST_CASE("a disk that is full in the middle") {
  Sharded sharded(2);  // larger than the file
  ProcessOptions options = sharded.options();
  options.file_size_limit = 4'000'000;
  const ProcessResult failed = run_hearth(Sharded::command(Sharded::with(sharded.out)), options);
  CHECK(failed.exit_code == 1);
  REQUIRE(complaints(failed.err).size() == 1);
  CHECK(contains(complaints(failed.err)[0],
                 "bytes aside: File too large; the same command goes on: what was fetched is "));
  CHECK(!fs::exists(sharded.out));
  REQUIRE(sharded.convert().exit_code == 0);
  sharded.check_made();
}

TEST_CASE("pull --convert: what is refused") {
  Sharded sharded;
  check_refused(sharded.pull({"--convert", "q9"}), 2, {"q9", "q4_k_m"});
  check_refused(sharded.pull({"--keep-shards", "4"}), 2, {"--keep-shards", "--convert"});
  check_refused(sharded.pull({"--out", "x.gguf"}), 2, {"--out", "--convert"});
  check_refused(sharded.convert({"--keep-shards", "0"}), 2, {"--keep-shards", "0"});
  check_refused(sharded.convert({"--include", "*.json"}), 2, {"lab/Tiny-Chat: expected a checkpoint to convert"});
  CHECK(!fs::exists(sharded.out));
  Pulled gguf;
  gguf.hub.add("tiny.gguf", some_bytes(1000, 1));
  check_refused(gguf.pull({"--convert", "q4_0"}), 2, {"expected *.safetensors"});
}

namespace {

// The command on a terminal, where a person answers what is asked; all that was on the screen.
std::string on_terminal(const Pulled& pulled, const std::vector<std::string>& words, const std::string& folder,
                        const std::string& answer) {
  int fd = -1;
  const pid_t child = forkpty(&fd, nullptr, nullptr, nullptr);
  REQUIRE(child >= 0);
  if (child == 0) {
    for (const auto& [name, value] : pulled.options().environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<std::string> command = words;
    command.insert(command.begin(), hearth_program());
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    if (chdir(folder.c_str()) == 0) execv(arguments[0], arguments.data());
    _exit(127);
  }
  std::string screen;
  bool answered = false;
  char bytes[4096];
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
    screen.append(bytes, size_t(n));
    if (!answered && contains(screen, "[y/N] ")) answered = write(fd, answer.data(), answer.size()) > 0;
  }
  CHECK(ended(child) == (answer == "\x03" ? 130 : 0));
  close(fd);
  return screen;
}

}  // namespace

TEST_CASE("on a terminal, what was pulled is gone on with at a word") {
  Sharded sharded;
  const std::vector<std::string> words = Sharded::command({"--include", "*.safetensors", "--include", "*.json"});
  const std::string question = "Convert it to tiny-chat.gguf by recipe q4_k_m now? [y/N] ",
                    hint = "go on with:  hearth convert " + sharded.snapshot() + " tiny-chat.gguf --recipe q4_k_m";
  const std::string made = sharded.folder / "tiny-chat.gguf";
  for (const char* no : {"\n", "no\n", "\x04"}) {
    const std::string screen = on_terminal(sharded, words, sharded.folder.path(), no);
    CHECK(contains(screen, question));
    CHECK(contains(screen, hint));
  }
  CHECK(!contains(on_terminal(sharded, words, sharded.folder.path(), "\x03"), hint));
  CHECK(!fs::exists(made));
  const std::string screen = on_terminal(sharded, words, sharded.folder.path(), "y\n");
  CHECK(contains(screen, question));
  CHECK(!contains(screen, "go on with:"));
  CHECK(contains(screen, "tiny-chat.gguf: "));
  CHECK(contains(run_hearth({"inspect", made}).out, "q4_k_m"));

  Pulled gguf;
  gguf.hub.add("tiny.gguf", content_of(made));
  const std::string chat = on_terminal(gguf, Sharded::command({}), gguf.folder.path(), "n\n");
  CHECK(contains(chat, "Talk with it now? [y/N] "));
  CHECK(contains(chat, "go on with:  hearth chat " + gguf.snapshot() + "/tiny.gguf"));
}
