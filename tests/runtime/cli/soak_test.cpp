// Sixteen clients at once, for a while: each answer is the one that its question gets alone, to the byte, however it is
// batched, whatever prefix it shares, and whoever leaves meanwhile; memory stays what it is.
//
//   HEARTH_SOAK_SECONDS=120 soak_test     for so long (tests/long.sh); CI has a hundredth of it
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "tests/runtime/cli/server.h"
#include "tests/support/sanitized.h"

using namespace hearth::test;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kClients = 16;
// Sums of floats that do not depend on who else is in a step: see "Must hold" of batches. The context is small, so that
// all pages of the cache have been written soon, and memory that still grows is lost.
const std::vector<std::string> kExact = {"--isa", "scalar", "--cache-type", "f32", "--ctx", "256"};

double seconds() {
  const char* given = std::getenv("HEARTH_SOAK_SECONDS");
  return given ? std::stod(given) : 1.2;
}
bool is_short() {
  return seconds() < 60;
}

struct Question {
  std::string path;
  Json body;
  std::string answer = {};  // alone
};

// Some begin alike: with the same system prompt, with a turn before, with the text that another one continues. Scalar
// arithmetic says some hundred tokens a second, so a short soak has few of them.
std::vector<Question> questions() {
  std::vector<std::string> texts = {"What is 2 + 3?", "Hello!", "What is the capital of France?"};
  std::vector<std::string> systems = {"",
                                      "You answer briefly and correctly, you say so where you do not know, you count "
                                      "and sort, and you are always polite to those who ask."};
  std::vector<int> lengths = {1, 70};
  if (!is_short()) {
    texts.insert(texts.end(), {"Sort these: 3 1 2", "Spell cat.", "Count to five.", "What is 12 + 7?", "Who are you?"});
    systems.push_back("Be brief.");
    lengths.push_back(1000);  // until the context is full
  }
  std::vector<Question> all;
  const auto add = [&](const std::string& path, Json body, int n) {
    body.update({{"max_tokens", n}, {"temperature", 0}, {"ignore_eos", true}});
    all.push_back({path, body});
  };
  for (const std::string& text : texts)
    for (const std::string& system : systems) {
      Json messages = Json::array();
      if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
      messages.push_back({{"role", "user"}, {"content", text}});
      add("/v1/chat/completions", {{"messages", messages}}, 24);
      messages.push_back({{"role", "assistant"}, {"content", "Yes."}});
      messages.push_back({{"role", "user"}, {"content", "And what is 3 + 4?"}});
      if (!is_short()) add("/v1/chat/completions", {{"messages", messages}}, 40);
    }
  for (const std::string text : {"One, two,", "One, two, three, four,"})
    for (const int n : lengths) add("/v1/completions", {{"prompt", text}}, n);
  return all;
}

std::string text_of(const Json& choice) {
  for (const char* place : {"message", "delta"})
    if (choice.contains(place)) return choice[place].value("content", "");
  return choice.value("text", "");
}

std::string text_of_whole(const Answer& answer) {
  const Json json = Json::parse(answer.body, nullptr, false);
  if (answer.status != 200 || !json.is_object()) return fmt::format("status {}: {}", answer.status, answer.body);
  return text_of(json["choices"][0]);
}

std::string text_of_event(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || json.contains("error")) return "bad event: " + line;
  return json["choices"].empty() ? "" : text_of(json["choices"][0]);
}

void answer_alone(std::vector<Question>& all) {
  std::vector<std::string> options = kExact;
  options.insert(options.end(), {"--parallel", "1"});
  const Server server(options, [] {
    const std::string path = shared_folder() / "f32.gguf";
    const auto made = run_hearth({"convert", demo_checkpoint(), path, "--recipe", "f32"});
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    return path;
  }());
  for (Question& question : all) question.answer = text_of_whole(server.ask(post(question.path, question.body.dump())));
}

// What the clients found, together.
struct Findings {
  std::atomic<int64_t> whole{0}, streamed{0}, left{0};
  std::mutex mutex;
  std::string wrong;  // the first

  void found(const Question& question, const std::string& answer, const char* how) {
    const std::lock_guard lock(mutex);
    if (wrong.empty())
      wrong = fmt::format("{}: {}\nalone: {}\nfound: {}", how, question.body.dump(), question.answer, answer);
  }
  bool any() {
    const std::lock_guard lock(mutex);
    return !wrong.empty();
  }
};

class Client {
 public:
  Client(uint16_t port, const std::vector<Question>& questions, uint64_t seed, Findings& findings)
      : port_(port), questions_(questions), random_(seed), findings_(findings) {}

  void ask_until(Clock::time_point end) {
    while (Clock::now() < end && !findings_.any()) {
      const Question& question = questions_[random_() % questions_.size()];
      try {
        ask(question, random_() % 10);
      } catch (const std::exception& error) {
        findings_.found(question, error.what(), "broken off");
      }
    }
  }

 private:
  void ask(const Question& question, uint64_t how) {
    if (!connection_) connection_.emplace(port_);
    connection_->patience = std::chrono::minutes(5);  // many tokens of many, in scalar arithmetic, on a busy machine
    Json body = question.body;
    body["stream"] = how > 3;
    connection_->send(post(question.path, body.dump()));
    if (how == 3 || how == 4) {  // who leaves before the answer, or before it has begun
      ++findings_.left;
      return connection_.reset();
    }
    if (how > 3) return read_stream(question, how < 7 ? random_() % 8 : size_t(-1));
    const std::string text = text_of_whole(connection_->answer());
    ++findings_.whole;
    if (text != question.answer) findings_.found(question, text, "whole");
  }

  // Until its end, or for so many pieces.
  void read_stream(const Question& question, size_t n_pieces) {
    std::string text;
    const std::string head = connection_->until("\r\n\r\n");
    if (!head.starts_with("HTTP/1.1 200")) return findings_.found(question, head, "stream");
    std::string unread, piece;
    for (size_t n = 0; n < n_pieces; ++n) {
      if (!connection_->chunk(piece)) return findings_.found(question, text, "cut stream");
      if (piece.empty()) break;
      unread += piece;
      for (size_t end; (end = unread.find("\n\n")) != std::string::npos; unread.erase(0, end + 2)) {
        const std::string event = unread.substr(0, end);
        if (event.starts_with("data: {")) text += text_of_event(event.substr(6));
      }
    }
    const bool whole = piece.empty() && n_pieces > 0;
    ++(whole ? findings_.streamed : findings_.left);
    if (!whole) connection_.reset();
    if (whole ? text != question.answer : !question.answer.starts_with(text)) findings_.found(question, text, "stream");
  }

  uint16_t port_;
  const std::vector<Question>& questions_;
  std::mt19937_64 random_;
  Findings& findings_;
  std::optional<HttpClient> connection_;
};

}  // namespace

TEST_CASE("each answer among many is the one that its question gets alone") {
  std::vector<Question> all = questions();
  answer_alone(all);
  for (const Question& question : all) REQUIRE_MESSAGE(!question.answer.starts_with("status"), question.answer);

  std::vector<std::string> options = kExact;
  options.insert(options.end(), {"--parallel", "8"});  // so that half of them wait
  Server server(options, shared_folder() / "f32.gguf");
  Findings findings;
  const auto soak = [&](double length, uint64_t seed) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(length));
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i)
      threads.emplace_back([&, i] { Client(server.port(), all, seed + uint64_t(i), findings).ask_until(end); });
    for (std::thread& thread : threads) thread.join();
  };
  soak(seconds() / 2, 1);
  const int64_t before = server.resident_bytes();
  soak(seconds() / 2, 100);
  const int64_t after = server.resident_bytes();

  CHECK_MESSAGE(findings.wrong == "", findings.wrong);
  CHECK(server.soon_metric("hearth_requests{state=\"running\"}", 0));
  CHECK(server.metric("hearth_requests_total{result=\"failed\"}") == 0);
  CHECK(server.metric("hearth_requests_total{result=\"refused\"}") == 0);
  const double rows = server.metric("hearth_decode_rows_total"), steps = server.metric("hearth_decode_steps_total");
  MESSAGE(
      fmt::format("{} whole answers, {} streams, {} clients that left; {:.1f} tokens a step; {:.1f} MB resident "
                  "after half of the time, {:.1f} MB at the end",
                  findings.whole.load(), findings.streamed.load(), findings.left.load(), rows / steps,
                  double(before) / 1e6, double(after) / 1e6));
  CHECK(rows / steps > 1.5);  // they did meet
  CHECK(findings.whole + findings.streamed > 0);
  if (!kSanitized) CHECK(after - before < 8 << 20);
  server.signal(SIGTERM);
  CHECK(server.exit_code() == 0);
}
