#include "runtime/chat/stop_strings.h"

#include <algorithm>
#include <utility>

#include "quant/error.h"
#include "runtime/support/held_back.h"

namespace hearth {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& string : strings_)
    require(!string.empty(), ErrorKind::usage, "stop strings: expected text, found an empty one");
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  size_t begin = std::string::npos, end = std::string::npos, may_begin = held_.size();
  for (const std::string& string : strings_) {
    const size_t at = held_.find(string);
    may_begin = std::min(may_begin, held_.size() - begun(held_, string));
    if (at == std::string::npos || std::pair(at + string.size(), at) >= std::pair(end, begin)) continue;
    begin = at;
    end = at + string.size();
    met_ = string;
  }
  stopped_ = begin != std::string::npos;
  if (stopped_) cut_ = held_.size() - begin;
  std::string certain = held_.substr(0, stopped_ ? begin : may_begin);
  held_.erase(0, stopped_ ? held_.size() : certain.size());
  return certain;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace hearth
