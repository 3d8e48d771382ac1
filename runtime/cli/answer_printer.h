// What a model says, on its way to standard output.
#pragma once

#include <string_view>

#include "runtime/engine/answer.h"

namespace hearth::cli {

class ReadingLine;

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

// For whoever sits at a terminal: `reading`, which is to outlive the answer, says how far the reading of the prompt is,
// and Ctrl-C stops it.
GenerateCallbacks terminal_callbacks(ReadingLine& reading);

}  // namespace hearth::cli
