#include "runtime/cli/answer.h"

#include "quant/error.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

constexpr std::string_view kDim = "\033[2m", kPlain = "\033[0m";

}  // namespace

Answer::Answer(const Tokenizer& tokenizer, std::optional<ThoughtSplitter> splitter, ShowThoughts show, bool print)
    : tokenizer_(tokenizer),
      splitter_(std::move(splitter)),
      hide_(show == ShowThoughts::hidden),
      print_(print),
      dim_(stdout_has_colours()) {}

Answer Answer::continuation(const Tokenizer& tokenizer, bool print) {
  return Answer(tokenizer, std::nullopt, ShowThoughts::apart, print);
}

Answer Answer::in_chat(const Tokenizer& tokenizer, const ChatTemplate& format, bool opens_thoughts, ShowThoughts show,
                       bool print) {
  return Answer(tokenizer, ThoughtSplitter(opens_thoughts, format.answer_lead()), show, print);
}

void Answer::add(Token token) {
  push(utf8_.push(tokenizer_.bytes_of(token, true)));
  if (print_) flush_out();
}

void Answer::finish() {
  push(utf8_.finish());
  if (splitter_) show(splitter_->finish());
  close_thoughts();
  write("\n");
  if (print_) flush_out();
}

void Answer::push(std::string_view text) {
  if (splitter_) {
    show(splitter_->push(text));
  } else {
    text_ += text;
    write(text);
  }
}

void Answer::show(const SplitText& part) {
  if (!part.thoughts.empty()) show_thoughts(part.thoughts);
  if (!part.answer.empty()) show_text(part.answer);
}

void Answer::show_thoughts(std::string_view text) {
  thoughts_ += text;
  if (hide_) return;
  if (!thinking_) write(dim_ ? kDim : "<think>\n");
  thinking_ = true;
  write(text);
}

void Answer::show_text(std::string_view text) {
  close_thoughts();
  text_ += text;
  write(text);
}

// Thoughts end where the answer begins, or where the model was stopped while it thought.
void Answer::close_thoughts() {
  if (!thinking_) return;
  thinking_ = false;
  if (!at_line_start_) write("\n");
  write(dim_ ? kPlain : "</think>\n");
  write("\n");
  at_line_start_ = true;
}

void Answer::write(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  if (print_) write_out(text);
}

GenerateResult generate_answer(Conversation& conversation, std::span<const Token> prompt, Sampler& sampler,
                               const GenerateOptions& options, Answer& answer) {
  ReadingLine reading;
  GenerateCallbacks callbacks;
  callbacks.stop_now = interrupted;
  callbacks.on_reading = [&](const RunProgress& progress) { reading.show(progress); };
  callbacks.on_token = [&](Token token) {
    reading.finish();
    answer.add(token);
  };
  try {
    return conversation.generate(prompt, sampler, options, callbacks);
  } catch (const Error&) {
    if (answer.began()) answer.finish();  // half an answer is a line too
    throw;
  }
}

}  // namespace hearth::cli
