// What a conversation does with its messages and its cache, whoever types them.
#include "runtime/cli/chat/chat_session.h"

#include <doctest/doctest.h>

#include "tests/runtime/cli/chat/demo_session.h"

using namespace hearth;
using namespace hearth::test;

namespace {

const std::string kSum = "What is 12 + 7?", kFrance = "What is the capital of France?";

int64_t read_tokens(const cli::ChatSession& session) {
  return session.counts().prompt_tokens - session.counts().cached_tokens;
}

// Stops before a word.
cli::ChatSession::Listener impatient() {
  cli::ChatSession::Listener listener;
  listener.callbacks.stop_now = [] { return true; };
  return listener;
}

std::string contents(const cli::ChatState& state) {
  std::string all;
  for (const cli::ChatEntry& entry : state.entries) all += entry.files + entry.message.content + "|";
  return all;
}

}  // namespace

TEST_CASE("session: the last question is answered anew, from the cache, and can have other words") {
  DemoSession demo;
  CHECK(refused([&] { demo->again({}, {}); }) == "nothing was asked yet");
  CHECK(refused([&] { demo->undo(); }) != "");
  const std::string sum = demo.ask(kSum), france = demo.ask(kFrance);
  const int64_t read = read_tokens(demo.session);
  CHECK(demo->again({}, {}).repeated);
  CHECK(demo.said() == france);
  CHECK(read_tokens(demo.session) == read + 1);  // the last token, for its logits
  CHECK(demo.again(kSum) == sum);
  CHECK(contents(demo->state()) == kSum + "|" + sum + "|" + kSum + "|" + sum + "|");
  CHECK(demo->last_question() == kSum);
  CHECK(refused([&] { demo->again("\xff", {}); }).starts_with("message: expected UTF-8"));
}

TEST_CASE("session: undo goes back turn by turn, and what stays is in the cache") {
  DemoSession demo;
  demo.ask(kSum);
  const int64_t used = demo->used_tokens();
  CHECK(used > 10);
  demo.ask("Hello!");
  CHECK(demo->used_tokens() > used);
  CHECK(demo->undo() == "Hello!");
  CHECK(demo->used_tokens() == used);
  const int64_t cached = demo->counts().cached_tokens;
  const std::string france = demo.ask(kFrance);
  CHECK(demo->counts().cached_tokens - cached >= used - 1);
  DemoSession other;
  other.ask(kSum);
  CHECK(other.ask(kFrance) == france);
  CHECK(demo->undo() == kFrance);
  CHECK(demo->undo() == kSum);
  CHECK(demo->state().entries.empty());
  CHECK(demo->used_tokens() == 0);
  CHECK(demo->last_answer() == nullptr);
}

TEST_CASE(
    "session: the same seed gives the same answers; asking again takes the next seed, whatever is set meanwhile") {
  cli::ChatSettings warm;
  warm.sampling.temperature = 50.0f;
  warm.sampling.top_p = 1.0f;
  warm.sampling.seed = 8;
  warm.max_tokens = 12;
  DemoSession demo(warm), other(warm);
  const std::string first = demo.ask(kSum);
  CHECK(other.ask(kSum) == first);
  const std::string second = demo.again();
  CHECK(second != first);
  CHECK(demo->sampling().seed == 9);
  cli::ChatSettings settings = demo->settings();
  settings.sampling.top_p = 0.999f;
  demo->set(settings);
  CHECK(demo->sampling().seed == 9);
  CHECK(demo.again() != second);
  CHECK(demo->sampling().seed == 10);
  settings.sampling.seed = 8;
  settings.sampling.top_p = 1.0f;
  settings.max_tokens = 3;
  demo->set(settings);
  CHECK(demo->sampling().seed == 10);  // 8 it was before
  settings.sampling.seed = 4;
  demo->set(settings);
  CHECK(demo->sampling().seed == 4);
  CHECK(demo->again({}, {}).n_tokens == 3);
}

TEST_CASE("session: stopped before a word a question waits, and an earlier answer stays") {
  DemoSession demo;
  CHECK(demo->ask(kSum, impatient()).unanswered);
  CHECK(demo->waits());
  CHECK(!demo->waits_for_room());
  CHECK(demo->last_answer() == nullptr);
  CHECK(demo->counts().answers == 0);
  CHECK(contents(demo->state()) == kSum + "|");
  CHECK(refused([&] { demo->undo(); }) != "");
  const std::string sum = demo.again();
  CHECK(!demo->waits());
  CHECK(contents(demo->state()) == kSum + "|" + sum + "|");
  CHECK(demo->again(kFrance, impatient()).unanswered);
  CHECK(!demo->waits());
  CHECK(contents(demo->state()) == kSum + "|" + sum + "|");
}

TEST_CASE("session: what a stopped answer has said is kept, and can be asked for again") {
  DemoSession demo;
  const std::string whole = demo.ask(kFrance);
  demo->undo();
  cli::ChatSession::Listener listener;
  bool enough = false;
  listener.sink.piece = [&](const SplitText&) { enough = true; };
  listener.callbacks.stop_now = [&] { return enough; };
  const auto reply = demo->ask(kFrance, listener);
  CHECK(reply.reason == StopReason::interrupted);
  CHECK(!reply.unanswered);
  const std::string part = demo.said();
  CHECK(part != "");
  CHECK(part != whole);
  CHECK(whole.starts_with(part));
  CHECK(demo.again() == whole);
}

TEST_CASE("session: a full context refuses with what helps, and the question waits for room") {
  DemoSession demo(greedy(), 64);
  std::string refusal;
  for (int i = 0; i < 10 && refusal.empty(); ++i) refusal = refused([&] { demo.ask(kSum); });
  for (const char* word : {"64", "/undo", "/drop", "/clear", "--ctx"}) CHECK_MESSAGE(contains(refusal, word), refusal);
  CHECK(demo->waits_for_room());
  const std::string before = contents(demo->state());
  CHECK(refused([&] { demo->again({}, {}); }) == refusal);
  CHECK(contents(demo->state()) == before);
  CHECK(demo->drop() > 0);
  CHECK(demo.again() != "");
  CHECK(!demo->waits());
  const std::string long_one(4000, 'x'), kept = contents(demo->state());
  CHECK(contains(refused([&] { demo.ask(long_one); }), "does not fit the context of 64"));
  CHECK(contains(refused([&] { demo.again(long_one); }), "does not fit the context of 64"));
  CHECK(contents(demo->state()) == kept);
  CHECK(!demo->waits());
}

TEST_CASE("session: settings are changed together or not at all") {
  DemoSession demo;
  demo.ask(kSum);
  const auto refusal = [&](auto change) {
    cli::ChatSettings settings = demo->settings();
    settings.max_tokens = 3;
    change(settings);
    const std::string message = refused([&] { demo->set(settings); });
    CHECK(demo->settings().max_tokens == -1);
    return message;
  };
  CHECK(contains(refusal([](auto& s) { s.think = true; }), "think: the chat template"));
  CHECK(contains(refusal([](auto& s) { s.stops = {""}; }), "stop: expected text"));
  CHECK(contains(refusal([](auto& s) { s.system = "\xff"; }), "system: expected UTF-8"));
  CHECK(contains(refusal([](auto& s) { s.schema = R"({"type": 5})"; }), "/type: expected"));
  CHECK(contains(refusal([](auto& s) { s.sampling.temperature = 1e6f; }), "temperature"));

  cli::ChatSettings settings = demo->settings();
  settings.system = "Be brief.";
  const int64_t used = demo->used_tokens();
  demo->set(settings);
  CHECK(demo->used_tokens() > used);  // it stands in front of what was said
  CHECK(demo->state().entries.size() == 2);
  settings.schema = R"({"type": "boolean"})";
  demo->set(settings);
  demo.again();
  CHECK((contains(demo.said(), "true") || contains(demo.said(), "false")));
}

TEST_CASE("session: thinking is switched where the template can, and thoughts are told apart") {
  cli::ChatSettings settings = greedy();
  settings.max_tokens = 8;
  DemoSession demo(settings, 512, "deepseek-v3.1");
  settings.think = true;
  demo->set(settings);
  demo.ask(kSum);
  CHECK(demo->last_answer()->thoughts != "");
  CHECK(demo.said() == "");
  settings.think = false;
  demo->set(settings);
  demo.again();
  CHECK(demo->last_answer()->thoughts == "");
  CHECK(demo.said() != "");
}

TEST_CASE("session: files stand in front of one question, and are refused where they do not fit") {
  DemoSession demo(greedy(), 256);
  CHECK(demo->attach("a.txt", "one").n_tokens > 5);
  demo->attach("b c.txt", "two\nthree");
  CHECK(demo->attached().size() == 2);
  const std::string files =
      "[file name]: a.txt\n[file content begin]\none\n[file content end]\n"
      "[file name]: b c.txt\n[file content begin]\ntwo\nthree\n[file content end]\n";
  const std::string refusal = refused([&] { demo->attach("large.txt", std::string(20000, 'x')); });
  for (const char* part : {"large.txt: its ", " do not fit: ", " of 256 are free", "--ctx"})
    CHECK_MESSAGE(contains(refusal, part), refusal);
  CHECK(demo->attached().size() == 2);
  CHECK(refused([&] { demo.ask("\xff"); }) != "");
  CHECK(demo->attached().size() == 2);  // nothing was asked
  CHECK(demo->ask(kSum, impatient()).unanswered);
  CHECK(demo->attached().empty());  // they wait with the question
  const std::string sum = demo.again();
  CHECK(contents(demo->state()) == files + kSum + "|" + sum + "|");
  CHECK(demo->last_question() == kSum);
  const std::string france = demo.again(kFrance);
  CHECK(contents(demo->state()) == files + kFrance + "|" + france + "|");
  demo.ask("Hello!");
  CHECK(demo->state().entries[2].files == "");
  demo->attach("a.txt", "one");
  demo->detach();
  CHECK(demo->attached().empty());
}

TEST_CASE("session: another conversation is taken whole or not at all") {
  DemoSession demo, other;
  const std::string sum = demo.ask(kSum);
  cli::ChatState state = demo->state();
  state.settings.system = "Be brief.";
  state.entries.emplace_back().message.content = kFrance;
  other.ask("Hello!");
  const std::string before = contents(other->state());
  cli::ChatState wrong = state;
  wrong.settings.sampling.temperature = -5.0f;
  CHECK(contains(refused([&] { other->restore(wrong); }), "temperature"));
  wrong = state;
  wrong.settings.think = true;
  CHECK(refused([&] { other->restore(wrong); }) != "");
  CHECK(contents(other->state()) == before);
  CHECK(other->settings().system == "");
  other->attach("a.txt", "one");
  other->restore(state);
  CHECK(other->attached().empty());
  CHECK(other->settings().system == "Be brief.");
  CHECK(other->waits());
  CHECK(contents(other->state()) == kSum + "|" + sum + "|" + kFrance + "|");
  CHECK(other.again() != "");
  CHECK(other->state().entries.size() == 4);
  other->clear();
  CHECK(other->state().entries.empty());
  CHECK(other->settings().system == "Be brief.");
}
