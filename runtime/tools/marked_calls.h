#pragma once

#include "runtime/tools/call_parser.h"
#include "runtime/tools/json_prefix.h"

namespace hearth {

// Marks in the text: kCallMarks as control tokens, or as any text where the vocabulary has none.
class MarkLexer {
 public:
  enum Mark { calls_begin, calls_end, call_begin, call_end, separator, no_mark };
  struct Lexeme {
    Mark mark = no_mark;
    std::string text;
  };

  explicit MarkLexer(bool marks_are_tokens) : as_tokens_(marks_are_tokens) {}
  std::vector<Lexeme> push(std::string_view text, bool control);
  std::string finish();  // the rest, which is text

 private:
  bool as_tokens_;
  std::string held_;  // may be the beginning of a mark
};

// BEGINS [BEGIN function SEP NAME \n ```json \n ARGUMENTS \n ``` END \n ...] ENDS, as V2.5, V3 and R1 write it, or
// BEGINS [BEGIN NAME SEP ARGUMENTS END ...] ENDS as V3.1 does. Either is taken from any of them, blanks around the
// parts too; a list that was not begun, or not ended, still has calls.
class MarkedCalls : public CallParser {
 public:
  explicit MarkedCalls(bool marks_are_tokens) : lexer_(marks_are_tokens) {}

  void push(std::string_view text, bool control, std::vector<CallEvent>& out) override;
  void finish(std::vector<CallEvent>& out) override;

 private:
  using Mark = MarkLexer::Mark;
  enum class State { text, list, head, name, arguments, tail };

  void take_text(std::string_view text, std::vector<CallEvent>& out);
  void take_mark(Mark mark, std::vector<CallEvent>& out);
  void take_name(std::vector<CallEvent>& out);
  void take_arguments(std::string_view text, std::vector<CallEvent>& out);
  void take_tail(std::vector<CallEvent>& out);
  void end_call_without_arguments(std::vector<CallEvent>& out);
  void begin_call(std::string_view name, std::vector<CallEvent>& out);
  void give_up(std::vector<CallEvent>& out);

  MarkLexer lexer_;
  State state_ = State::text;
  bool has_calls_ = false;      // of the list under way
  std::string raw_;             // held back: with its marks
  std::string before_, after_;  // of that, what stands before and after the separator
  JsonPrefix json_;
};

}  // namespace hearth
