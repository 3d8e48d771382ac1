// What a model says, on its way to standard output.
#pragma once

#include <span>
#include <string_view>

#include "runtime/engine/answer.h"

namespace hearth::cli {

enum class ShowThoughts {
  apart,   // dim on a terminal, else between <think> and </think>
  hidden,  // not at all
};

// Prints the pieces of an answer as they come, and ends its last line. It is to outlive the answer.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(ShowThoughts show);
  AnswerPrinter(const AnswerPrinter&) = delete;
  AnswerPrinter& operator=(const AnswerPrinter&) = delete;

  AnswerSink sink();

 private:
  void show(const SplitText& piece);
  void end();
  void show_thoughts(std::string_view text);
  void close_thoughts();
  void write(std::string_view text);

  const bool hide_, dim_;
  bool thinking_ = false, at_line_start_ = true;
};

// generate_answer for whoever sits at a terminal: says how far the reading of the prompt is, and Ctrl-C stops it.
GenerateResult generate_at_terminal(Conversation& conversation, std::span<const Token> prompt, Sampler& sampler,
                                    const GenerateOptions& options, Answer& answer);

}  // namespace hearth::cli
