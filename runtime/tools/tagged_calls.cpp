#include "runtime/tools/tagged_calls.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/support/held_back.h"
#include "runtime/tools/event_list.h"

namespace hearth {

namespace {

using Kind = CallEvent::Kind;

constexpr std::string_view kCallTag = "<tool_call>", kCallEndTag = "</tool_call>";
constexpr size_t kMostHeld = 4096;  // bytes: every decision is made of so many at most

// The text of a whole JSON string; what JSON cannot mean by it is "".
std::string unescaped(std::string_view string) {
  const auto json = nlohmann::json::parse(string, nullptr, false);
  return json.is_string() ? json.get<std::string>() : "";
}

bool is_object(std::string_view text) {
  JsonPrefix json;
  const std::string_view inside = trimmed(text);
  return inside.starts_with('{') && json.push(inside) == inside.size() && json.complete();
}

// Reads a call's object as far as its name and the beginning of its arguments.
class HeadReader {
 public:
  enum class Outcome { certain, unfinished, none };

  std::string_view name;
  size_t arguments = 0;           // where they begin ...
  std::string written_as_text{};  // where they are the text of an object within a string: that object
  std::optional<size_t> rest{};   // ... and, where they are whole or missing, where what follows begins

  Outcome read(std::string_view text) {
    text_ = text;
    at_ = blanks(text);
    if (const Outcome open = take('{'); open != Outcome::certain) return open;
    while (true) {
      if (const Outcome member = read_member(); member != Outcome::unfinished || stopped_) return member;
      at_ += blanks(text_.substr(at_));
      if (at_ == text_.size()) return Outcome::unfinished;
      if (text_[at_] == '}' && !name.empty()) return whole();
      if (text_[at_++] != ',') return Outcome::none;
    }
  }

 private:
  // certain: it is all known. unfinished: it was passed over, or the text ends in it (stopped_).
  Outcome read_member() {
    stopped_ = true;
    at_ += blanks(text_.substr(at_));
    const std::string_view key = string();
    if (fault_) return Outcome::none;
    if (key.empty()) return Outcome::unfinished;
    at_ += blanks(text_.substr(at_));
    if (const Outcome colon = take(':'); colon != Outcome::certain) return colon;
    at_ += blanks(text_.substr(at_));
    if (at_ == text_.size()) return Outcome::unfinished;
    if (key == "name") {
      name = string();
      if (fault_) return Outcome::none;
      if (name.empty()) return Outcome::unfinished;
      if (has_arguments_) return whole();
    } else if (key == "arguments" || key == "parameters") {
      const bool as_text = text_[at_] == '"';
      if ((text_[at_] != '{' && !as_text) || has_arguments_) return Outcome::none;
      has_arguments_ = true;
      arguments = at_;
      if (as_text) {
        if (const Outcome value = pass_value(); value != Outcome::certain) return value;
        written_as_text = unescaped(text_.substr(arguments, at_ - arguments));
        if (!is_object(written_as_text)) return Outcome::none;
        if (!name.empty()) return whole();
        stopped_ = false;
        return Outcome::unfinished;
      }
      if (!name.empty()) return Outcome::certain;
      if (const Outcome value = pass_value(); value != Outcome::certain) return value;
    } else if (const Outcome value = pass_value(); value != Outcome::certain) {
      return value;
    }
    stopped_ = false;
    return Outcome::unfinished;
  }

  Outcome whole() {
    rest = at_;
    return Outcome::certain;
  }
  Outcome take(char c) {
    if (at_ == text_.size()) return Outcome::unfinished;
    return text_[at_++] == c ? Outcome::certain : Outcome::none;
  }
  Outcome pass_value() {
    JsonPrefix json;
    const std::string_view rest_of_it = text_.substr(at_);
    const size_t taken = json.push(rest_of_it);
    at_ += taken;
    if (taken == rest_of_it.size()) return Outcome::unfinished;
    return json.complete() ? Outcome::certain : Outcome::none;
  }
  // Without its quotes; nothing: the text ends in it. Escapes are for nobody's names.
  std::string_view string() {
    if (at_ == text_.size()) return {};
    const size_t end = text_.find_first_of("\"\\\n", at_ + 1);
    fault_ = text_[at_] != '"' || (end != std::string_view::npos && (text_[end] != '"' || end == at_ + 1));
    if (fault_ || end == std::string_view::npos) return {};
    const std::string_view found = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return found;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool stopped_ = false, fault_ = false, has_arguments_ = false;
};

}  // namespace

void TaggedCalls::push(std::string_view text, bool, std::vector<CallEvent>& out) {
  pending_ += text;
  while (step(out)) {
  }
}

void TaggedCalls::finish(std::vector<CallEvent>& out) {
  if (state_ == State::arguments) add_event(out, Kind::end, "");
  const bool closed = state_ == State::rest ? json_.complete() : state_ == State::between && trimmed(pending_).empty();
  if (!closed) add_event(out, Kind::text, pending_);
  pending_.clear();
  state_ = State::text;
}

// True: there may be more.
bool TaggedCalls::step(std::vector<CallEvent>& out) {
  switch (state_) {
    case State::text:
      return look_for_tag(out);
    case State::object:
      return read_head(out);
    case State::arguments:
      return read_arguments(out);
    case State::rest:
      return read_rest(out);
    case State::between: {
      const std::string_view text = std::string_view(pending_).substr(0, kMostHeld);
      const std::string_view next = text.substr(blanks(text));
      if (next.size() < kCallTag.size() && kCallTag.starts_with(next) && pending_.size() <= kMostHeld) return false;
      state_ = next.starts_with(kCallTag) ? State::object : State::text;
      if (state_ == State::text) add_event(out, Kind::over, "");
      return true;
    }
  }
  return false;
}

// A line end in front of a tag belongs to it.
bool TaggedCalls::look_for_tag(std::vector<CallEvent>& out) {
  const std::string with_line = "\n" + std::string(kCallTag);
  size_t at = pending_.find(kCallTag);
  const bool found = at != std::string::npos;
  if (!found) at = pending_.size() - std::max(begun(pending_, kCallTag), begun(pending_, with_line));
  if (found && at > 0 && pending_[at - 1] == '\n') --at;
  add_event(out, Kind::text, std::string_view(pending_).substr(0, at));
  pending_.erase(0, at);
  if (found) state_ = State::object;
  return found;
}

bool TaggedCalls::read_head(std::vector<CallEvent>& out) {
  using Outcome = HeadReader::Outcome;
  const size_t tag = pending_.find(kCallTag) + kCallTag.size();
  const std::string_view text = std::string_view(pending_).substr(0, kMostHeld).substr(tag);
  HeadReader head;
  Outcome outcome = head.read(text);
  size_t begin = head.rest ? 0 : head.arguments;
  if (outcome == Outcome::certain && !head.rest) {  // arguments are to show that they are an object
    json_ = {};
    size_t seen = begin;
    while (seen < text.size() && !json_.has_content() && json_.push(text.substr(seen, 1)) > 0) ++seen;
    if (!json_.has_content()) outcome = seen < text.size() ? Outcome::none : Outcome::unfinished;
  }
  if (outcome == Outcome::unfinished && pending_.size() <= kMostHeld) return false;
  const bool known = names_.empty() || std::ranges::find(names_, head.name) != names_.end();
  if (outcome != Outcome::certain || !known || head.name.size() > kLongestName) return give_up(out);
  add_event(out, Kind::begin, head.name);
  json_ = {};
  state_ = State::arguments;
  if (head.rest) {
    if (head.written_as_text.empty()) {
      const std::string_view arguments =
          text.substr(head.arguments, head.arguments > 0 ? json_.push(text.substr(head.arguments)) : 0);
      add_event(out, Kind::arguments, arguments);
    } else {
      add_event(out, Kind::arguments, trimmed(head.written_as_text));
    }
    add_event(out, Kind::end, "");
    begin = *head.rest;
    json_ = {};
    json_.push("{\"\":0");
    state_ = State::rest;
  }
  pending_.erase(0, tag + begin);
  return true;
}

bool TaggedCalls::read_arguments(std::vector<CallEvent>& out) {
  const size_t taken = json_.push(pending_);
  add_event(out, Kind::arguments, std::string_view(pending_).substr(0, taken));
  const bool ends = taken < pending_.size() || json_.complete();
  pending_.erase(0, taken);
  if (!ends) return false;
  add_event(out, Kind::end, "");
  state_ = json_.complete() ? State::rest : State::text;
  json_ = {};
  json_.push("{\"\":0");  // the object that is around them, as far as it is read
  return true;
}

// The object's other members and its end, and the closing tag, which may be missing at the end of all.
bool TaggedCalls::read_rest(std::vector<CallEvent>& out) {
  const std::string_view text = std::string_view(pending_).substr(0, kMostHeld);
  JsonPrefix object;
  object.push("{\"\":0");
  const size_t taken = object.push(text);
  json_ = object;
  const std::string_view after = text.substr(taken + blanks(text.substr(taken)));
  const bool may_close = object.complete() ? kCallEndTag.starts_with(after) : after.empty();
  if (object.complete() && after.starts_with(kCallEndTag)) {
    pending_.erase(0, pending_.find(kCallEndTag, taken) + kCallEndTag.size());
    state_ = State::between;
    return true;
  }
  if (may_close && pending_.size() <= kMostHeld) return false;
  return give_up(out);
}

// What was held back is text after all: its first character at least, and the rest is looked at again.
bool TaggedCalls::give_up(std::vector<CallEvent>& out) {
  const size_t tag = state_ == State::object ? pending_.find(kCallTag) + kCallTag.size() : 0;
  add_event(out, Kind::text, std::string_view(pending_).substr(0, tag));
  pending_.erase(0, tag);
  state_ = State::text;
  return true;
}

}  // namespace hearth
