#include "runtime/chat/thoughts.h"

#include <utility>

#include "runtime/support/held_back.h"

namespace hearth {

namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";
constexpr std::string_view kBlanks = " \t\r\n", kLineEnds = "\r\n";

// Takes line ends off the front. False: there may be more to come.
bool skip_line_ends(std::string& text) {
  text.erase(0, text.find_first_not_of(kLineEnds));
  return !text.empty();
}

}  // namespace

ThoughtSplitter::ThoughtSplitter(bool opened, std::string_view lead)
    : state_(opened ? State::thoughts : State::start), lead_(lead) {}

SplitText ThoughtSplitter::push(std::string_view text) {
  pending_ += text;
  SplitText out;
  while (step(out)) {
  }
  return out;
}

SplitText ThoughtSplitter::finish() {
  SplitText out = push("");
  std::string rest = std::exchange(pending_, {});
  if (state_ == State::thoughts) {
    out.thoughts += rest;
  } else {
    if (state_ == State::start && rest.starts_with(lead_)) rest.erase(0, lead_.size());
    out.answer += rest;
  }
  return out;
}

// Moves what is certain from pending_ to `out`. True: the state changed, and there may be more.
bool ThoughtSplitter::step(SplitText& out) {
  switch (state_) {
    case State::start: {
      const size_t blanks = pending_.find_first_not_of(kBlanks);
      if (blanks == std::string::npos) return false;
      const std::string_view text = std::string_view(pending_).substr(blanks);
      if (text.size() < kOpen.size() && kOpen.starts_with(text)) return false;
      if (text.starts_with(kOpen)) {
        pending_.erase(0, blanks + kOpen.size());
        state_ = State::thoughts;
        return true;
      }
      if (pending_.starts_with(lead_)) pending_.erase(0, lead_.size());
      state_ = State::answer;
      return true;
    }
    case State::thoughts: {
      if (at_beginning_) {  // models repeat a tag that the prompt wrote
        if (!skip_line_ends(pending_) || (pending_ != kOpen && kOpen.starts_with(pending_))) return false;
        at_beginning_ = pending_.starts_with(kOpen);
        if (at_beginning_) pending_.erase(0, kOpen.size());
        if (at_beginning_) return true;
      }
      const size_t end = pending_.find(kClose);
      // Line ends in front of the tag are held back until it is known what follows them.
      const std::string_view before = std::string_view(pending_).substr(0, end);
      const size_t tag = end == std::string::npos ? before.size() - begun(before, kClose) : end;
      const size_t certain = before.substr(0, tag).find_last_not_of(kLineEnds) + 1;
      out.thoughts += before.substr(0, certain);
      if (end == std::string::npos) {
        pending_.erase(0, certain);
        return false;
      }
      pending_.erase(0, end + kClose.size());
      state_ = State::after_thoughts;
      return true;
    }
    case State::after_thoughts:
      if (!skip_line_ends(pending_)) return false;
      state_ = State::answer;
      return true;
    case State::answer:
      out.answer += std::exchange(pending_, {});
      return false;
  }
  return false;
}

}  // namespace hearth
