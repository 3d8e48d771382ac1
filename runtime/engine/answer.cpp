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
                       const std::vector<std::string>& stops, AnswerSink sink) {
  return Answer(tokenizer, ThoughtSplitter(opens_thoughts, lead), stops, std::move(sink));
}

void Answer::add(Token token) {
  take(split(utf8_.push(tokenizer_.bytes_of(token, true))));
}

void Answer::finish() {
  take(split(utf8_.finish()));
  if (splitter_) take(splitter_->finish());
  const std::string rest = stops_.finish();
  text_ += rest;
  if (!rest.empty() && sink_.piece) sink_.piece({"", rest});
  if (sink_.end) sink_.end();
}

SplitText Answer::split(std::string_view text) {
  return splitter_ ? splitter_->push(text) : SplitText{"", std::string(text)};
}

void Answer::take(SplitText piece) {
  piece.answer = stops_.push(piece.answer);
  thoughts_ += piece.thoughts;
  text_ += piece.answer;
  if ((!piece.thoughts.empty() || !piece.answer.empty()) && sink_.piece) sink_.piece(piece);
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
