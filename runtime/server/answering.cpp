#include "runtime/server/answering.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/call_memory.h"
#include "runtime/server/openai_shapes.h"

namespace hearth::server {

class Answering::Listener : public GenerationListener {
 public:
  Listener(std::shared_ptr<Answering> answering, size_t index) : answering_(std::move(answering)), index_(index) {}

  void reading(const ReadingProgress& progress) override { answering_->reading(index_, progress); }
  bool token(const GeneratedToken& token) override { return answering_->token(index_, token); }
  void finished(const GenerationSummary& summary) override { answering_->finished(index_, summary); }
  void failed(const Error& error) override { answering_->failed(ApiError(500, error.what())); }

 private:
  std::shared_ptr<Answering> answering_;
  size_t index_;
};

Answering::Answering(Serving serving, AskedAnswer asked, std::shared_ptr<HttpExchange> exchange)
    : serving_(std::move(serving)),
      task_(std::move(asked.task)),
      writer_(std::move(asked.writer)),
      exchange_(std::move(exchange)) {
  for (size_t i = 0; i < task_.n_choices(); ++i) add_choice(i);
}

void Answering::add_choice(size_t index) {
  const Tokenizer& tokenizer = *serving_.model->tokenizer;
  AnswerSink sink;
  if (task_.stream) {
    sink.piece = [this, index](const SplitText& piece) {
      Choice& choice = choices_[index];
      choice.text += piece.answer;
      choice.thoughts += piece.thoughts;
      // Logged tokens wait for the text that they are part of.
      const auto logged = piece.answer.empty() ? std::span<const GeneratedToken>() : unwritten(index);
      write(writer_->piece(choice, piece, logged));
    };
  }
  if (task_.calls) sink.call = [this, index](const CallEvent& event) { call(index, event); };
  answers_.push_back(task_.chat
                         ? Answer::in_chat(tokenizer, task_.opens_thoughts, task_.lead, task_.stops, sink, task_.calls)
                         : Answer::continuation(tokenizer, task_.stops, sink));
  n_written_.push_back(0);
  n_of_text_.push_back(0);
  tokens_.emplace_back();
  const size_t prompt = index / size_t(task_.n), number = index % size_t(task_.n);
  choices_.push_back(
      {.index = index, .n_prompt = int64_t(task_.prompts[prompt].size()), .seed = task_.each.sampling.seed + number});
}

void Answering::start() {
  exchange_->when_left([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->cancel_all();
  });
  if (task_.stream) held_ = writer_->began(choices_);
  try {
    for (size_t i = 0; i < task_.n_choices(); ++i) {
      GenerationRequest request = task_.each;
      request.prompt = task_.prompts[i / size_t(task_.n)];
      request.sampling.seed = choices_[i].seed;
      if (!task_.constraints.empty()) request.constraint = task_.constraints[i];
      remember(serving_.generator->submit(std::move(request), std::make_shared<Listener>(shared_from_this(), i)));
    }
  } catch (...) {
    cancel_all();
    if (abandon()) throw;
    return;
  }
  open();
}

// --- Called by the engine.

void Answering::reading(size_t index, const ReadingProgress& progress) {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  choices_[index].reading = progress;
  if (task_.stream) write(writer_->reading(choices_[index]));
}

// By the answer, with mutex_ held.
void Answering::call(size_t index, const CallEvent& event) {
  Choice& choice = choices_[index];
  if (event.kind == CallEvent::Kind::begin) {
    const char* prefix = writer_->dialect() == Dialect::anthropic ? "toolu_" : "call_";
    choice.calls.push_back(
        {.id = random_id(prefix), .name = event.text, .text_before = answers_[index].calls().back().text_before});
  } else if (event.kind == CallEvent::Kind::arguments) {
    choice.calls.back().arguments += event.text;
  }
  if (task_.stream) write(writer_->call(choice, event));
}

bool Answering::token(size_t index, const GeneratedToken& token) {
  const std::lock_guard lock(mutex_);
  if (over_) return false;
  Choice& choice = choices_[index];
  Answer& answer = answers_[index];
  const bool thought_before = answer.thinking();
  if (task_.each.n_logprobs >= 0) choice.logged.push_back(token);  // first: the answer hands it on with the text
  if (task_.calls) tokens_[index].push_back(token.token);
  ++choice.n_tokens;
  const size_t text_before = answer.text().size();
  answer.add(token.token);
  if (answer.text().size() > text_before) n_of_text_[index] = choice.logged.size();
  const bool thought = thought_before || answer.thinking();
  choice.n_thinking += thought;
  if (thought) n_of_text_[index] = 0;
  if (thought) choice.logged.clear();  // all so far were thoughts and their marks
  return !answer.stopped();
}

void Answering::finished(size_t index, const GenerationSummary& summary) {
  if (summary.reason == StopReason::interrupted) return failed(ApiError(503, "the server ends"));
  const std::lock_guard lock(mutex_);
  if (over_) return;
  Choice& choice = choices_[index];
  Answer& answer = answers_[index];
  choice.summary = summary;
  choice.stopped_by = answer.stopped_by();
  drop_stop_string(index);
  answer.finish(summary.reason);
  choice.text = answer.text();
  choice.thoughts = answer.thoughts();
  choice.over = true;
  if (!choice.calls.empty()) {
    const size_t of_text = std::max(n_of_text_[index], n_written_[index]);
    choice.logged.resize(std::min(choice.logged.size(), of_text));  // tokens of calls are not the text's
    serving_.memory->keep(choice.calls, std::move(tokens_[index]));
  }
  if (task_.stream) {
    if (const auto logged = unwritten(index); !logged.empty()) write(writer_->piece(choice, {}, logged));
    write(writer_->ended(choice));
  }
  if (++n_over_ == choices_.size()) complete();
}

void Answering::failed(const ApiError& error) {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (task_.stream && opened_) {
      write(writer_->failed(error));
      end();
    } else {
      over_ = true;
      exchange_->reply(error_response(writer_->dialect(), error));
    }
  }
  cancel_all();
}

// The tokens of a stop string, and those behind it, are not of the answer.
void Answering::drop_stop_string(size_t index) {
  std::vector<GeneratedToken>& logged = choices_[index].logged;
  size_t cut = answers_[index].cut_bytes();
  while (logged.size() > n_written_[index]) {
    const size_t bytes = serving_.model->tokenizer->bytes_of(logged.back().token, true).size();
    if (bytes == 0 || bytes > cut) break;
    cut -= bytes;
    logged.pop_back();
  }
}

std::span<const GeneratedToken> Answering::unwritten(size_t index) {
  const std::vector<GeneratedToken>& logged = choices_[index].logged;
  return std::span(logged).subspan(std::exchange(n_written_[index], logged.size()));
}

// --- What is sent. With mutex_ held.

void Answering::write(const std::string& text) {
  if (text.empty() || over_) return;
  last_sent_ = Clock::now();
  if (opened_)
    exchange_->send(text);
  else
    held_ += text;
}

void Answering::complete() {
  if (task_.stream) {
    write(writer_->completed(choices_));
    end();
  } else {
    over_ = true;
    exchange_->reply({.body = to_text(writer_->whole(choices_))});
  }
}

void Answering::end() {
  if (opened_) {
    over_ = true;
    exchange_->end();
  } else {
    ended_ = true;
  }
}

void Answering::open() {
  const std::lock_guard lock(mutex_);
  if (over_ || !task_.stream) return;
  opened_ = true;
  exchange_->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  write(std::exchange(held_, {}));
  last_sent_ = Clock::now();
  if (ended_) end();
}

void Answering::tick(std::chrono::milliseconds silence) {
  const std::lock_guard lock(mutex_);
  if (opened_ && !over_ && Clock::now() - last_sent_ >= silence) write(writer_->ping());
}

void Answering::cut() {
  failed(ApiError(503, "the server ends"));
}

// Whether nobody was answered: and nobody will be.
bool Answering::abandon() {
  const std::lock_guard lock(mutex_);
  return !std::exchange(over_, true);
}

// --- The choices at the engine.

void Answering::remember(uint64_t request) {
  bool late = false;
  {
    const std::lock_guard lock(requests_mutex_);
    requests_.push_back(request);
    late = cancelled_;
  }
  if (late) serving_.generator->cancel(request);
}

void Answering::cancel_all() {
  std::vector<uint64_t> requests;
  {
    const std::lock_guard lock(requests_mutex_);
    cancelled_ = true;
    requests = requests_;
  }
  for (const uint64_t request : requests) serving_.generator->cancel(request);
}

}  // namespace hearth::server
