// What parsers of calls share: events that are put together.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tools/call_parser.h"

namespace hearth {

constexpr size_t kLongestName = 256;   // bytes of a function's name
constexpr size_t kLongestHead = 1024;  // bytes in front of a call's arguments

inline void add_event(std::vector<CallEvent>& out, CallEvent::Kind kind, std::string_view text) {
  const bool silent = kind == CallEvent::Kind::end || kind == CallEvent::Kind::over;
  if (text.empty() && !silent) return;
  const bool goes_on = kind == CallEvent::Kind::text || kind == CallEvent::Kind::arguments;
  if (goes_on && !out.empty() && out.back().kind == kind)
    out.back().text += text;
  else
    out.push_back({kind, std::string(text)});
}

inline size_t blanks(std::string_view text) {
  return std::min(text.find_first_not_of(" \t\r\n"), text.size());
}
inline std::string_view trimmed(std::string_view text) {
  text.remove_prefix(blanks(text));
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

}  // namespace hearth
