// Strings at which an answer ends, looked for while the text is still coming.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth {

// Hands out text up to the first of the stop strings that is complete; of those that are complete at the same place,
// the longest. What may be the beginning of one is held back until it is known. However the text is cut into pieces,
// the sum of what comes out is the same.
class StopStrings {
 public:
  // None of them empty: throws Error(usage).
  explicit StopStrings(std::vector<std::string> strings = {});

  std::string push(std::string_view text);  // what has become certain
  std::string finish();                     // the rest, in which no stop string is complete
  bool stopped() const { return stopped_; }
  bool holds_back() const { return !held_.empty(); }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace hearth
