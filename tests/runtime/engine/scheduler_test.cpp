// Many requests through one model: each gets the answer that it gets alone, whatever the others do.
#include "runtime/engine/scheduler.h"

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <optional>
#include <thread>

#include "runtime/engine/engine.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/tokenizer/vocabulary.h"
#include "tests/support/sanitized.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A tiny model in F32 on the scalar table: its bits do not depend on who else is in a step.
struct Scheduled {
  TinyModel tiny;
  Model model;
  Tokenizer tokenizer{SmallVocabulary().metadata()};

  explicit Scheduled(int64_t n_sequences, int64_t n_ctx = 256, int64_t ubatch = 512, const TinyShape& shape = {})
      : tiny(shape),
        model(tiny.file(), {.ops = &cpu_ops("scalar"),
                            .n_ctx = n_ctx,
                            .n_sequences = n_sequences,
                            .cache_format = FormatId::f32,
                            .ubatch = ubatch,
                            .attention = AttentionForm::absorbed}) {}
};

// Everything that a listener is told, and the order of things among several of them.
struct Heard final : GenerationListener {
  explicit Heard(std::vector<int>* order = nullptr, int name = 0) : order(order), name(name) {}
  void reading(const ReadingProgress& progress) override {
    readings.push_back(progress);
    if (readings.size() == 1) began.set_value();
  }
  bool token(const GeneratedToken& token) override {
    if (gate.valid()) gate.wait();
    if (order) order->push_back(name);
    tokens.push_back(token.token);
    return int(tokens.size()) != enough;
  }
  void finished(const GenerationSummary& told) override {
    check_not_over();
    summary = told;
    done.set_value();
  }
  void failed(const Error& error) override {
    check_not_over();
    failure = error.what();
    done.set_value();
  }
  void check_not_over() const {
    CHECK_FALSE(summary.has_value());
    CHECK(failure.empty());
  }

  std::vector<int>* order;
  int name, enough = -1;
  std::vector<ReadingProgress> readings;
  std::vector<Token> tokens;
  std::optional<GenerationSummary> summary;
  std::string failure;
  std::promise<void> began, done;
  std::shared_future<void> gate;  // the engine waits for it
};

GenerationRequest request(int64_t n_prompt, int64_t max_tokens, uint64_t seed = 1, size_t first = 0) {
  GenerationRequest r;
  const std::vector<Token> all = some_tokens(n_prompt + int64_t(first), 250);
  for (const Token token : std::span(all).subspan(first)) r.prompt.push_back(token + 2);  // neither bos nor eos
  r.sampling = {.temperature = 1.5f, .top_p = 1, .seed = seed};
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  return r;
}

// The answer of a model that has nothing else to do.
std::vector<Token> alone(const GenerationRequest& r, Scheduled& bed) {
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const auto heard = std::make_shared<Heard>();
  scheduler.add(1, r, heard);
  while (scheduler.busy()) scheduler.step();
  REQUIRE(heard->summary.has_value());
  return heard->tokens;
}
std::vector<Token> alone(const GenerationRequest& r) {
  static Scheduled bed(1);
  return alone(r, bed);
}

}  // namespace

TEST_CASE("each answer is the one that is given alone") {
  Scheduled bed(3, 128, 16);
  std::vector<GenerationRequest> requests;
  for (uint64_t i = 0; i < 8; ++i) requests.push_back(request(int64_t(3 + 11 * (i % 5)), int64_t(4 + 3 * i), i, 7 * i));
  std::vector<std::vector<Token>> expected;
  for (const auto& r : requests) expected.push_back(alone(r));
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  std::vector<std::shared_ptr<Heard>> heard;
  for (size_t i = 0; i < requests.size(); ++i) {
    scheduler.add(i + 1, requests[i], heard.emplace_back(std::make_shared<Heard>()));
    if (i % 3 == 0) scheduler.step();
  }
  CHECK(scheduler.status().waiting >= 4);
  int64_t most = 0;
  while (scheduler.busy()) {
    scheduler.step();
    most = std::max(most, scheduler.status().running);
  }
  CHECK(most == 3);
  for (size_t i = 0; i < requests.size(); ++i) {
    CAPTURE(i);
    REQUIRE(heard[i]->summary.has_value());
    CHECK(heard[i]->tokens == expected[i]);
    CHECK(heard[i]->summary->reason == StopReason::max_tokens);
    CHECK(heard[i]->summary->generated_tokens == requests[i].max_tokens);
    CHECK(heard[i]->summary->prompt_tokens == int64_t(requests[i].prompt.size()));
  }
  const EngineStatus status = scheduler.status();
  CHECK(status.finished == 8);
  CHECK(status.running == 0);
  CHECK(status.decode_rows > status.decode_steps);  // weights were read once for several
}

namespace {

// Tokens of one remainder in turn with those of the next; after some, only the end.
class InTurn final : public Constraint {
 public:
  InTurn(const Scheduled& bed, size_t n_tokens)
      : words_(size_t(bed.model.config().vocab_size + 63) / 64), end_(*bed.tokenizer.eos()), n_tokens_(n_tokens) {}
  std::span<const uint64_t> allowed() override {
    std::ranges::fill(words_, 0);
    for (Token t = 0; t < 250; ++t)
      if (accepted.size() == n_tokens_ ? t == end_ : t != end_ && t % 3 == Token(accepted.size() % 3))
        words_[size_t(t) / 64] |= uint64_t(1) << (t % 64);
    return words_;
  }
  void accept(Token token) override { accepted.push_back(token); }

  std::vector<Token> accepted;

 private:
  std::vector<uint64_t> words_;
  Token end_;
  size_t n_tokens_;
};

}  // namespace

TEST_CASE("an answer that is bound to a form keeps to it, and others beside it do not notice") {
  Scheduled bed(3);
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const GenerationRequest free = request(20, 30, 5);
  GenerationRequest bound = request(12, -1, 6), cut = request(12, 4, 7);
  bound.ignore_eos = false;
  const auto form = std::make_shared<InTurn>(bed, 17), other = std::make_shared<InTurn>(bed, 17);
  bound.constraint = form, cut.constraint = other;
  const auto heard_free = std::make_shared<Heard>(), heard = std::make_shared<Heard>(),
             heard_cut = std::make_shared<Heard>();
  scheduler.add(1, free, heard_free);
  scheduler.add(2, bound, heard);
  scheduler.add(3, cut, heard_cut);
  while (scheduler.busy()) scheduler.step();
  CHECK(heard_free->tokens == alone(free));
  REQUIRE(heard->summary.has_value());
  CHECK(heard->summary->reason == StopReason::eos);
  REQUIRE(heard->tokens.size() == 17);
  for (size_t i = 0; i < 17; ++i) CHECK(heard->tokens[i] % 3 == Token(i % 3));
  CHECK(form->accepted.size() == 18);  // and the end
  REQUIRE(heard_cut->summary.has_value());
  CHECK(heard_cut->summary->reason == StopReason::max_tokens);
  CHECK(heard_cut->tokens == other->accepted);
}

TEST_CASE("what a turn shares with what was said before is not read again") {
  Scheduled bed(2);
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const auto ask = [&](const GenerationRequest& r) {
    const auto heard = std::make_shared<Heard>();
    scheduler.add(1, r, heard);
    while (scheduler.busy()) scheduler.step();
    return heard;
  };
  GenerationRequest first = request(100, 20);
  const auto one = ask(first);
  CHECK(one->summary->cached_tokens == 0);
  GenerationRequest second = first;
  second.prompt.insert(second.prompt.end(), one->tokens.begin(), one->tokens.end());
  second.prompt.insert(second.prompt.end(), {5, 6, 7});
  const auto two = ask(second);
  CHECK(two->summary->prompt_tokens == 123);
  CHECK(two->summary->cached_tokens == 119);  // all but the last token sampled, which was never run
  REQUIRE(two->readings.size() == 2);
  CHECK(two->readings[0].done == 119);
  CHECK(two->readings[1].done == 123);
  CHECK(two->tokens == alone(second));
  // An answer once more: only the question's last token is run.
  CHECK(ask(first)->summary->cached_tokens == 99);
  // A prompt that runs is shared as well, though it is not at its end.
  GenerationRequest other = request(70, 40, 3, 500);
  const auto running = std::make_shared<Heard>(), joins = std::make_shared<Heard>();
  scheduler.add(1, other, running);
  scheduler.step();
  other.prompt.push_back(9);
  scheduler.add(2, other, joins);
  while (scheduler.busy()) scheduler.step();
  CHECK(joins->summary->cached_tokens == 70);
  CHECK(joins->tokens == alone(other));
}

TEST_CASE("the same prompt, asked several times at once, is read once") {
  Scheduled bed(3, 256, 32);
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  std::vector<GenerationRequest> requests(3, request(150, 6));
  for (size_t i = 0; i < 3; ++i) requests[i].sampling.seed = i;
  requests[2].prompt.resize(120);
  requests[2].prompt.push_back(9);
  std::vector<std::shared_ptr<Heard>> heard;
  for (size_t i = 0; i < 3; ++i) scheduler.add(i + 1, requests[i], heard.emplace_back(std::make_shared<Heard>()));
  while (scheduler.busy()) scheduler.step();
  CHECK(heard[0]->summary->cached_tokens == 0);
  CHECK(heard[1]->summary->cached_tokens == 149);
  CHECK(heard[2]->summary->cached_tokens == 120);
  CHECK(heard[1]->readings.back().cached == 149);
  for (size_t i = 0; i < 3; ++i) CHECK(heard[i]->tokens == alone(requests[i]));
  const EngineStatus status = scheduler.status();
  CHECK(status.prompt_tokens - status.cached_tokens == 150 + 1 + 1);
}

TEST_CASE("a short request does not throw out a long prefix; a long one does") {
  Scheduled bed(1, 256);
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const auto cached = [&](const GenerationRequest& r) {
    const auto heard = std::make_shared<Heard>();
    scheduler.add(1, r, heard);
    while (scheduler.busy()) scheduler.step();
    return heard->summary->cached_tokens;
  };
  const GenerationRequest conversation = request(190, 1);  // three of four pages
  CHECK(cached(conversation) == 0);
  for (uint64_t i = 0; i < 6; ++i) CHECK(cached(request(40, 5, i, 300 + 50 * i)) == 0);  // titles, summaries ...
  CHECK(cached(conversation) == 189);
  CHECK(cached(request(90, 1, 1, 700)) == 0);  // needs two pages: an end of the long one's is cut off
  CHECK(cached(conversation) == 128);
  CHECK(cached(request(250, 1, 1, 900)) == 0);
  CHECK(cached(conversation) == 0);
}

TEST_CASE("a short question waits for two slices at most while a long text is read, and decoding goes on") {
  Scheduled bed(3, 256, 32);
  std::vector<int> order;
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const auto talker = std::make_shared<Heard>(&order, 0), text = std::make_shared<Heard>(&order, 1),
             question = std::make_shared<Heard>(&order, 2);
  scheduler.add(1, request(5, 200, 1), talker);
  while (talker->tokens.size() < 3) scheduler.step();
  scheduler.add(2, request(250, 2, 2, 20), text);
  while (text->readings.size() < 3) scheduler.step();
  scheduler.add(3, request(20, 2, 3, 400), question);
  const size_t read_before = text->readings.size(), said_before = talker->tokens.size();
  while (question->tokens.empty()) scheduler.step();
  CHECK(text->readings.size() - read_before <= 1);  // the other of the two slices is the question's own
  while (!text->summary) scheduler.step();
  CHECK(talker->tokens.size() > said_before + 4);  // between slices
  while (scheduler.busy()) scheduler.step();
  CHECK(text->tokens == alone(request(250, 2, 2, 20)));
  CHECK(question->tokens == alone(request(20, 2, 3, 400)));
}

namespace {

// Room for prompts that are longer than slices whose end anybody may wait for.
TinyShape long_context(int64_t n_layers) {
  TinyShape shape;
  shape.context = 2048;
  shape.n_layers = n_layers;
  return shape;
}

}  // namespace

TEST_CASE("a long slice is given up for a request that comes at its beginning, and none is given up twice") {
  Scheduled bed(2, 1024, 1024, long_context(2)), other(1, 1024, 64, long_context(2));
  const GenerationRequest long_text = request(700, 2, 2);
  double comes_at = 0;  // share of a slice
  bool came = false;
  const auto listen = [&](const RunProgress* reading) {
    came = reading && reading->share >= comes_at;
    return true;
  };
  const SchedulerOptions options = {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer),
                                    .watch = listen,
                                    .somebody_came = [&] { return came; }};
  {
    Scheduler scheduler(bed.model, bed.tokenizer, options);
    const auto text = std::make_shared<Heard>(), question = std::make_shared<Heard>();
    scheduler.add(1, long_text, text);
    scheduler.step();
    CHECK(text->readings.size() == 1);  // that it begins
    CHECK_FALSE(text->summary.has_value());
    comes_at = 2;
    came = false;
    scheduler.add(2, request(20, 2, 3, 400), question);
    while (question->tokens.empty()) scheduler.step();
    CHECK(text->readings.size() == 1);
    while (scheduler.busy()) scheduler.step();
    CHECK(question->tokens == alone(request(20, 2, 3, 400), other));
    CHECK(text->tokens == alone(long_text, other));
  }
  const auto read = [&](Model& model) {  // tokens read after each step
    Scheduler scheduler(model, bed.tokenizer, options);
    const auto text = std::make_shared<Heard>();
    scheduler.add(1, long_text, text);
    came = false;
    std::vector<int64_t> done;
    while (text->tokens.empty()) {
      scheduler.step();
      done.push_back(text->readings.back().done);
    }
    return done;
  };
  comes_at = 0;  // as if ever new ones came: the next slice is short enough for them to wait
  CHECK(read(bed.model) == std::vector<int64_t>{0, 512, 700});
  comes_at = 0.4;  // a layer of two is done, and the rest is no matter of seconds
  CHECK(read(bed.model) == std::vector<int64_t>{700});
  Scheduled single(1, 1024, 1024, long_context(2));
  comes_at = 0;  // there is no place for another one
  CHECK(read(single.model) == std::vector<int64_t>{700});
}

TEST_CASE("engine: a question does not wait for a long slice") {
  Scheduled bed(2, 2048, 2048, long_context(1));
  std::vector<int> order;
  const auto text = std::make_shared<Heard>(&order, 1), question = std::make_shared<Heard>(&order, 2);
  Engine engine(bed.model, bed.tokenizer, 1);
  engine.submit(request(2000, 1, 2), text);
  text->began.get_future().wait();
  engine.submit(request(20, 1, 3, 400), question);
  text->done.get_future().wait();
  question->done.get_future().wait();
  CHECK(order == std::vector<int>{2, 1});
}

TEST_CASE("ends: eos, a stop token, a stop string, a full context, nothing asked for, cancelled") {
  Scheduled bed(2, 64);
  Scheduler scheduler(bed.model, bed.tokenizer, {.forbidden = unused_tokens(bed.model.config(), bed.tokenizer)});
  const auto ask = [&](const GenerationRequest& r, int enough = -1) {
    const auto heard = std::make_shared<Heard>();
    heard->enough = enough;
    scheduler.add(1, r, heard);
    while (scheduler.busy()) scheduler.step();
    REQUIRE(heard->summary.has_value());
    return heard;
  };
  GenerationRequest r = request(10, 12);
  const std::vector<Token> tokens = ask(r)->tokens;
  r.stop_tokens = {tokens[5]};
  const auto stopped = ask(r);
  CHECK(stopped->summary->reason == StopReason::eos);
  CHECK(stopped->tokens.size() <= 5);
  r.stop_tokens.clear();
  CHECK(ask(r, 4)->summary->reason == StopReason::stop_string);
  CHECK(ask(r, 4)->tokens.size() == 4);
  r.max_tokens = -1;
  const auto full = ask(r);
  CHECK(full->summary->reason == StopReason::context_full);
  CHECK(full->tokens.size() == 64 - 10 + 1);
  r.max_tokens = 0;
  CHECK(ask(r)->summary->reason == StopReason::max_tokens);
  CHECK(ask(r)->tokens.empty());

  const auto running = std::make_shared<Heard>(), waiting = std::make_shared<Heard>();
  for (uint64_t id = 1; id <= 2; ++id) scheduler.add(id, request(5, 50), id == 1 ? running : std::make_shared<Heard>());
  scheduler.add(3, request(5, 50), waiting);
  for (int i = 0; i < 8; ++i) scheduler.step();
  CHECK(waiting->readings.empty());
  scheduler.cancel(3);
  CHECK(waiting->summary->reason == StopReason::interrupted);
  scheduler.cancel(1);
  CHECK(running->summary->reason == StopReason::interrupted);
  CHECK(!running->tokens.empty());
  scheduler.cancel(1);  // is over already
  while (scheduler.busy()) scheduler.step();
  CHECK(scheduler.status().cancelled == 2);

  const auto refused = [&](ErrorKind kind, const GenerationRequest& wrong) {
    return refusal(kind, [&] { scheduler.check(wrong); });
  };
  CHECK(mentions(refused(ErrorKind::usage, request(0, 1)), {"prompt is empty"}));
  CHECK(mentions(refused(ErrorKind::resource, request(65, 1)), {"65", "64"}));
  r.prompt[3] = 300;
  CHECK(mentions(refused(ErrorKind::usage, r), {"token 300"}));
  r = request(5, 1);
  r.sampling.temperature = -1;
  CHECK(mentions(refused(ErrorKind::usage, r), {"temperature"}));
}

TEST_CASE("engine: requests from several threads, a full queue, cancelling, and an end in mid-sentence") {
  Scheduled bed(3, 128);
  constexpr uint64_t kRequests = kSanitized ? 12 : 40;
  std::vector<GenerationRequest> requests;
  std::vector<std::vector<Token>> expected;
  for (uint64_t i = 0; i < kRequests; ++i) requests.push_back(request(int64_t(2 + i % 30), int64_t(1 + i % 12), i, i));
  for (const auto& r : requests) expected.push_back(alone(r));
  {
    Engine engine(bed.model, bed.tokenizer, int64_t(kRequests));
    std::vector<std::shared_ptr<Heard>> heard(kRequests);
    for (auto& h : heard) h = std::make_shared<Heard>();
    std::vector<std::thread> clients;
    for (uint64_t client = 0; client < 4; ++client) {
      clients.emplace_back([&, client] {
        for (uint64_t i = client; i < kRequests; i += 4) engine.submit(requests[i], heard[i]);
      });
    }
    for (std::thread& client : clients) client.join();
    for (auto& h : heard) h->done.get_future().wait();
    for (uint64_t i = 0; i < kRequests; ++i) CHECK(heard[i]->tokens == expected[i]);
  }
  Engine engine(bed.model, bed.tokenizer, 1);
  std::vector<std::shared_ptr<Heard>> heard;
  std::vector<uint64_t> ids;
  std::promise<void> gate;
  const std::shared_future<void> opens = gate.get_future().share();
  for (int i = 0; i < 4; ++i) {
    heard.push_back(std::make_shared<Heard>());
    heard.back()->gate = opens;
    ids.push_back(engine.submit(request(5, 100), heard.back()));
  }
  try {
    engine.submit(request(5, 100), std::make_shared<Heard>());
    FAIL_CHECK("nothing was refused");
  } catch (const QueueFull& full) {
    CHECK(full.retry_after >= 1);
    CHECK(mentions(full.what(), {"1 requests wait already"}));
  }
  CHECK(engine.status().refused == 1);
  for (const uint64_t id : ids) engine.cancel(id);
  gate.set_value();
  for (auto& h : heard) h->done.get_future().wait();
  for (auto& h : heard) CHECK(h->summary->reason == StopReason::interrupted);
  engine.submit(request(5, 2), heard.emplace_back(std::make_shared<Heard>()));  // and there is room again
  heard.back()->done.get_future().wait();
  CHECK(heard.back()->summary->reason == StopReason::max_tokens);
  std::shared_ptr<Heard> cut = std::make_shared<Heard>();
  {
    Engine ends(bed.model, bed.tokenizer, 1);
    ends.submit(request(5, -1), cut);
  }
  CHECK(cut->summary->reason == StopReason::interrupted);
}

TEST_CASE("weights that are not numbers end the requests that meet them, and no others") {
  TinyModel broken;
  for (auto& tensor : broken.tensors) {
    if (tensor.name == "output.weight") tensor.values.assign(tensor.values.size(), std::nanf(""));
  }
  Model model(broken.file(), {.ops = &cpu_ops("scalar"), .n_sequences = 2});
  const Tokenizer tokenizer{SmallVocabulary().metadata()};
  Scheduler scheduler(model, tokenizer);
  const auto one = std::make_shared<Heard>(), two = std::make_shared<Heard>();
  scheduler.add(1, request(5, 3), one);
  scheduler.add(2, request(6, 3), two);
  while (scheduler.busy()) scheduler.step();
  CHECK(mentions(one->failure, {"not a number", "hearth verify"}));
  CHECK(mentions(two->failure, {"not a number"}));
  CHECK(scheduler.status().failed == 2);
}
