#include "runtime/tools/dsml_calls.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "runtime/support/held_back.h"
#include "runtime/tools/event_list.h"
#include "runtime/tools/json_prefix.h"

namespace hearth {

namespace {

using Kind = CallEvent::Kind;

constexpr std::string_view kParameterOpen = "<｜DSML｜parameter name=\"";
constexpr std::string_view kIsString = "\" string=\"true\">", kIsJson = "\" string=\"false\">";
constexpr std::string_view kBefore = "\n\n";       // in front of a list
constexpr size_t kLongestValue = size_t(1) << 20;  // bytes of JSON that are held back

bool may_begin(std::string_view text, std::string_view word) {
  return text.size() < word.size() && word.starts_with(text);
}

// What a JSON string holds, without its quotes.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    constexpr std::string_view kShort = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    if (const size_t at = kShort.find(c); at != std::string_view::npos)
      out += {'\\', kLetters[at]};
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", unsigned(c));
    else
      out += c;
  }
  return out;
}

bool is_json(std::string_view text) {
  JsonPrefix json;
  return json.push(text) == text.size() && json.complete();
}

}  // namespace

std::string dsml_parameter_open(const std::string& name, bool is_string) {
  return std::string(kParameterOpen) + name + std::string(is_string ? kIsString : kIsJson);
}

void DsmlCalls::push(std::string_view text, bool, std::vector<CallEvent>& out) {
  pending_ += text;
  while (step(out)) {
  }
}

void DsmlCalls::finish(std::vector<CallEvent>& out) {
  if (state_ == State::string) {
    add_event(out, Kind::arguments, escaped(pending_));
    pending_.clear();
  }
  const bool in_call = state_ == State::call || state_ == State::string || state_ == State::json;
  if (in_call) add_event(out, Kind::end, "");
  if (state_ != State::list || !has_calls_ || blanks(pending_) < pending_.size()) add_event(out, Kind::text, pending_);
  pending_.clear();
  state_ = State::text;
}

// True: there may be more.
bool DsmlCalls::step(std::vector<CallEvent>& out) {
  switch (state_) {
    case State::text:
      return look_for_list(out);
    case State::list:
      return read_list(out);
    case State::call:
      return read_call(out);
    case State::string:
      return read_string(out);
    case State::json:
      return read_json(out);
  }
  return false;
}

bool DsmlCalls::look_for_list(std::vector<CallEvent>& out) {
  const size_t list = pending_.find(kDsmlListOpen), call = pending_.find(kDsmlCallOpen);
  size_t at = std::min(list, call);
  const bool found = at != std::string::npos;
  if (found) {
    for (size_t i = 0; i < kBefore.size() && at > 0 && pending_[at - 1] == '\n'; ++i) --at;
  } else {
    size_t held = 0;
    for (const std::string_view tag : {kDsmlListOpen, kDsmlCallOpen})
      for (size_t i = 0; i <= kBefore.size(); ++i)
        held = std::max(held, begun(pending_, std::string(kBefore.substr(i)) + std::string(tag)));
    at = pending_.size() - held;
  }
  add_event(out, Kind::text, std::string_view(pending_).substr(0, at));
  pending_.erase(0, at);
  if (!found) return false;
  list_tag_ = blanks(pending_) + (list < call ? kDsmlListOpen.size() : 0);
  has_calls_ = false;
  state_ = State::list;
  return true;
}

// The next call, or the list's end. While there was no call, what may turn out to be text is still there.
bool DsmlCalls::read_list(std::vector<CallEvent>& out) {
  const std::string_view all = std::string_view(pending_).substr(0, list_tag_ + kLongestHead);
  const std::string_view text = all.substr(list_tag_ + blanks(all.substr(list_tag_)));
  if (has_calls_ && text.starts_with(kDsmlListClose)) {
    pending_.erase(0, size_t(text.data() - all.data()) + kDsmlListClose.size());
    add_event(out, Kind::over, "");
    state_ = State::text;
    return true;
  }
  if (!text.starts_with(kDsmlCallOpen))
    return wait_or_give_up(may_begin(text, kDsmlCallOpen) || (has_calls_ && may_begin(text, kDsmlListClose)), out);
  const std::string_view head = text.substr(kDsmlCallOpen.size());
  const size_t end = head.find('"');
  const std::string_view name = head.substr(0, end), after = head.substr(std::min(end, head.size()));
  if (end == std::string_view::npos || may_begin(after, "\">"))
    return wait_or_give_up(name.find_first_of("<>\n") == std::string_view::npos, out);
  const bool known = names_.empty() || std::ranges::find(names_, name) != names_.end();
  if (!after.starts_with("\">") || !known || name.empty() || name.size() > kLongestName)
    return wait_or_give_up(false, out);
  add_event(out, Kind::begin, name);
  pending_.erase(0, size_t(after.data() - all.data()) + 2);
  list_tag_ = 0;
  has_calls_ = true;
  has_parameters_ = false;
  state_ = State::call;
  return true;
}

// The next parameter, or the call's end.
bool DsmlCalls::read_call(std::vector<CallEvent>& out) {
  const std::string_view all = std::string_view(pending_).substr(0, kLongestHead);
  const std::string_view text = all.substr(blanks(all));
  if (text.starts_with(kDsmlCallClose)) {
    pending_.erase(0, blanks(all) + kDsmlCallClose.size());
    add_event(out, Kind::arguments, has_parameters_ ? "}" : "{}");
    add_event(out, Kind::end, "");
    state_ = State::list;
    return true;
  }
  if (!text.starts_with(kParameterOpen))
    return wait_or_give_up(may_begin(text, kParameterOpen) || may_begin(text, kDsmlCallClose), out);
  const std::string_view head = text.substr(kParameterOpen.size());
  const size_t end = head.find('"');
  const std::string_view after = head.substr(std::min(end, head.size()));
  const bool is_string = after.starts_with(kIsString);
  if (!is_string && !after.starts_with(kIsJson))
    return wait_or_give_up(may_begin(after, kIsString) || may_begin(after, kIsJson), out);
  const std::string key = (has_parameters_ ? ", \"" : "{\"") + escaped(head.substr(0, end)) + "\": ";
  add_event(out, Kind::arguments, key + (is_string ? "\"" : ""));
  pending_.erase(0, size_t(after.data() - all.data()) + (is_string ? kIsString : kIsJson).size());
  has_parameters_ = true;
  looked_ = 0;
  state_ = is_string ? State::string : State::json;
  return true;
}

bool DsmlCalls::read_string(std::vector<CallEvent>& out) {
  const size_t end = pending_.find(kDsmlParameterClose);
  const bool ends = end != std::string::npos;
  const size_t certain = ends ? end : pending_.size() - begun(pending_, kDsmlParameterClose);
  add_event(out, Kind::arguments, escaped(std::string_view(pending_).substr(0, certain)) + (ends ? "\"" : ""));
  pending_.erase(0, ends ? end + kDsmlParameterClose.size() : certain);
  if (ends) state_ = State::call;
  return ends;
}

// What it is, is known at its end. What is too long to wait for is a string.
bool DsmlCalls::read_json(std::vector<CallEvent>& out) {
  const size_t end = pending_.find(kDsmlParameterClose, looked_);
  if (end > kLongestValue && pending_.size() > kLongestValue + kDsmlParameterClose.size()) {
    add_event(out, Kind::arguments, "\"");
    state_ = State::string;
    return true;
  }
  if (end == std::string::npos) {
    looked_ = pending_.size() - begun(pending_, kDsmlParameterClose);
    return false;
  }
  const std::string_view value = trimmed(std::string_view(pending_).substr(0, end));
  add_event(out, Kind::arguments, is_json(value) ? std::string(value) : "\"" + escaped(value) + "\"");
  pending_.erase(0, end + kDsmlParameterClose.size());
  state_ = State::call;
  return true;
}

// Waits for more as long as that can help; else a call under way ends, and what was held back is text.
bool DsmlCalls::wait_or_give_up(bool may_go_on, std::vector<CallEvent>& out) {
  if (may_go_on && pending_.size() < list_tag_ + kLongestHead) return false;
  if (state_ == State::call) add_event(out, Kind::end, "");
  size_t certain = list_tag_;
  if (certain == 0) certain = std::min(pending_.size(), blanks(pending_) + 1);
  add_event(out, Kind::text, std::string_view(pending_).substr(0, certain));
  pending_.erase(0, certain);
  list_tag_ = 0;
  state_ = State::text;
  return true;
}

}  // namespace hearth
