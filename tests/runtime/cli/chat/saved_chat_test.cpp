// Conversations in files: what is kept, what is refused, and that nothing is lost.
#include "runtime/cli/chat/saved_chat.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/runtime/cli/chat/demo_session.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;
using Role = ChatMessage::Role;

namespace {

cli::ChatEntry entry(Role role, const std::string& content) {
  cli::ChatEntry made;
  made.message.role = role;
  made.message.content = content;
  return made;
}

cli::ChatState full_state() {
  cli::ChatState state;
  state.settings.sampling.temperature = 0.7f;
  state.settings.sampling.top_k = 40;
  state.settings.sampling.repetition_penalty = 1.1f;
  state.settings.sampling.presence_penalty = -0.5f;
  state.settings.sampling.seed = 18446744073709551615u;
  state.settings.system = "Be brief.\nAlways.";
  state.settings.think = false;
  state.settings.max_tokens = 100;
  state.settings.stops = {"\n\n", "</end>"};
  state.settings.schema = R"({"type":"object","properties":{"b":{},"a":{}}})";
  state.entries.push_back(entry(Role::user, "How warm is it, \"here\" & <｜User｜>?"));
  state.entries.back().files = "[file name]: a\n";
  state.entries.push_back(entry(Role::assistant, ""));
  state.entries.back().message.thoughts = "I have to look.\n";
  state.entries.back().message.tool_calls = {{"look", R"({"b": 1,  "a": 2})"}, {"feel", "{}"}};
  state.entries.back().call_ids = {"call_1", "call_2"};
  state.entries.push_back(entry(Role::tool, "12"));
  state.entries.back().answers_call = "call_1";
  state.entries.push_back(entry(Role::tool, "cold"));
  state.entries.back().answers_call = "call_2";
  state.entries.push_back(entry(Role::assistant, "12 degrees 🌡"));
  return state;
}

std::string file_with(const std::string& settings, const std::string& messages) {
  return R"({"format": "hearth chat", "version": 1, "settings": )" + settings + R"(, "messages": )" + messages + "}";
}

}  // namespace

TEST_CASE("saved: all of a conversation comes back as it was, and its messages are OpenAI's") {
  const std::string text = cli::saved_chat(full_state(), "demo");
  const nlohmann::json json = nlohmann::json::parse(text);
  CHECK(json["format"] == "hearth chat");
  CHECK(json["version"] == 1);
  CHECK(json["model"] == "demo");
  CHECK(contains(text, "\"temperature\": 0.7,"));
  CHECK(json["messages"][0] == nlohmann::json{{"role", "system"}, {"content", "Be brief.\nAlways."}});
  CHECK(json["messages"][2]["reasoning_content"] == "I have to look.\n");
  CHECK(json["messages"][2]["tool_calls"][0]["id"] == "call_1");
  CHECK(json["messages"][2]["tool_calls"][0]["function"]["arguments"] == R"({"b": 1,  "a": 2})");
  CHECK(json["messages"][3]["tool_call_id"] == "call_1");

  const cli::ChatState back = cli::parse_chat(text), before = full_state();
  CHECK(back.settings.sampling == before.settings.sampling);
  CHECK(back.settings.system == before.settings.system);
  CHECK(back.settings.think == before.settings.think);
  CHECK(back.settings.max_tokens == before.settings.max_tokens);
  CHECK(back.settings.stops == before.settings.stops);
  CHECK(back.settings.schema == before.settings.schema);
  REQUIRE(back.entries.size() == before.entries.size());
  for (size_t i = 0; i < back.entries.size(); ++i) {
    CHECK(back.entries[i].message.role == before.entries[i].message.role);
    CHECK(back.entries[i].message.content == before.entries[i].files + before.entries[i].message.content);
    CHECK(back.entries[i].message.thoughts == before.entries[i].message.thoughts);
    CHECK(back.entries[i].message.tool_calls == before.entries[i].message.tool_calls);
    CHECK(back.entries[i].call_ids == before.entries[i].call_ids);
    CHECK(back.entries[i].answers_call == before.entries[i].answers_call);
  }
  CHECK(cli::saved_chat(back, "demo") == text);
  CHECK(cli::parse_chat(cli::saved_chat({}, "")).entries.empty());
}

TEST_CASE("saved: results are put into the order of their calls") {
  cli::ChatState state = full_state();
  std::swap(state.entries[2], state.entries[3]);
  CHECK(cli::parse_chat(cli::saved_chat(state, "")).entries[2].answers_call == "call_1");
}

TEST_CASE("saved: a broken file is refused by line or place") {
  const auto check = [](const std::string& text, const std::string& part) {
    const std::string message = refused([&] { cli::parse_chat(text); });
    CHECK_MESSAGE(contains(message, part), message, " should say ", part);
    CHECK(!contains(message, "\n"));
  };
  const std::string one = R"([{"role": "user", "content": "Hello!"}])";
  check("", "the file is empty");
  check("{\n\"format\": \"hearth chat\",\n\"version\": 1,,\n}", "line 3, column 14");
  check("[]", "the file is a list: expected an object");
  check("{}", "format: expected \"hearth chat\", found \"\"");
  check(R"({"format": "hearth chat", "messages": []})", "version: expected 1, found 0");
  check(R"({"format": "hearth chat", "version": 2})", "version: expected 1, found 2");
  check(file_with("{}", "5"), "messages: expected");
  check(file_with("{}", "null"), "messages: expected at least one message");
  check(file_with("{}", R"([{"role": "king", "content": "x"}])"), "messages[0].role: expected system");
  check(file_with("{}", R"([{"role": "user", "content": "x"}, {"role": "user", "content": 5}])"),
        "messages[1].content");
  check(file_with("{}", R"([{"role": "user", "content": [{"type": "image_url"}]}])"), "messages[0].content[0].type");
  check(file_with("{}", R"([{"role": "tool", "content": "x"}])"), "messages[0].role");
  check(file_with("{}", R"([{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}])"),
        "messages[1].tool_call_id");
  check(file_with("[]", one), "settings: expected");
  check(file_with(R"({"temperature": "warm"})", one), "settings.temperature: expected");
  check(file_with(R"({"top_k": 1.5})", one), "settings.top_k: expected");
  check(file_with(R"({"seed": -1})", one), "settings.seed: expected");
  check(file_with(R"({"max_tokens": 0})", one), "settings.max_tokens: expected");
  check(file_with(R"({"stop": ["a", 5]})", one), "settings.stop[1]: expected a string");
  check(file_with(R"({"think": "on"})", one), "settings.think: expected");
  check(file_with("{}", one).insert(0, "\xff"), "the file is not JSON");
}

TEST_CASE("saved: whatever was done to a file, it is read or refused in one line") {
  const std::string whole = cli::saved_chat(full_state(), "demo");
  std::mt19937 random(7);
  const auto draw = [&](size_t n) { return random() % n; };
  int read = 0, refusals = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = whole;
    for (size_t changes = 1 + draw(3); changes > 0; --changes) {
      const size_t at = draw(text.size()), length = draw(std::min<size_t>(text.size() - at, 40)) + 1;
      if (draw(3) == 0) text.erase(at, length);
      if (draw(3) == 0) text.insert(at, text.substr(draw(text.size()), length));
      if (draw(3) == 0) text[std::min(at, text.size() - 1)] = char(draw(256));
    }
    CAPTURE(i);
    std::string again;
    const std::string refusal = refused([&] { again = cli::saved_chat(cli::parse_chat(text), "demo"); });
    CHECK_MESSAGE(!contains(refusal, "\n"), refusal);
    ++(refusal.empty() ? read : refusals);
    if (refusal.empty()) CHECK(cli::saved_chat(cli::parse_chat(again), "demo") == again);
  }
  CHECK(read > 100);
  CHECK(refusals > 100);
}

TEST_CASE("saved: only conversations are written over, and a disk that is full loses nothing") {
  const TempDir dir;
  const std::string path = dir / "my chat.json", text = cli::saved_chat(full_state(), "demo");
  cli::write_chat(path, text);
  CHECK(read_text(path) == text);
  const std::string other = cli::saved_chat({}, "demo");
  cli::write_chat(path, other);
  CHECK(read_text(path) == other);
  fs::create_symlink(path, dir / "link.json");
  cli::write_chat(dir / "link.json", text);
  CHECK(fs::is_symlink(dir / "link.json"));
  CHECK(read_text(path) == text);

  for (const char* foreign : {"thesis", "{\"messages\": []}"}) {
    write_text(dir / "foreign", foreign);
    const std::string message = refused([&] { cli::write_chat(dir / "foreign", text); });
    CHECK_MESSAGE(contains(message, "found another file: left as it is"), message);
    CHECK(read_text(dir / "foreign") == foreign);
  }
  write_text(dir / "empty", "");
  cli::write_chat(dir / "empty", text);
  CHECK(contains(refused([&] { cli::write_chat("/dev/full", text); }), "/dev/full: cannot write: No space left"));
  CHECK(contains(refused([&] { cli::write_chat(dir / "none/x", text); }), "none/x"));
  CHECK(contains(refused([&] { cli::write_chat(dir.path().string(), text); }), "is a folder"));
  CHECK(contains(refused([&] { cli::write_chat("", text); }), "expected the path"));
  CHECK(contains(refused([&] { cli::read_chat(dir / "none"); }), "none: No such file"));
  CHECK(contains(refused([&] { cli::read_chat(dir / "foreign"); }), "foreign: format: expected"));
  CHECK(contains(refused([&] { cli::read_chat("/dev/zero"); }), "/dev/zero: expected at most"));
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 4);  // and nothing half written
}
