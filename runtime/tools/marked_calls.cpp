#include "runtime/tools/marked_calls.h"

#include <utility>

#include "runtime/support/held_back.h"
#include "runtime/tools/event_list.h"

namespace hearth {

namespace {

using Kind = CallEvent::Kind;

constexpr std::string_view kFence = "```", kType = "function";

// What stands between the separator and arguments that do not follow it at once: a name in a line of its own, and a
// fence
// (``` and perhaps a word), either of which may be missing.
struct LongHead {
  bool whole = false;
  std::string_view name = {};
  size_t arguments = 0;  // where they begin
};

LongHead read_long_head(std::string_view text) {
  LongHead head{.arguments = blanks(text)};
  if (text.substr(head.arguments, 1) != "`") {
    const size_t line = text.find('\n', head.arguments);
    if (line == std::string_view::npos) return {};
    head.name = trimmed(text.substr(0, line));
    head.arguments = line + blanks(text.substr(line));
  }
  const std::string_view rest = text.substr(head.arguments);
  if (rest.size() < kFence.size() && kFence.starts_with(rest)) return head;
  if (rest.starts_with(kFence)) {
    const size_t word = rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz", kFence.size());
    if (word == std::string_view::npos) return head;
    head.arguments += word + blanks(rest.substr(word));
  }
  head.whole = true;
  return head;
}

// Blanks, a fence, blanks: what may follow arguments, or be the beginning of it.
bool may_be_tail(std::string_view text) {
  text.remove_prefix(blanks(text));
  if (text.size() <= kFence.size()) return kFence.starts_with(text);
  return text.starts_with(kFence) && trimmed(text.substr(kFence.size())).empty();
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName &&
         text.find_first_of(" \t\r\n{}[]<>\"`") == std::string_view::npos;
}

}  // namespace

std::vector<MarkLexer::Lexeme> MarkLexer::push(std::string_view text, bool control) {
  if (as_tokens_) {
    for (size_t i = 0; control && i < std::size(kCallMarks); ++i)
      if (text == kCallMarks[i]) return {{Mark(i), std::string(text)}};
    return {{no_mark, std::string(text)}};
  }
  held_ += text;
  std::vector<Lexeme> found;
  while (true) {
    size_t at = std::string::npos, certain = held_.size();
    Mark mark = no_mark;
    for (size_t i = 0; i < std::size(kCallMarks); ++i) {
      const size_t here = held_.find(kCallMarks[i]);
      if (here < at) {
        at = here;
        mark = Mark(i);
      }
      certain = std::min(certain, held_.size() - begun(held_, kCallMarks[i]));
    }
    if (const std::string before = held_.substr(0, mark == no_mark ? certain : at); !before.empty())
      found.push_back({no_mark, before});
    if (mark == no_mark) {
      held_.erase(0, certain);
      return found;
    }
    found.push_back({mark, std::string(kCallMarks[mark])});
    held_.erase(0, at + kCallMarks[mark].size());
  }
}

std::string MarkLexer::finish() {
  return std::exchange(held_, {});
}

void MarkedCalls::push(std::string_view text, bool control, std::vector<CallEvent>& out) {
  for (const MarkLexer::Lexeme& lexeme : lexer_.push(text, control)) {
    if (lexeme.mark == MarkLexer::no_mark)
      take_text(lexeme.text, out);
    else
      take_mark(lexeme.mark, out);
  }
}

void MarkedCalls::finish(std::vector<CallEvent>& out) {
  take_text(lexer_.finish(), out);
  if (state_ == State::arguments) add_event(out, Kind::end, "");
  if (state_ == State::head || state_ == State::name || (state_ == State::list && !has_calls_)) give_up(out);
  state_ = State::text;
}

void MarkedCalls::take_text(std::string_view text, std::vector<CallEvent>& out) {
  if (text.empty()) return;
  if (state_ == State::text) return add_event(out, Kind::text, text);
  if (state_ == State::arguments) return take_arguments(text, out);
  raw_ += text;
  if (state_ == State::list && (blanks(text) < text.size() || raw_.size() > kLongestHead)) give_up(out);
  if (state_ == State::tail) take_tail(out);
  if (state_ == State::head) before_ += text;
  if (state_ == State::name) {
    after_ += text;
    return take_name(out);
  }
  if (raw_.size() > kLongestHead) give_up(out);
}

void MarkedCalls::take_mark(Mark mark, std::vector<CallEvent>& out) {
  const std::string_view text = kCallMarks[mark];
  if (state_ == State::arguments) {  // cut short
    add_event(out, Kind::end, "");
    state_ = State::tail;
  }
  if (state_ == State::name && mark == MarkLexer::call_end) return end_call_without_arguments(out);
  if (state_ == State::tail && mark != MarkLexer::separator) {
    raw_.clear();
    state_ = State::list;
    if (mark == MarkLexer::call_end) return;
  }
  if (state_ == State::head && mark == MarkLexer::separator) {
    raw_ += text;
    state_ = State::name;
    return;
  }
  const bool between = state_ == State::text || state_ == State::list;
  if (!between) give_up(out);
  if (mark == MarkLexer::call_begin) {  // some leave out that a list begins
    raw_ += text;
    before_.clear();
    after_.clear();
    state_ = State::head;
  } else if (mark == MarkLexer::calls_begin) {
    if (state_ == State::list) give_up(out);
    raw_ = text;
    has_calls_ = false;
    state_ = State::list;
  } else if (mark == MarkLexer::calls_end && state_ == State::list && has_calls_) {
    raw_.clear();
    state_ = State::text;
    add_event(out, Kind::over, "");
  } else {
    give_up(out);
    add_event(out, Kind::text, text);
  }
}

// Looks at all that came since the separator. What is decided of it does not depend on when it is looked at.
void MarkedCalls::take_name(std::vector<CallEvent>& out) {
  const std::string_view text = after_;
  std::string_view name = trimmed(before_);
  size_t at = blanks(text);
  if (at < text.size() && text[at] != '{') {
    const LongHead head = read_long_head(text);
    if (!head.whole && text.size() > kLongestHead) give_up(out);
    if (!head.whole) return;
    if (!head.name.empty() && name != kType) return give_up(out);
    if (!head.name.empty()) name = head.name;
    at = head.arguments;
  }
  json_ = {};
  size_t seen = at;
  while (seen < text.size() && !json_.has_content() && json_.push(text.substr(seen, 1)) > 0) ++seen;
  const bool fault = seen < text.size() && !json_.has_content();
  if (fault && (json_.begun() || !may_be_tail(text.substr(at)))) return give_up(out);
  if (!json_.has_content()) {
    if (text.size() > kLongestHead) give_up(out);
    return;
  }
  if (seen > kLongestHead + 1 || !is_name(name)) return give_up(out);
  const std::string arguments(text.substr(at));
  begin_call(name, out);
  json_ = {};
  take_arguments(arguments, out);
}

void MarkedCalls::take_arguments(std::string_view text, std::vector<CallEvent>& out) {
  const size_t taken = json_.push(text);
  add_event(out, Kind::arguments, text.substr(0, taken));
  if (taken == text.size() && !json_.complete()) return;
  add_event(out, Kind::end, "");
  state_ = json_.complete() ? State::tail : State::text;
  take_text(text.substr(taken), out);
}

void MarkedCalls::take_tail(std::vector<CallEvent>& out) {
  if (!may_be_tail(raw_) || raw_.size() > kLongestHead) give_up(out);
}

// NAME SEP END, or NAME and an empty fence.
void MarkedCalls::end_call_without_arguments(std::vector<CallEvent>& out) {
  std::string_view name = trimmed(before_);
  bool empty = trimmed(after_).empty();
  if (const std::string line = after_ + "\n"; !empty) {
    const LongHead head = read_long_head(line);
    empty = may_be_tail(std::string_view(line).substr(head.arguments)) && (head.name.empty() || name == kType);
    if (!head.name.empty()) name = std::string_view(after_).substr(line.find(head.name), head.name.size());
  }
  if (!empty || !is_name(name)) {
    raw_ += kCallMarks[MarkLexer::call_end];
    return give_up(out);
  }
  begin_call(name, out);
  add_event(out, Kind::end, "");
  state_ = State::list;
}

void MarkedCalls::begin_call(std::string_view name, std::vector<CallEvent>& out) {
  add_event(out, Kind::begin, name);
  raw_.clear();
  has_calls_ = true;
  state_ = State::arguments;
}

// What was held back is text after all.
void MarkedCalls::give_up(std::vector<CallEvent>& out) {
  add_event(out, Kind::text, std::exchange(raw_, {}));
  state_ = State::text;
}

}  // namespace hearth
