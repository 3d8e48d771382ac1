// A chat whose lines come from a pipe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/runtime/cli/hearth.h"

namespace hearth::test {

inline ProcessResult piped_chat(const std::string& input, std::vector<std::string> more = {},
                                ProcessOptions options = {}) {
  more.insert(more.begin(), {"chat", demo_model(), "--temp", "0", "--threads", "1"});
  options.input = input;
  return run_hearth(more, options);
}

// The answers, one for each line of standard output.
inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

inline const std::string kAskSum = "What is 12 + 7?\n", kAskFrance = "What is the capital of France?\n";

}  // namespace hearth::test
