// What a model says, on its way to standard output: whole characters, and thoughts set apart from the answer.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/chat/chat_template.h"
#include "runtime/chat/thoughts.h"
#include "runtime/engine/conversation.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::cli {

enum class ShowThoughts {
  apart,   // dim on a terminal, else between <think> and </think>
  hidden,  // not at all
};

class Answer {
 public:
  // `print`: to standard output as it comes. Of a text that is merely continued every character counts.
  static Answer continuation(const Tokenizer& tokenizer, bool print);
  static Answer in_chat(const Tokenizer& tokenizer, const ChatTemplate& format, bool opens_thoughts, ShowThoughts show,
                        bool print);
  void add(Token token);
  // The answer is over: what was held back is shown, and the line ends.
  void finish();

  const std::string& text() const { return text_; }
  const std::string& thoughts() const { return thoughts_; }
  bool began() const { return !text_.empty() || !thoughts_.empty(); }

 private:
  Answer(const Tokenizer& tokenizer, std::optional<ThoughtSplitter> splitter, ShowThoughts show, bool print);
  void push(std::string_view text);
  void show(const SplitText& part);
  void show_thoughts(std::string_view text);
  void show_text(std::string_view text);
  void close_thoughts();
  void write(std::string_view text);

  const Tokenizer& tokenizer_;
  std::optional<ThoughtSplitter> splitter_;  // none: a continuation
  Utf8Stream utf8_;
  const bool hide_, print_, dim_;
  bool thinking_ = false, at_line_start_ = true;
  std::string text_, thoughts_;
};

// Has the answer generated: says how far the reading of the prompt is, and adds every token as it comes. Ctrl-C stops
// it. The caller finishes the answer, unless this throws.
GenerateResult generate_answer(Conversation& conversation, std::span<const Token> prompt, Sampler& sampler,
                               const GenerateOptions& options, Answer& answer);

}  // namespace hearth::cli
