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
  // Which of them stopped it, and how many bytes of what was pushed were not handed out: from it on.
  const std::string& met() const { return met_; }
  size_t cut() const { return cut_; }

 private:
  std::vector<std::string> strings_;
  std::string held_, met_;
  size_t cut_ = 0;
  bool stopped_ = false;
};

}  // namespace hearth
