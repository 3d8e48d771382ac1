#include "runtime/engine/answer.h"

#include <utility>

#include "quant/error.h"

namespace hearth {

Answer::Answer(const Tokenizer& tokenizer, std::optional<ThoughtSplitter> splitter,
               const std::vector<std::string>& stops, AnswerSink sink)
    : tokenizer_(tokenizer), splitter_(std::move(splitter)), stops_(stops), sink_(std::move(sink)) {}

Answer Answer::continuation(const Tokenizer& tokenizer, const std::vector<std::string>& stops, AnswerSink sink) {
  return Answer(tokenizer, std::nullopt, stops, std::move(sink));
}

Answer Answer::in_chat(const Tokenizer& tokenizer, bool opens_thoughts, std::string_view lead,
                       const std::vector<std::string>& stops, AnswerSink sink, const std::optional<CallWishes>& calls) {
  Answer answer(tokenizer, ThoughtSplitter(opens_thoughts, lead), stops, std::move(sink));
  if (calls) {
    answer.parser_ = make_call_parser(calls->syntax);
    answer.parses_thoughts_ = calls->syntax.in_thoughts();
    answer.one_call_only_ = calls->one_only;
  }
  return answer;
}

void Answer::add(Token token) {
  const std::string bytes = tokenizer_.bytes_of(token, true);
  const bool control = tokenizer_.is_control(token);
  if (control) add_text(utf8_.finish(), false);  // half a character in front of it stays half
  add_text(utf8_.push(bytes), control);
}

void Answer::finish(StopReason reason) {
  const bool cut = reason == StopReason::max_tokens || reason == StopReason::context_full;
  if (!cut) add_text(utf8_.finish(), false);
  if (parser_ && parses_thoughts_) {
    parser_->finish(events_);
    take_events();
  }
  if (splitter_) take(splitter_->finish());
  if (parser_ && !parses_thoughts_) {
    parser_->finish(events_);
    take_events();
  }
  flush();
  if (sink_.end) sink_.end();
}

// Where calls are control tokens they are taken out first, and what is left is thoughts and answer. Where they are
// text, only the answer has any.
void Answer::add_text(std::string_view text, bool control) {
  if (text.empty() || calls_over_) return;
  if (!parser_ || !parses_thoughts_) return take(split(text));
  parser_->push(text, control, events_);
  take_events();
}

void Answer::take_events() {
  const std::vector<CallEvent> events = std::exchange(events_, {});
  for (const CallEvent& event : events) {
    if (stopped()) return;
    if (event.kind == CallEvent::Kind::over)
      calls_over_ = true;
    else if (event.kind != CallEvent::Kind::text)
      take_call(event);
    else if (parses_thoughts_)
      take(split(event.text));
    else
      say(event.text);
  }
}

void Answer::take_call(const CallEvent& event) {
  if (event.kind == CallEvent::Kind::begin) {
    if (parses_thoughts_) take(splitter_->finish());
    flush();
    calls_.push_back({{event.text, ""}, text_.size()});
  } else if (event.kind == CallEvent::Kind::arguments) {
    calls_.back().arguments += event.text;
  } else {
    calls_over_ = one_call_only_;
  }
  if (sink_.call) sink_.call(event);
}

SplitText Answer::split(std::string_view text) {
  return splitter_ ? splitter_->push(text) : SplitText{"", std::string(text)};
}

void Answer::take(SplitText piece) {
  if (!parser_ || parses_thoughts_) {
    piece.answer = stops_.push(piece.answer);
    thoughts_ += piece.thoughts;
    text_ += piece.answer;
    if ((!piece.thoughts.empty() || !piece.answer.empty()) && sink_.piece) sink_.piece(piece);
    return;
  }
  thoughts_ += piece.thoughts;
  if (!piece.thoughts.empty() && sink_.piece) sink_.piece({piece.thoughts, ""});
  if (piece.answer.empty()) return;
  parser_->push(piece.answer, false, events_);
  take_events();
}

void Answer::say(std::string_view answer) {
  const std::string certain = stops_.push(answer);
  text_ += certain;
  if (!certain.empty() && sink_.piece) sink_.piece({"", certain});
}

// What may have been the beginning of a stop string is none.
void Answer::flush() {
  const std::string rest = stops_.finish();
  text_ += rest;
  if (!rest.empty() && sink_.piece) sink_.piece({"", rest});
}

GenerateResult generate_answer(Conversation& conversation, std::span<const Token> prompt, Sampler& sampler,
                               const GenerateOptions& options, Answer& answer, GenerateCallbacks callbacks) {
  callbacks.on_token = [&answer, told = std::move(callbacks.on_token)](Token token) {
    if (told) told(token);
    answer.add(token);
  };
  callbacks.enough = [&answer, enough = std::move(callbacks.enough)] {
    return answer.stopped() || (enough && enough());
  };
  try {
    return conversation.generate(prompt, sampler, options, callbacks);
  } catch (const Error&) {
    if (answer.began()) answer.finish();
    throw;
  }
}

}  // namespace hearth
