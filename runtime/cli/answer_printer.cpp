#include "runtime/cli/answer_printer.h"

#include "runtime/cli/reading_line.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

constexpr std::string_view kDim = "\033[2m", kPlain = "\033[0m";

}  // namespace

AnswerPrinter::AnswerPrinter(ShowThoughts show) : hide_(show == ShowThoughts::hidden), dim_(stdout_has_colours()) {}

AnswerSink AnswerPrinter::sink() {
  return {.piece = [this](const SplitText& piece) { show(piece); }, .end = [this] { end(); }};
}

void AnswerPrinter::show(const SplitText& piece) {
  if (!piece.thoughts.empty() && !hide_) show_thoughts(piece.thoughts);
  if (!piece.answer.empty()) {
    close_thoughts();
    write(piece.answer);
  }
  flush_out();
}

void AnswerPrinter::end() {
  close_thoughts();
  write("\n");
  flush_out();
}

void AnswerPrinter::show_thoughts(std::string_view text) {
  if (!thinking_) write(dim_ ? kDim : "<think>\n");
  thinking_ = true;
  write(text);
}

// Thoughts end where the answer begins, or where the model was stopped while it thought.
void AnswerPrinter::close_thoughts() {
  if (!thinking_) return;
  thinking_ = false;
  if (!at_line_start_) write("\n");
  write(dim_ ? kPlain : "</think>\n");
  write("\n");
}

void AnswerPrinter::write(std::string_view text) {
  at_line_start_ = text.back() == '\n';
  write_out(text);
}

GenerateCallbacks terminal_callbacks(ReadingLine& reading) {
  GenerateCallbacks callbacks;
  callbacks.stop_now = interrupted;
  callbacks.on_reading = [&](const RunProgress& progress) { reading.show(progress); };
  callbacks.on_token = [&](Token) { reading.finish(); };
  return callbacks;
}

}  // namespace hearth::cli
